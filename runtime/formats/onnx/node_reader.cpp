#include "runtime/formats/onnx/node_reader.h"

#include <fmt/format.h>

#include <charconv>

#include "runtime/formats/onnx/node_source.h"
#include "runtime/formats/onnx/tensor_proto.h"
#include "runtime/formats/onnx/value_table.h"

namespace facet::onnx_import {
namespace {

const std::string kNone;

}  // namespace

const std::string& NodeSource::input(int i) const {
  return i < proto.input_size() ? proto.input(i) : kNone;
}

NodeReader::NodeReader(ValueTable& values, const NodeSource& source)
    : values_(values), source_(source) {}

const std::string& NodeReader::name() const { return source_.name; }
const std::string& NodeReader::op() const { return source_.op; }
std::int64_t NodeReader::opset() const { return source_.opset; }

void NodeReader::unsupported(std::string reason) const { throw Unsupported(std::move(reason)); }

// ---- Inputs
// -----------------------------------------------------------------------------------------

int NodeReader::input_count() const {
  int count = source_.proto.input_size();
  while (count > 0 && source_.proto.input(count - 1).empty()) --count;
  return count;
}

bool NodeReader::has_input(int i) const { return !source_.input(i).empty(); }

Entry& NodeReader::entry(int i) const {
  if (!has_input(i)) unsupported(fmt::format("input {} is missing", i));
  Entry* found = values_.find(source_.input(i));
  if (found == nullptr) unsupported(fmt::format("input '{}' is not defined", source_.input(i)));
  if (found->kind == Entry::Kind::unavailable) {
    unsupported(fmt::format("input '{}': {}", source_.input(i), found->problem));
  }
  return *found;
}

Value NodeReader::input(int i, ParameterRole role) { return values_.read(entry(i), role); }

std::vector<Value> NodeReader::inputs() {
  std::vector<Value> list;
  for (int i = 0; i < input_count(); ++i) {
    if (has_input(i)) list.push_back(input(i));
  }
  return list;
}

Type NodeReader::type(int i) const { return entry(i).type; }

// ---- Inputs that must be known
// ----------------------------------------------------------------------

std::optional<HostTensor> NodeReader::known(int i) {
  return has_input(i) ? values_.known(entry(i)) : std::nullopt;
}

HostTensor NodeReader::tensor(int i) {
  std::optional<HostTensor> found = values_.known(entry(i));
  if (!found) {
    unsupported(
        fmt::format("input {} '{}' must be known when the model is read: a constant, or computed "
                    "from constants and shapes",
                    i, source_.input(i)));
  }
  return *std::move(found);
}

Ints NodeReader::integers(int i) {
  Ints values;
  for (const Dim& dim : dims(i)) {
    if (!dim.is_static()) {
      unsupported(
          fmt::format("input {} '{}' depends on the dynamic dimension {}; give it an extent "
                      "(--dim {}=EXTENT)",
                      i, source_.input(i), dim.symbol, dim.symbol));
    }
    values.push_back(dim.factor);
  }
  return values;
}

Shape NodeReader::dims(int i) {
  const std::optional<DimTensor> found = values_.known_dims(entry(i));
  if (!found) tensor(i);  // says that it is not known
  if (!found)
    unsupported(fmt::format("input {} '{}' is not a list of whole numbers", i, source_.input(i)));
  Shape dims;
  for (const std::optional<Dim>& element : found->elements) {
    if (!element) {
      unsupported(
          fmt::format("element {} of input {} '{}' is no multiple of one dynamic dimension; give "
                      "the dynamic dimensions extents (--dim NAME=EXTENT)",
                      dims.size(), i, source_.input(i)));
    }
    dims.push_back(*element);
  }
  return dims;
}

std::optional<DimTensor> NodeReader::given_dims(int i) {
  const Entry& found = entry(i);
  if (found.dims) return found.dims;
  return found.tensor.empty() ? std::nullopt : dim_tensor(found.tensor);
}

Doubles NodeReader::numbers(int i) { return tensor(i).to_doubles(); }

double NodeReader::number_input(int i) {
  const HostTensor found = tensor(i);
  if (found.element_count() != 1) unsupported(fmt::format("input {} must have one element", i));
  return found.at(0);
}

std::int64_t NodeReader::integer_input(int i) {
  const Ints found = integers(i);
  if (found.size() != 1) unsupported(fmt::format("input {} must have one element", i));
  return found[0];
}

std::optional<Ints> NodeReader::integers(std::string_view attribute, int i) {
  if (has_input(i)) return integers(i);
  if (has(attribute)) return ints(attribute, {});
  return std::nullopt;
}

// ---- Attributes
// -------------------------------------------------------------------------------------

const ::onnx::AttributeProto* NodeSource::attribute(std::string_view wanted) const {
  for (const ::onnx::AttributeProto& attribute : proto.attribute()) {
    if (attribute.name() == wanted) return &attribute;
  }
  return nullptr;
}

namespace {

using ::onnx::AttributeProto;

const AttributeProto* attribute_of(const NodeSource& source, std::string_view name,
                                   AttributeProto::AttributeType kind) {
  const AttributeProto* found = source.attribute(name);
  if (found == nullptr || found->type() == kind) return found;
  throw Unsupported(fmt::format("attribute '{}' is of type {} and not {}", name,
                                AttributeProto::AttributeType_Name(found->type()),
                                AttributeProto::AttributeType_Name(kind)));
}

}  // namespace

double NodeReader::decimal(float value) {
  double result = static_cast<double>(value);
  const std::string text = fmt::format("{}", value);
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

bool NodeReader::has(std::string_view attribute) const {
  return source_.attribute(attribute) != nullptr;
}

std::int64_t NodeReader::integer(std::string_view attribute, std::int64_t fallback) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::INT);
  return found != nullptr ? found->i() : fallback;
}

bool NodeReader::flag(std::string_view attribute, bool fallback) const {
  return integer(attribute, fallback ? 1 : 0) != 0;
}

double NodeReader::number(std::string_view attribute, double fallback) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::FLOAT);
  return found != nullptr ? decimal(found->f()) : fallback;
}

std::string NodeReader::text(std::string_view attribute, std::string fallback) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::STRING);
  return found != nullptr ? found->s() : std::move(fallback);
}

Ints NodeReader::ints(std::string_view attribute, Ints fallback) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::INTS);
  return found != nullptr ? Ints(found->ints().begin(), found->ints().end()) : std::move(fallback);
}

Doubles NodeReader::doubles(std::string_view attribute, Doubles fallback) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::FLOATS);
  if (found == nullptr) return fallback;
  Doubles values;
  for (const float value : found->floats()) values.push_back(decimal(value));
  return values;
}

Strings NodeReader::strings(std::string_view attribute, Strings fallback) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::STRINGS);
  return found != nullptr ? Strings(found->strings().begin(), found->strings().end())
                          : std::move(fallback);
}

HostTensor NodeReader::tensor_attribute(std::string_view attribute) const {
  const AttributeProto* found = attribute_of(source_, attribute, AttributeProto::TENSOR);
  if (found == nullptr) unsupported(fmt::format("attribute '{}' is missing", attribute));
  return read_tensor(found->t());
}

std::int64_t NodeReader::axis(std::string_view attribute, std::int64_t fallback,
                              std::int64_t rank) const {
  const std::int64_t found = integer(attribute, fallback);
  if (found < -rank || found >= rank) {
    unsupported(fmt::format("{} {} is outside a value of rank {}", attribute, found, rank));
  }
  return found < 0 ? found + rank : found;
}

DType NodeReader::dtype(std::int64_t onnx_type) { return facet_dtype(onnx_type); }

// ---- Results
// ----------------------------------------------------------------------------------------

int NodeReader::output_count() const { return source_.proto.output_size(); }

bool NodeReader::wants(int i) const {
  return i < output_count() && !source_.proto.output(i).empty();
}

void NodeReader::set(int i, Value value) {
  if (!wants(i)) return;
  Entry entry;
  entry.value = value;
  entry.type = value.type();
  values_.define(source_.proto.output(i), std::move(entry));
}

void NodeReader::set(int i, HostTensor value) {
  if (!wants(i)) return;
  Entry entry;
  entry.kind = Entry::Kind::constant;
  entry.type = Type{value.dtype(), Shape(value.shape().begin(), value.shape().end()), {}};
  entry.tensor = std::move(value);
  values_.define(source_.proto.output(i), std::move(entry));
}

void NodeReader::set_filled(int i, Type type, HostTensor fill) {
  if (!wants(i)) return;
  Entry entry;
  entry.kind = Entry::Kind::filled;
  entry.type = std::move(type);
  entry.fill = std::move(fill);
  values_.define(source_.proto.output(i), std::move(entry));
}

void NodeReader::set_dims(int i, Shape elements, DType dtype) {
  DimTensor dims{dtype, {static_cast<std::int64_t>(elements.size())}, {}};
  dims.elements.assign(elements.begin(), elements.end());
  set_dims(i, std::move(dims));
}

void NodeReader::set_dims(int i, DimTensor dims) {
  if (dims.is_static()) return set(i, dims.tensor());
  if (!wants(i)) return;
  Entry entry;
  entry.type = Type{dims.dtype, Shape(dims.shape.begin(), dims.shape.end()), {}};
  entry.dims = std::move(dims);
  values_.define(source_.proto.output(i), std::move(entry));
}

void NodeReader::pass_through(int i, int from) {
  entry(from);  // defined
  if (wants(i)) values_.alias(source_.proto.output(i), source_.input(from));
}

void NodeReader::refuse_output(int i, std::string_view what) const {
  if (wants(i)) unsupported(fmt::format("its result {} ({}) is not computed", i, what));
}

}  // namespace facet::onnx_import
