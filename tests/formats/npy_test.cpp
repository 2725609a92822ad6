#include "runtime/formats/npy.h"

#include <gmock/gmock.h>

#include <array>
#include <cstring>

#include "tests/formats/temp_folder.h"

namespace facet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// A file of the given version around a header that is used as it is.
std::string npy(const std::string& header, const std::string& data, char version = 1) {
  std::string bytes = "\x93NUMPY";
  bytes += {version, '\0'};
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
    bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xFF));
  }
  return bytes + header + data;
}

template <class T>
std::string data_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

HostTensor read(const std::string& bytes) {
  const TempFolder folder;
  write_bytes(folder / "x.npy", bytes);
  return read_npy(folder / "x.npy");
}

std::string refusal(const std::string& bytes) {
  const std::string message = error_of([&] { read(bytes); });
  EXPECT_THAT(message, HasSubstr("x.npy"));
  return message;
}

TEST(Npy, RoundTripsEveryDType) {
  const TempFolder folder;
  for (const DType dtype : {DType::f32, DType::f16, DType::f64, DType::i64, DType::i32, DType::i8,
                            DType::u8, DType::boolean}) {
    for (const auto& shape :
         std::vector<std::vector<std::int64_t>>{{}, {6}, {2, 3}, {0, 3}, {1, 3, 1, 2}}) {
      std::vector<double> values(static_cast<std::size_t>(element_count(shape)));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 3 == 0 ? 1 : 0;
      const HostTensor tensor = HostTensor::from_doubles(shape, values).cast(dtype);
      write_npy(folder / "x.npy", tensor);
      const HostTensor back = read_npy(folder / "x.npy");
      EXPECT_EQ(back.dtype(), dtype);
      EXPECT_EQ(back.shape(), shape);
      EXPECT_EQ(back.to_doubles(), values);
    }
  }
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(Npy, WritesTheDocumentedBytes) {
  const TempFolder folder;
  write_npy(folder / "x.npy", HostTensor::from_floats({2}, {1, -2}));
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  header.resize(128 - 10 - 1, ' ');
  EXPECT_EQ(read_bytes(folder / "x.npy"), npy(header + '\n', data_of<float>({1, -2})));
}

TEST(Npy, ReadsTheThreeVersions) {
  for (const char version : {1, 2, 3}) {
    const HostTensor tensor =
        read(npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }\n",
                 data_of<std::int64_t>({1, -2, 3}), version));
    EXPECT_EQ(tensor.dtype(), DType::i64);
    EXPECT_THAT(tensor.to_doubles(), ElementsAre(1, -2, 3));
  }
}

TEST(Npy, ReadsOtherSpellings) {
  EXPECT_EQ(read(npy("{\"shape\":(2L,1),\"fortran_order\":False,\"descr\":\"=f8\"}",
                     data_of<double>({1, 2})))
                .shape(),
            (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(read(npy("{'descr': '<u1', 'fortran_order': False, 'shape': ( ) , } ", "\x07")).at(0),
            7);
}

// np.asfortranarray(np.arange(24).reshape(2, 3, 4)) holds the elements first index fastest.
TEST(Npy, ConvertsFortranOrder) {
  std::vector<std::int32_t> columns;
  for (int k = 0; k < 4; ++k) {
    for (int j = 0; j < 3; ++j) {
      for (int i = 0; i < 2; ++i) columns.push_back(i * 12 + j * 4 + k);
    }
  }
  const HostTensor tensor =
      read(npy("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3, 4), }", data_of(columns)));
  EXPECT_EQ(tensor.shape(), (std::vector<std::int64_t>{2, 3, 4}));
  for (int i = 0; i < 24; ++i) EXPECT_EQ(tensor.at(i), i);
  EXPECT_EQ(
      read(npy("{'descr': '<i4', 'fortran_order': True, 'shape': (0, 3), }", "")).element_count(),
      0);
  EXPECT_EQ(read(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (), }", "\x07")).at(0), 7);
}

TEST(Npy, CopiesDataThatIsNotAligned) {
  const std::string header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }";
  ASSERT_NE((header.size() + 10) % 8, 0U);
  const HostTensor tensor = read(npy(header, data_of<double>({1.5})));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data()) % 8, 0U);
  EXPECT_EQ(*tensor.as<double>(), 1.5);
}

TEST(Npy, RefusesOtherDTypesWithAdvice) {
  const auto with = [](const std::string& descr) {
    return refusal(npy("{'descr': " + descr + ", 'fortran_order': False, 'shape': (1,), }", "12"));
  };
  EXPECT_THAT(with("'>f4'"), AllOf(HasSubstr("big-endian"), HasSubstr(".astype('<f4')")));
  EXPECT_THAT(with("'bfloat16'"), AllOf(HasSubstr("bf16"), HasSubstr("safetensors")));
  EXPECT_THAT(with("'<V2'"), HasSubstr("bf16"));
  EXPECT_THAT(with("'<u8'"), HasSubstr("'<u8' is not one of"));
  EXPECT_THAT(with("'|O'"), HasSubstr("'|O' is not one of"));
  EXPECT_THAT(with("''"), HasSubstr("empty"));
  EXPECT_THAT(with("[('x', '<f4')]"), HasSubstr("records"));
}

TEST(Npy, RefusesBrokenHeaders) {
  const std::string rest = "'fortran_order': False, 'shape': (1,), }";
  EXPECT_THAT(refusal(""), HasSubstr("does not begin"));
  EXPECT_THAT(refusal("PK\x03\x04 a zip file, as .npz is"), HasSubstr("does not begin"));
  EXPECT_THAT(refusal(npy("{}", "", 4)), HasSubstr("version 4.0"));
  for (const std::string& header :
       {std::string("{}"), std::string(""), "{'descr': '|u1', 'descr': '|u1', " + rest,
        "{'descr': '|u1', 'more': 1, " + rest, "{'descr': '|u1' " + rest, "{'descr': |u1, " + rest,
        "{'descr': '|u1, " + rest, "{'descr': '|u1', " + rest + " x",
        std::string("{'descr': '|u1', 'fortran_order': Maybe, 'shape': (1,), }"),
        std::string("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,), }"),
        std::string("{'descr': '|u1', 'fortran_order': False, 'shape': (1.5,), }"),
        std::string("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }"),
        std::string("{'descr': '|u1', 'fortran_order': False, 'shape': 1, }"),
        std::string("{'descr': '|u1', 'fortran_order': False, 'shape': (1,")}) {
    EXPECT_THAT(refusal(npy(header, "x")), HasSubstr("not that of an array")) << header;
  }
}

TEST(Npy, RefusesSizesThatDoNotFit) {
  const auto with = [](const std::string& shape, const std::string& data) {
    return refusal(npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }", data));
  };
  EXPECT_THAT(with("(2,)", "1234567"), HasSubstr("needs 8 bytes but 7 are there"));
  EXPECT_THAT(with("(2,)", "123456789"), HasSubstr("needs 8 bytes but 9 are there"));
  EXPECT_THAT(with("(4294967296, 4294967296)", ""), HasSubstr("not possible"));
  EXPECT_THAT(with("(4611686018427387904,)", ""), HasSubstr("overflows"));
  EXPECT_THAT(refusal(npy("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", "\x02")),
              HasSubstr("not 0 or 1"));
}

TEST(Npy, EveryTruncationAndBitFlipIsNoticedOrHarmless) {
  const TempFolder folder;
  const auto path = folder / "x.npy";
  write_npy(path, HostTensor::from_floats({2, 2}, {1, 2, 3, 4}));
  const std::string whole = read_bytes(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_bytes(path, whole.substr(0, size));
    EXPECT_THROW(read_npy(path), Error) << "cut to " << size << " bytes";
  }
  int refused = 0;
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    write_bytes(path, bytes);
    try {
      read_npy(path).to_doubles();
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 400);
}

TEST(Npy, WriterRefusesWhatTheFormatCannotHold) {
  const TempFolder folder;
  const HostTensor bf16 = HostTensor::from_floats({1}, {1}).cast(DType::bf16);
  EXPECT_THAT(error_of([&] { write_npy(folder / "x.npy", bf16); }, ErrorKind::usage),
              AllOf(HasSubstr("x.npy"), HasSubstr("bf16"), HasSubstr(".safetensors")));
  error_of([&] { write_npy(folder / "x.npy", HostTensor()); }, ErrorKind::usage);
  EXPECT_EQ(folder.file_count(), 0);
  const FileSizeLimit limit(1000);
  error_of([&] { write_npy(folder / "x.npy", HostTensor(DType::f32, {1000})); });
  EXPECT_EQ(folder.file_count(), 0);
}

}  // namespace
}  // namespace facet::test
