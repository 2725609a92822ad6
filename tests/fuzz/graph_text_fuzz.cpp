#include <cstdlib>

#include "ir/text.h"
#include "tests/fuzz/fuzz.h"

/// What is read must print, and the print must read back to the same print.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace facet;
  return fuzz::attempt([&] {
    const Graph graph = parse_graph(fuzz::text_of(data, size));
    const std::string text = to_text(graph);
    // Large constants print as hashes, which do not read back.
    if (text.find("; hash") != std::string::npos) return;
    if (to_text(parse_graph(text)) != text) std::abort();
  });
}
