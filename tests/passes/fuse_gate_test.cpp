#include "ir/gate.h"

#include "tests/passes/pass_case.h"
#include "zoo/blocks/cbam.h"
#include "zoo/zoo.h"

namespace facet {
namespace {
TEST(FuseGate, Prints) {
  for (const char* model : {"lscnn", "mla_iresnet18", "mla_iresnet100", "lesa_resnet50"}) {
    Graph graph = zoo::build(model, {});
    PassContext context;
    context.evaluate = testing::reference_evaluator();
    run_pipeline(graph, optimization_pipeline(), context);
    int n=0;
    for (const auto& r : context.remarks) if (r.pass == "fuse-gate") { if(++n<6) std::printf("%s %s @ %s %s\n", model, r.pattern.c_str(), r.scope.c_str(), r.reason.c_str()); }
    std::printf("%d\n", n);
  }
}
}
}
