#include "runtime/formats/pickle.h"

#include <gmock/gmock.h>

#include "tests/formats/temp_folder.h"
#include "tests/formats/zip_writer.h"

namespace facet::test {
namespace {

using namespace std::string_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Kind = PickleValue::Kind;

PickleData read(const std::string& bytes) {
  PickleNames names;
  names.values = {"torch.FloatStorage"};
  names.callables = {"torch.device"};
  return read_pickle(std::as_bytes(std::span(bytes)), names);
}

std::string refusal(const std::string& bytes) {
  return error_of([&] { read(bytes); });
}

PickleValue root(const std::string& bytes) {
  const PickleData data = read(bytes);
  return data[data.root];
}

/// What Python's pickle.dumps writes at the given protocol.
TEST(Pickle, PlainValuesOfEveryProtocolAreRead) {
  EXPECT_EQ(root("\x80\x02N.").kind, Kind::none);
  EXPECT_EQ(root("\x80\x02\x88.").number, 1);
  EXPECT_EQ(root("\x80\x02K\x07.").number, 7);
  EXPECT_EQ(root("\x80\x02M\x39\x30.").number, 12345);
  EXPECT_EQ(root("\x80\x02J\xFE\xFF\xFF\xFF.").number, -2);
  EXPECT_EQ(root("\x80\x02\x8A\x05\0\0\0\0\x01."s).number, std::int64_t{1} << 32);
  EXPECT_EQ(root("\x80\x02\x8A\x05\xFF\xFF\xFF\xFF\xFE."s).number, -(std::int64_t{1} << 32) - 1);
  EXPECT_EQ(root("\x80\x02\x8A\0."s).number, 0);
  EXPECT_EQ(root("\x80\x02\x8A\x09" + "123456789"s + ".").kind, Kind::other);
  EXPECT_EQ(root("\x80\x02G\x3F\xF0\0\0\0\0\0\0."s).kind, Kind::other);
  EXPECT_EQ(root("\x80\x02X\x02\0\0\0abq\0."s).text, "ab");
  EXPECT_EQ(root("\x80\x04\x95\x06\0\0\0\0\0\0\0\x8C\x02xy\x94."s).text, "xy");
  EXPECT_EQ(root("\x80\x03"
                 "C\x01z."s)
                .kind,
            Kind::bytes);
  EXPECT_EQ(root("\x80\x02K\x01K\x02K\x03\x87.").items.size(), 3);
  EXPECT_EQ(root("\x80\x02](K\x01K\x02"
                 "e.")
                .items.size(),
            2);
  EXPECT_EQ(root("\x80\x02}q\0(X\x01\0\0\0aK\x01X\x01\0\0\0bK\x02u."s).items.size(), 4);
  EXPECT_EQ(root("\x80\x04\x8F\x94(K\x01\x90.").items.size(), 1);
  EXPECT_EQ(root("\x80\x02"
                 "ctorch\nFloatStorage\n.")
                .text,
            "torch.FloatStorage");
  EXPECT_EQ(root("\x80\x02"
                 "ctorch\ndevice\nX\x03\0\0\0cpu\x85R."s)
                .kind,
            Kind::object);
  EXPECT_EQ(root("\x80\x02"
                 "ccollections\nOrderedDict\n)R."s)
                .kind,
            Kind::dictionary);
  EXPECT_EQ(root("\x80\x02"
                 "ccollections\nOrderedDict\n]]K\x01"
                 "aK\x02"
                 "aa\x85R."s)
                .items.size(),
            2);
  EXPECT_EQ(root("\x80\x02"
                 "c__builtin__\nset\n](K\x01"
                 "e\x85R."s)
                .items.size(),
            1);
}

TEST(Pickle, SharedAndCyclicValuesAreOneValue) {
  const PickleData data = read("\x80\x02]q\0h\0a."s);  // a list in itself
  EXPECT_EQ(data[data.root].items, std::vector<std::uint32_t>{data.root});
}

TEST(Pickle, StateOfADictionaryIsDropped) {
  EXPECT_EQ(root("\x80\x02}}X\x01\0\0\0aK\x01sb."s).items.size(), 0);
}

/// Every way that a pickle has to make or call something.
TEST(Pickle, CodeIsRefusedByName) {
  EXPECT_THAT(
      refusal("\x80\x02"
              "cos\nsystem\nX\x02\0\0\0ls\x85R."s),
      AllOf(HasSubstr("\"os.system\""), HasSubstr("nothing was loaded"), HasSubstr("at byte 2")));
  EXPECT_THAT(refusal("\x80\x02"
                      "c__builtin__\neval\nX\x01\0\0\0"
                      "1\x85R."s),
              HasSubstr("\"__builtin__.eval\""));
  EXPECT_THAT(refusal("\x80\x04\x8C\x08"
                      "builtins\x8C\x04"
                      "exec\x93."),
              HasSubstr("\"builtins.exec\""));
  EXPECT_THAT(refusal("(S'ls'\nios\nsystem\n."), HasSubstr("0x53"));  // protocol 0
  EXPECT_THAT(refusal("(ios\nsystem\n."), HasSubstr("\"os.system\""));
  EXPECT_THAT(refusal("\x80\x02"
                      "ctorch\nFloatStorage\n)\x81."),
              HasSubstr("\"torch.FloatStorage\""));
  EXPECT_THAT(refusal("\x80\x02(ctorch\ndevice\no."), HasSubstr("\"torch.device\""));
  EXPECT_THAT(refusal("\x80\x04)}\x92."), HasSubstr("instance of a class"));
  EXPECT_THAT(refusal("\x80\x02"
                      "ctorch\nFloatStorage\n)R."),
              HasSubstr("\"torch.FloatStorage\""));
  EXPECT_THAT(refusal("\x80\x02X\x02\0\0\0os)R."s), HasSubstr("has no name"));
  EXPECT_THAT(refusal("\x80\x02\x82\x01."), HasSubstr("0x82"));  // the extension registry
  EXPECT_THAT(refusal("\x80\x02Pkey\n."), HasSubstr("0x50"));
  // A call as the callee, and a call hidden in arguments that nobody reads.
  EXPECT_THAT(refusal("\x80\x02"
                      "ctorch\ndevice\n)R)R."),
              HasSubstr("has no name"));
  EXPECT_THAT(refusal("\x80\x02"
                      "ctorch\ndevice\ncposix\nsystem\n)R\x85R."),
              HasSubstr("\"posix.system\""));
  EXPECT_THAT(refusal("\x80\x02"
                      "ctorch._utils\n\x1b[31m\n."),
              HasSubstr("\\u001b"));
}

TEST(Pickle, DamageIsRefused) {
  EXPECT_THAT(refusal(""), HasSubstr("cut short"));
  EXPECT_THAT(refusal("\x80\x02"), HasSubstr("cut short"));
  EXPECT_THAT(refusal("\x80\x02."), HasSubstr("not there"));
  EXPECT_THAT(refusal("\x80\x02(."), HasSubstr("not there"));
  EXPECT_THAT(refusal("\x80\x02N(0N."), HasSubstr("not there"));
  EXPECT_THAT(refusal("\x80\x02t."), HasSubstr("mark that is not there"));
  EXPECT_THAT(refusal("\x80\x02h\x05."), HasSubstr("never remembered"));
  EXPECT_THAT(refusal("\x80\x02Nr\xFF\xFF\xFF\xFF."), HasSubstr("number too large"));
  EXPECT_THAT(refusal("\x80\x02(Nd."), HasSubstr("key without a value"));
  EXPECT_THAT(refusal("\x80\x02}(Nu."), HasSubstr("key without a value"));
  EXPECT_THAT(refusal("\x80\x02NNa."), HasSubstr("no container"));
  EXPECT_THAT(refusal("\x80\x02X\xFF\xFF\xFF\x7F."), HasSubstr("cut short"));
  EXPECT_THAT(refusal("\x80\x04\x8D" + std::string(8, '\xFF') + "."), HasSubstr("cut short"));
  EXPECT_THAT(refusal("\x80\x09N."), HasSubstr("protocol 9"));
  EXPECT_THAT(refusal("\x80\x02"
                      "ctorch\ndevice\nNR."),
              HasSubstr("without arguments"));
  EXPECT_THAT(refusal("\x80\x02NNb."), HasSubstr("state of a plain value"));
}

TEST(Pickle, DepthAndNumberAreBounded) {
  std::string deep = "\x80\x02N";
  for (int i = 0; i < 100'000; ++i) deep += "\x85";  // a tuple in a tuple
  EXPECT_EQ(root(deep + ".").items.size(), 1);
  EXPECT_THAT(refusal("\x80\x02" + std::string(300'000, 'N') + "."),
              HasSubstr("more than 200000 values"));
  EXPECT_THAT(refusal("\x80\x02" + std::string(2'000'000, '(') + "."), HasSubstr("instructions"));
  // One long list, made a dictionary of again and again.
  std::string again = "\x80\x02]q\0("s;
  for (int i = 0; i < 1000; ++i) again += "NN\x86";
  again += "e\x85q\x01"s;
  for (int i = 0; i < 2000; ++i) again += "ccollections\nOrderedDict\nh\x01R0"s;
  EXPECT_THAT(refusal(again + "N."), HasSubstr("too many dictionaries"));
}

}  // namespace
}  // namespace facet::test
