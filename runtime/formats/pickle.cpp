#include "runtime/formats/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "ir/error.h"
#include "runtime/formats/quoted.h"

namespace facet {
namespace {

using Kind = PickleValue::Kind;
using Id = std::uint32_t;

constexpr std::string_view kOrderedDict = "collections.OrderedDict";
constexpr std::string_view kSize = "torch.Size";
constexpr std::string_view kSet = "builtins.set";
constexpr std::string_view kOldSet = "__builtin__.set";

/// The stack machine that a pickle is a program for, less everything that could run code.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const PickleNames& names)
      : bytes_(reinterpret_cast<const char*>(bytes.data()), bytes.size()), names_(names) {}

  PickleData run() {
    for (std::size_t steps = 0;; ++steps) {
      if (steps == kMostPickleSteps)
        fail(fmt::format("has more than {} instructions; {}", steps, names_.advice));
      start_ = at_;
      const auto code = static_cast<unsigned char>(take(1)[0]);
      if (code == '.') break;
      if (!plain_value(code) && !text_value(code) && !container(code) && !stack_or_memo(code)) {
        name_or_call(code);
      }
    }
    data_.root = pop();
    return std::move(data_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw failure(fmt::format("its pickle {} (at byte {})", what, start_));
  }

  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) fail("is cut short");
    const std::string_view part = bytes_.substr(at_, static_cast<std::size_t>(count));
    at_ += part.size();
    return part;
  }
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view line() {
    const std::size_t end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) fail("is cut short");
    const std::string_view text = take(end - at_);
    take(1);
    return text;
  }

  void push(Id id) { stack_.push_back(id); }
  Id pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back()))
      fail("takes a value that is not there");
    const Id id = stack_.back();
    stack_.pop_back();
    return id;
  }
  Id top() {
    const Id id = pop();
    push(id);
    return id;
  }
  Id add(PickleValue value) {
    if (data_.values.size() == kMostPickleValues) {
      fail(fmt::format("has more than {} values; {}", kMostPickleValues, names_.advice));
    }
    data_.values.push_back(std::move(value));
    return static_cast<Id>(data_.values.size() - 1);
  }
  void make(Kind kind, std::int64_t value = 0) { push(add({kind, value, {}, {}})); }
  void make_text(Kind kind, std::string_view text) { push(add({kind, 0, text, {}})); }
  void make_items(Kind kind, std::vector<Id> items) {
    if (kind == Kind::dictionary && items.size() % 2 != 0) fail("has a key without a value");
    push(add({kind, 0, {}, std::move(items)}));
  }

  std::vector<Id> pop_to_mark() {
    if (marks_.empty()) fail("takes a mark that is not there");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Id> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<Id> pop_several(std::size_t count) {
    std::vector<Id> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }
  void append(const std::vector<Id>& items, Kind kind) {
    PickleValue& container = data_.values[top()];
    if (container.kind != kind) fail("puts items into something that is no container");
    if (kind == Kind::dictionary && items.size() % 2 != 0) fail("has a key without a value");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  bool plain_value(unsigned char code) {
    switch (code) {
      case 'N': make(Kind::none); return true;
      case 0x88: make(Kind::boolean, 1); return true;
      case 0x89: make(Kind::boolean, 0); return true;
      case 'J': make(Kind::integer, number<std::int32_t>()); return true;
      case 'K': make(Kind::integer, number<std::uint8_t>()); return true;
      case 'M': make(Kind::integer, number<std::uint16_t>()); return true;
      case 0x8A: long_integer(take(number<std::uint8_t>())); return true;
      case 0x8B: long_integer(take(number<std::uint32_t>())); return true;
      case 'G':
        take(sizeof(double));
        make(Kind::other);
        return true;
      default: return false;
    }
  }

  /// Little-endian two's complement of any length.
  void long_integer(std::string_view digits) {
    if (digits.size() > sizeof(std::int64_t)) return make(Kind::other);
    const bool negative =
        !digits.empty() && (static_cast<unsigned char>(digits.back()) & 0x80) != 0;
    std::int64_t value = negative ? -1 : 0;
    std::memcpy(&value, digits.data(), digits.size());
    make(Kind::integer, value);
  }

  bool text_value(unsigned char code) {
    switch (code) {
      case 'X': make_text(Kind::text, take(number<std::uint32_t>())); return true;
      case 0x8C: make_text(Kind::text, take(number<std::uint8_t>())); return true;
      case 0x8D: make_text(Kind::text, take(number<std::uint64_t>())); return true;
      case 'T': make_text(Kind::text, take(number<std::uint32_t>())); return true;
      case 'U': make_text(Kind::text, take(number<std::uint8_t>())); return true;
      case 'B': make_text(Kind::bytes, take(number<std::uint32_t>())); return true;
      case 'C': make_text(Kind::bytes, take(number<std::uint8_t>())); return true;
      case 0x8E:
      case 0x96: make_text(Kind::bytes, take(number<std::uint64_t>())); return true;
      default: return false;
    }
  }

  bool container(unsigned char code) {
    switch (code) {
      case ')':
      case ']':
      case 0x8F:
        make_items(Kind::sequence, {});
        return true;
      case '}':
        make_items(Kind::dictionary, {});
        return true;
      case 't':
      case 'l':
      case 0x91: make_items(Kind::sequence, pop_to_mark()); return true;
      case 'd': make_items(Kind::dictionary, pop_to_mark()); return true;
      case 0x85:
      case 0x86:
      case 0x87: make_items(Kind::sequence, pop_several(code - 0x84U)); return true;
      case 'a': append(pop_several(1), Kind::sequence); return true;
      case 's': append(pop_several(2), Kind::dictionary); return true;
      case 'e':
      case 0x90: append(pop_to_mark(), Kind::sequence); return true;
      case 'u': append(pop_to_mark(), Kind::dictionary); return true;
      default: return false;
    }
  }

  bool stack_or_memo(unsigned char code) {
    switch (code) {
      case '(': marks_.push_back(static_cast<Id>(stack_.size())); return true;
      case '0': pop(); return true;
      case '1': pop_to_mark(); return true;
      case '2': push(top()); return true;
      case 'h': recall(number<std::uint8_t>()); return true;
      case 'j': recall(number<std::uint32_t>()); return true;
      case 'q': remember(number<std::uint8_t>()); return true;
      case 'r': remember(number<std::uint32_t>()); return true;
      case 0x94: remember(remembered_); return true;
      case 0x95: take(sizeof(std::uint64_t)); return true;  // a frame's length
      case 0x80: check_protocol(number<std::uint8_t>()); return true;
      default: return false;
    }
  }

  void check_protocol(unsigned protocol) const {
    if (protocol < 2 || protocol > 5) {
      fail(fmt::format("is of protocol {}; save the file again with the default protocol",
                       protocol));
    }
  }

  /// Python numbers what it remembers from 0 on, so a larger index is not its work and must not
  /// make the table larger.
  void remember(std::size_t index) {
    if (index >= memo_.size()) {
      if (index > kMostPickleValues || index > at_)
        fail("remembers a value under a number too large");
      memo_.resize(index + 1, kNothing);
    }
    if (memo_[index] == kNothing) ++remembered_;
    memo_[index] = top();
  }
  void recall(std::size_t index) {
    if (index >= memo_.size() || memo_[index] == kNothing)
      fail("recalls a value it never remembered");
    push(memo_[index]);
  }

  void name_or_call(unsigned char code) {
    switch (code) {
      case 'c': {
        const std::string_view module = line();
        return name(module, line());
      }
      case 0x93: {
        const PickleValue& last = data_[pop()];
        const PickleValue& first = data_[pop()];
        if (first.kind != Kind::text || last.kind != Kind::text)
          fail("names something without a name");
        return name(first.text, last.text);
      }
      case 'R':
        return call();
      case 'b': {
        pop();
        const Kind kind = data_[top()].kind;
        if (kind != Kind::dictionary && kind != Kind::object)
          fail("sets the state of a plain value");
        return;
      }
      case 'Q':
        return make_items(Kind::persistent, {pop()});
      case 'i': {
        const std::string_view module = line();
        return refuse_name(fmt::format("{}.{}", module, line()));
      }
      case 'o':
      case 0x81:
      case 0x92:
        refuse_instance();
      default:
        refuse_instruction(code);
    }
  }

  void name(std::string_view module, std::string_view attribute) {
    const std::string full = fmt::format("{}.{}", module, attribute);
    for (const auto* list : {&names_.values, &names_.callables, &built_in_}) {
      const auto known = std::ranges::find(*list, full);
      if (known != list->end()) return make_text(Kind::global, *known);
    }
    refuse_name(full);
  }

  [[noreturn]] void refuse_name(const std::string& name) const {
    for (const auto& [beginning, why] : names_.refused) {
      if (name.starts_with(beginning)) fail(fmt::format("refers to {}; {}", in_quotes(name), why));
    }
    fail(
        fmt::format("refers to {}, which is neither a tensor nor a plain container; loading it "
                    "could run code, so nothing was loaded",
                    in_quotes(name)));
  }
  [[noreturn]] void refuse_instance() {
    std::string_view of;
    for (const Id id : stack_) {
      if (data_[id].kind == Kind::global) of = data_[id].text;
    }
    fail(fmt::format(
        "makes an instance of a class{}; only tensors and plain containers are read, so "
        "nothing was loaded",
        of.empty() ? "" : fmt::format(" ({})", in_quotes(of))));
  }
  [[noreturn]] void refuse_instruction(unsigned char code) const {
    fail(
        fmt::format("has the instruction 0x{:02x}, which tensors and plain containers do not need; "
                    "save the file again with the default protocol",
                    code));
  }

  void call() {
    const Id arguments = pop();
    const PickleValue& callee = data_[pop()];
    if (data_[arguments].kind != Kind::sequence) fail("calls something without arguments");
    if (callee.kind != Kind::global) fail("calls something that has no name; nothing was loaded");
    const std::string_view name = callee.text;
    if (name == kOrderedDict) return make_items(Kind::dictionary, pairs_of(arguments));
    if (name == kSize || name == kSet || name == kOldSet) return first_sequence(arguments);
    if (std::ranges::find(names_.callables, name) == names_.callables.end())
      refuse_name(std::string(name));
    push(add({Kind::object, 0, name, {arguments}}));
  }

  void first_sequence(Id arguments) {
    const std::vector<Id>& items = data_[arguments].items;
    if (items.empty()) return make_items(Kind::sequence, {});
    if (items.size() != 1 || data_[items[0]].kind != Kind::sequence)
      fail("makes a list of no items");
    push(items[0]);
  }

  /// OrderedDict() or OrderedDict([[key, value], ...]).
  std::vector<Id> pairs_of(Id arguments) {
    const std::vector<Id>& given = data_[arguments].items;
    std::vector<Id> items;
    if (given.empty()) return items;
    if (given.size() != 1 || data_[given[0]].kind != Kind::sequence)
      fail("makes a dictionary of no pairs");
    // A list can be given again and again: what is copied of it counts like instructions.
    copied_ += data_[given[0]].items.size();
    if (copied_ > kMostPickleSteps) fail("makes too many dictionaries");
    for (const Id id : data_[given[0]].items) {
      const PickleValue& pair = data_[id];
      if (pair.kind != Kind::sequence || pair.items.size() != 2)
        fail("makes a dictionary of no pairs");
      items.insert(items.end(), pair.items.begin(), pair.items.end());
    }
    return items;
  }

  static constexpr Id kNothing = 0xFFFFFFFF;

  std::string_view bytes_;
  const PickleNames& names_;
  const std::vector<std::string_view> built_in_ = {kOrderedDict, kSize, kSet, kOldSet};
  std::size_t at_ = 0;
  std::size_t start_ = 0;  // of the instruction that is read
  PickleData data_;
  std::vector<Id> stack_;
  std::vector<Id> marks_;  // sizes of the stack
  std::vector<Id> memo_;
  std::size_t remembered_ = 0;
  std::size_t copied_ = 0;  // pairs
};

}  // namespace

PickleData read_pickle(std::span<const std::byte> bytes, const PickleNames& names) {
  return Machine(bytes, names).run();
}

}  // namespace facet
