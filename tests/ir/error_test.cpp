#include "ir/error.h"

#include <gtest/gtest.h>

#include "tests/ir/error_of.h"

namespace facet::test {
namespace {

TEST(Error, ContextIsAppendedAndTheKindStays) {
  Error error = usage_error("no such file");
  error.add_context("reading x.ir").add_context("running 'show'");
  EXPECT_STREQ(error.what(), "no such file\n  while reading x.ir\n  while running 'show'");
  EXPECT_EQ(error.kind(), ErrorKind::usage);
  EXPECT_EQ(failure("full").kind(), ErrorKind::failure);
}

TEST(Error, NearNamesComeNearestFirst) {
  const std::vector<std::string> models{"lscnn", "dcr", "lesa", "arcface_iresnet50"};
  EXPECT_EQ(did_you_mean("relu6", {"prelu", "relu"}), "did you mean 'relu' or 'prelu'?");
  EXPECT_EQ(did_you_mean("lscn", models), "did you mean 'lscnn'?");
  EXPECT_EQ(did_you_mean("drc", models), "");
  EXPECT_EQ(did_you_mean("dcx", models), "did you mean 'dcr'?");
  EXPECT_EQ(did_you_mean("arcface", models), "did you mean 'arcface_iresnet50'?");
  EXPECT_EQ(did_you_mean("resnext", models), "");
  EXPECT_EQ(did_you_mean("", models), "");
  EXPECT_EQ(did_you_mean("x", {}), "");
}

TEST(Error, AtMostThreeNamesAreSuggested) {
  EXPECT_EQ(did_you_mean("conv", {"conv1", "conv2", "conv3", "conv4"}),
            "did you mean 'conv1' or 'conv2' or 'conv3'?");
}

TEST(Error, OneLetterNamesHaveNeighbours) {
  EXPECT_EQ(did_you_mean("a", {"b", "longer"}), "did you mean 'b'?");
}

}  // namespace
}  // namespace facet::test
