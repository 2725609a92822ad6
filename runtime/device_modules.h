#pragma once

#include <filesystem>
#include <string_view>

#include "backends/device_module.h"

namespace facet {

/// The folder where device modules lie: that which the environment variable FACET_MODULES names,
/// else
/// `../lib/facet` beside the program's own folder. Empty if the program does not know where it is.
std::filesystem::path device_module_folder();

/// The module libfacet_<name>.so, loaded when first asked for and kept. Safe from several threads.
/// Throws Error(failure) that says what to do where the module is absent, cannot be loaded, or was
/// built from other sources.
const DeviceModule& device_module(std::string_view name);

/// From now on `module` is the device of its name: for programs that bring a device of their own in
/// place of a library, as tests do. It must live as long as the program. Safe from several threads.
void provide_device_module(const DeviceModule& module);

/// Throws Error(failure), one message for each, if the device's module, its driver or the device
/// itself is missing.
void require_device(std::string_view name);

}  // namespace facet
