#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace facet {

/// A value of a pickle. Others are meant by their number in `PickleData`, so shared and even cyclic
/// values are harmless: nobody walks them but with a purpose.
struct PickleValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,     ///< `number` is 0 or 1
    integer,     ///< `number`
    other,       ///< a float, or an integer beyond 64 bits: nothing here needs its value
    text,        ///< `text`; also Python 2 strings
    bytes,       ///< `text`
    sequence,    ///< a tuple, list or set: `items`
    dictionary,  ///< `items`: key, value, key, value ...
    global,      ///< a name that is allowed; `text` is "module.name"
    persistent,  ///< a reference to a storage: `items` has one value
    object,      ///< an allowed call: `text` is the callee, `items` the sequence of arguments
  };
  Kind kind = Kind::none;
  std::int64_t number = 0;
  std::string_view text;
  std::vector<std::uint32_t> items;
};

/// What a pickle's instructions put together. Texts point into the pickle's bytes.
struct PickleData {
  std::deque<PickleValue> values;
  std::uint32_t root = 0;

  const PickleValue& operator[](std::uint32_t id) const { return values[id]; }
};

/// Which names a pickle may mention.
struct PickleNames {
  std::vector<std::string_view> values;     ///< may stand as they are: "torch.FloatStorage"
  std::vector<std::string_view> callables;  ///< may be called; a call becomes an `object`
  /// Beginnings of other names that are to be expected, and why they are refused.
  std::vector<std::pair<std::string_view, std::string_view>> refused = {};
  /// What to do about a pickle that is too large.
  std::string_view advice = "save the state_dict alone";
};

/// Reads a pickle of protocol 2 to 5 as data. Nothing is executed and no name is looked up: names
/// that `names` does not have, calls of anything but its callables, and the instructions that make
/// instances of classes are refused where they stand. `collections.OrderedDict` (a dictionary),
/// `set` (a sequence) and `torch.Size` (a sequence) are built in; state that is set on a dictionary
/// or an object is dropped.
/// Memory is bounded by kMostPickleSteps and kMostPickleValues, below 32 MiB in all. No recursion.
/// Throws Error(failure) that says what is wrong and at which byte; the caller adds the file.
/// Format: Python's Lib/pickletools.py.
PickleData read_pickle(std::span<const std::byte> bytes, const PickleNames& names);

inline constexpr std::size_t kMostPickleSteps = 1'000'000;
inline constexpr std::size_t kMostPickleValues = 200'000;

}  // namespace facet
