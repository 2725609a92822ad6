#include "backends/cpu/primitive_cache.h"

#include <gmock/gmock.h>
#include <omp.h>

namespace facet::testing {
namespace {

using cpu::PrimitiveCache;
using cpu::PrimitiveDesc;

/// A copy from rows to columns, counted.
struct Maker {
  int asked = 0;
  PrimitiveDesc operator()() {
    ++asked;
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    const auto memory = [](dnnl::memory::format_tag tag) {
      return dnnl::memory::desc({8, 8}, dnnl::memory::data_type::f32, tag);
    };
    return dnnl::reorder::primitive_desc(engine, memory(dnnl::memory::format_tag::ab), engine,
                                         memory(dnnl::memory::format_tag::ba));
  }
};

TEST(PrimitiveCache, AsksOnceForAKeyUntilItIsCleared) {
  PrimitiveCache cache;
  Maker maker;
  const auto get = [&](const char* key) { return cache.get(key, std::ref(maker)); };
  ASSERT_TRUE(get("a"));
  EXPECT_EQ(get("a")->get(), get("a")->get());
  EXPECT_EQ(maker.asked, 1);
  get("b");
  EXPECT_EQ(maker.asked, 2);
  cache.clear();
  EXPECT_TRUE(get("a"));
  EXPECT_EQ(maker.asked, 3);
}

TEST(PrimitiveCache, ANumberOfThreadsHasItsOwnDescriptors) {
  PrimitiveCache cache;
  Maker maker;
  const int before = omp_get_max_threads();
  for (const int threads : {1, 2, 1}) {
    omp_set_num_threads(threads);
    cache.get("a", std::ref(maker));
  }
  omp_set_num_threads(before);
  EXPECT_EQ(maker.asked, 2);
}

TEST(PrimitiveCache, RemembersWhatOneDnnDoesNotHaveAndThrowsAllElse) {
  PrimitiveCache cache;
  int asked = 0;
  const auto fails_with = [&asked](dnnl_status_t status) {
    return [&asked, status]() -> PrimitiveDesc {
      ++asked;
      throw dnnl::error(status, "no");
    };
  };
  for (const dnnl_status_t none : {dnnl_unimplemented, dnnl_invalid_arguments}) {
    const std::string key = std::to_string(none);
    asked = 0;
    EXPECT_FALSE(cache.get(key, fails_with(none)));
    EXPECT_FALSE(cache.get(key, fails_with(none)));
    EXPECT_EQ(asked, 1) << key;
  }
  asked = 0;
  EXPECT_THROW(cache.get("a", fails_with(dnnl_out_of_memory)), dnnl::error);
  EXPECT_THROW(cache.get("a", fails_with(dnnl_out_of_memory)), dnnl::error);
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace facet::testing
