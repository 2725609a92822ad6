#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace facet::cuda {

/// Values by key, each made by the first thread that asks for it: whoever asks for the same key
/// meanwhile waits, other keys are made at the same time. What throws is made anew by the next who
/// asks. Safe from several threads.
template <class Value>
class OnceCache {
 public:
  template <class Make>
  Value get(const std::string& key, const Make& make) {
    const std::shared_ptr<Entry> entry = entry_of(key);
    const std::lock_guard lock(entry->mutex);
    if (!entry->value) entry->value = make();
    return *entry->value;
  }

 private:
  struct Entry {
    std::mutex mutex;
    std::optional<Value> value;
  };

  std::shared_ptr<Entry> entry_of(const std::string& key) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<Entry>& entry = entries_[key];
    if (entry == nullptr) entry = std::make_shared<Entry>();
    return entry;
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
};

}  // namespace facet::cuda
