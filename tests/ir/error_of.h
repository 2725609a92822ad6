#pragma once

#include <gtest/gtest.h>

#include <string>

#include "ir/error.h"

namespace facet::test {

/// What the Error that `work` must throw says; its kind must be `kind`.
template <class Work>
std::string error_of(Work&& work, ErrorKind kind = ErrorKind::usage) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

}  // namespace facet::test
