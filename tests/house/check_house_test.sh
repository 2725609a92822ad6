#!/usr/bin/env bash
# The rules of check_house.sh must be able to fail: each is run on small trees that keep it and that break it.
#
#   check_house_test.sh RULE
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rule=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0
cases=0

# write FILE LINE...: a file of the tree.
write() {
  mkdir -p "$tree/$(dirname "$1")"
  printf '%s\n' "${@:2}" >"$tree/$1"
}

# keeps WHAT: the tree as it is now must pass. The tree is empty afterwards.
keeps() {
  local output
  cases=$((cases + 1))
  if ! output=$(bash "$here/check_house.sh" "$rule" "$tree" 2>&1); then
    printf 'FAIL: %s: should pass, but:\n%s\n' "$1" "$output"
    failures=$((failures + 1))
  fi
  find "$tree" -mindepth 1 -delete
}

# breaks WHERE WHAT: the tree must fail with exit code 1, and name WHERE.
breaks() {
  local output status=0
  cases=$((cases + 1))
  output=$(bash "$here/check_house.sh" "$rule" "$tree" 2>&1) || status=$?
  if ((status != 1)) || [[ $output != *"$1"* ]]; then
    printf 'FAIL: %s: should fail and name %s, but exit code %d and:\n%s\n' "$2" "$1" "$status" "$output"
    failures=$((failures + 1))
  fi
  find "$tree" -mindepth 1 -delete
}

# An include directive put together, so that the rule does not see one here.
include() { printf '#%s %s' include "$1"; }

case $rule in
  includes)
    write ir/graph.h "$(include '<vector>')" "$(include '<fmt/format.h>')" "$(include '"ir/error.h"')"
    write passes/fuse.cpp "$(include '"passes/fuse.h"')" "$(include '"ir/graph.h"')"
    write backends/cpu/conv.cpp "$(include '<oneapi/dnnl/dnnl.hpp>')" "$(include '"backends/cpu/conv.h"')"
    write backends/reference/conv.cpp "$(include '<Eigen/Core>')" "$(include '"passes/target.h"')"
    write runtime/formats/image.cpp "$(include '<png.h>')" "$(include '<turbojpeg.h>')"
    write runtime/formats/onnx_reader.cpp "$(include '<onnx/onnx_pb.h>')"
    write zoo/lscnn.cpp "$(include '"zoo/blocks/dense.h"')" "$(include '"ir/dsl.h"')"
    write cli/main.cpp "$(include '<CLI/CLI.hpp>')" "$(include '"runtime/compile.h"')"
    write tests/ir/graph_test.cpp "$(include '<gtest/gtest.h>')" "$(include '"tests/support/near.h"')"
    keeps "a tree in order"
    write ir/graph.h "" "$(include '"passes/fuse.h"')"
    breaks ir/graph.h:2: "ir above itself"
    write passes/fuse.cpp "$(include '"backends/cpu/conv.h"')"
    breaks passes/fuse.cpp:1: "passes above itself"
    write zoo/lscnn.cpp "  $(include '"runtime/compile.h"')"
    breaks zoo/lscnn.cpp:1: "zoo reads more than ir"
    write training/trainer.cpp "$(include '"backends/cpu/conv.h"')"
    breaks training/trainer.cpp:1: "training around the runtime"
    write runtime/formats/x.cpp "$(include '"cli/main.h"')"
    breaks runtime/formats/x.cpp:1: "a subfolder counts as its folder"
    write runtime/compile.cpp "$(include '<oneapi/dnnl/dnnl.hpp>')"
    breaks runtime/compile.cpp:1: "oneDNN outside backends/cpu"
    write backends/reference/conv.cpp "# include \"dnnl.hpp\""
    breaks backends/reference/conv.cpp:1: "oneDNN in quotes, with a space"
    write backends/cpu/conv.cpp "$(include '<Eigen/Core>')"
    breaks backends/cpu/conv.cpp:1: "Eigen outside backends/reference"
    write backends/cpu/conv.cpp "$(include '<nlohmann/json.hpp>')"
    breaks backends/cpu/conv.cpp:1: "JSON in a backend"
    write runtime/formats/npy.cpp "$(include '<google/protobuf/message.h>')"
    breaks runtime/formats/npy.cpp:1: "protobuf outside the ONNX files"
    write ir/graph.cpp "$(include '<unistd.h>')"
    breaks ir/graph.cpp:1: "ir beyond the standard library"
    write ir/graph.cpp "$(include '"graph.h"')"
    breaks ir/graph.cpp:1: "a path that does not start at the root"
    write ir/graph.cpp "$(include '"../ir/graph.h"')"
    breaks ir/graph.cpp:1: "a path upwards"
    write passes/fuse.cpp "$(include '<ir/graph.h>')"
    breaks passes/fuse.cpp:1: "our own header in angle brackets"
    ;;
  length)
    mapfile -t lines < <(seq 500)
    write ir/graph.cpp "${lines[@]}"
    write tests/golden/long.json "${lines[@]}" "${lines[@]}"
    keeps "500 lines, and data of any length"
    write ir/graph.cpp "${lines[@]}" "one more"
    breaks ir/graph.cpp:501: "501 lines"
    write ir/CMakeLists.txt "${lines[@]}" "one more"
    breaks ir/CMakeLists.txt:501: "501 lines of CMake"
    ;;
  words)
    write README.md "See /dev/full, build/bin/facet, photos/work/a.jpg and https://example.org/paper.pdf; todo lists are fine."
    keeps "ordinary text"
    for word in "/wo""rk/a" "(/tm""p/a)" "/ho""me/me/a" "/ro""ot/a" "../sha""red/a" "http://deb.debi""an.org/debian" \
      "archive.ubun""tu.com" "py""pi.org" "registry.npm""js.org" "ghc""r.io/x" "TO""DO: finish" "FIX""ME"; do
      write docs/page.md "fine" "see $word"
      breaks docs/page.md:2: "$word"
    done
    ;;
  scripts)
    write scripts/a.sh 'if true; then echo yes; fi'
    write .ci/run '#!/usr/bin/env bash' 'echo yes'
    write ir/graph.cpp 'if (((('
    keeps "scripts that parse"
    write scripts/a.sh 'if true; then echo yes'
    breaks a.sh "an open if"
    write .ci/run '#!/usr/bin/env bash' 'echo "'
    breaks .ci/run "a script known by its first line"
    ;;
  *)
    echo "check_house_test.sh: unknown rule '$rule'" >&2
    exit 2
    ;;
esac

echo "$rule: $cases cases, $failures failures"
((failures == 0))
