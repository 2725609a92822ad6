#include "runtime/device_modules.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <system_error>

#include "ir/error.h"

namespace facet {
namespace {

std::string file_name(std::string_view name) { return fmt::format("libfacet_{}.so", name); }

std::string last_loader_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "no reason given";
}

const DeviceModule& load(std::string_view name) {
  const std::filesystem::path path = device_module_folder() / file_name(name);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw failure(fmt::format(
        "the device '{}' needs Facet's module '{}', which is not there; build Facet where CUDA 13 "
        "and "
        "cuDNN 9.8 or newer are installed (cmake -DFACET_CUDA=ON says what it misses), or name the "
        "module's folder in the environment variable FACET_MODULES; --device cpu needs no module",
        name, path.string()));
  }
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw failure(
        fmt::format("the module of the device '{}' cannot be loaded: {}; the libraries it was "
                    "built with have to be where the loader looks (LD_LIBRARY_PATH)",
                    name, last_loader_error()));
  }
  const auto entry = reinterpret_cast<DeviceModuleEntry>(dlsym(library, kDeviceModuleEntry));
  const DeviceModule* const module = entry != nullptr ? entry(kDeviceInterface) : nullptr;
  if (module == nullptr) {
    throw failure(
        fmt::format("'{}' was not built with this program ({}); build both from the same "
                    "sources with the same compiler",
                    path.string(), kDeviceInterface));
  }
  return *module;
}

/// The modules there are, by name.
struct Modules {
  std::mutex mutex;
  std::map<std::string, const DeviceModule*, std::less<>> known;
};

Modules& modules() {
  static Modules all;
  return all;
}

}  // namespace

std::filesystem::path device_module_folder() {
  if (const char* folder = std::getenv("FACET_MODULES"); folder != nullptr && *folder != '\0') {
    return folder;
  }
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return {};
  return program.parent_path().parent_path() / "lib" / "facet";
}

const DeviceModule& device_module(std::string_view name) {
  Modules& all = modules();
  const std::lock_guard lock(all.mutex);
  const auto found = all.known.find(name);
  if (found != all.known.end()) return *found->second;
  const DeviceModule& module = load(name);
  all.known.emplace(name, &module);
  return module;
}

void provide_device_module(const DeviceModule& module) {
  Modules& all = modules();
  const std::lock_guard lock(all.mutex);
  all.known.insert_or_assign(std::string(module.name()), &module);
}

void require_device(std::string_view name) {
  const DeviceModule& module = device_module(name);
  const std::string missing = module.missing_device();
  if (!missing.empty()) {
    throw failure(fmt::format("the device '{}' cannot be used: {}", name, missing));
  }
}

}  // namespace facet
