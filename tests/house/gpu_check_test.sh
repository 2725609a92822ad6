#!/usr/bin/env bash
# scripts/gpu_check on a bundle whose programs, device and PyTorch are made up: right results, wrong ones, crashes, figures
# above and below their targets, and a run that is cut short.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if ! command -v python3 >/dev/null; then
  echo 'SKIPPED: python3 is not installed'
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# expect WHAT REGEX: in $output, a line.
expect() {
  if ! grep -qE "$2" <<<"$output"; then
    printf 'FAIL: %s: no line like\n%s\nin\n%s\n' "$1" "$2" "$output"
    failures=$((failures + 1))
  fi
}

# program PATH: makes it of what is read.
program() {
  cat >"$1"
  chmod +x "$1"
}

bundle=$folder/bundle
mkdir -p "$bundle"/{bin,bench} "$folder/path"
cp -R "$here/../../scripts/gpu_check" "$here/../../scripts/gpu_check.sh" "$bundle/"
echo 'Facet, built never.' >"$bundle/README"
# What goes in comes out, on every device.
program "$bundle/facet" <<'SH'
#!/bin/sh
while [ $# -gt 0 ]; do
  case $1 in --input) input=$2 ;; --output) output=$2 ;; esac
  shift
done
cp "$input" "$output"
SH
program "$bundle/run" <<'SH'
#!/bin/sh
case "$*" in
  --libraries) echo 'libcuda.so.1 /lib/libcuda.so.1' ;;
  *--gtest_list_tests*) ;;
  *lscnn*) printf '[ RUN      ] A/lscnn\nx.cpp:1: Failure\nExpected: %s\n[  FAILED  ] A/lscnn, where (3 ms)\n' "$FACET_TEST_DEVICE"; exit 1 ;;
  *dcr*) echo '[ RUN      ] A/dcr'; kill -SEGV $$ ;;
  *'OpSamples*'*) echo '[  PASSED  ] 0 tests.' ;;
  *) echo '[       OK ] A/other (3 ms)' ;;
esac
SH
program "$folder/path/nvidia-smi" <<'SH'
#!/bin/sh
echo 'Some GPU, 580.0, 1000 MiB, 9.0'
SH
program "$folder/path/compute-sanitizer" <<'SH'
#!/bin/sh
echo '========= ERROR SUMMARY: 0 errors'
SH
cat >"$bundle/bench/compare.py" <<'PYTHON'
import argparse, json, pathlib, sys, time
parser = argparse.ArgumentParser()
for name in ("models", "batches", "peers", "json"):
    parser.add_argument("--" + name)
parser.add_argument("--train", action="store_true")
args, _ = parser.parse_known_args()
if args.models == "dcr":
    pathlib.Path(__file__).with_name("asleep").touch()
    time.sleep(600)
found = {"rows": [], "failures": []}
if args.peers == "torch-graph" and args.batches == "1":
    found["failures"].append({"peer": args.peers, "error": "it cannot be captured"})
else:
    ms = {"facet": 10, "torch-graph": 16, "torch-eager": 30, "torch-compile": 11}[args.peers]
    found["rows"].append({"peer": args.peers, "median_ms": ms, "images_per_s": 1e5 / ms, "floor_ms": 5,
                          "peak_device_bytes": 7e6 if args.peers == "facet" else 8e6})
open(args.json, "w").write(json.dumps(found))
sys.exit(bool(found["failures"]))
PYTHON

export PATH=$folder/path:$PATH
check=("$bundle/gpu_check.sh" --json "$folder/out.json")

if output=$("${check[@]}" --models lesa_resnet50,mla_iresnet100 2>&1); then output="exit code 0: $output"; fi
expect "the machine" '^ok +device +machine: Some GPU, 580.0'
expect "small networks ahead of the others" '^ok +device +small networks training: 1 passed'
expect "equal results" '^ok +device +run lscnn f32: error 0.0e\+00, cosine 1.000000 beside cpu'
expect "a wrong result, on the device" '^failed +goldens +lscnn f32, bf16: A/lscnn: Expected: cuda'
expect "a crash" '^failed +goldens +dcr f32, bf16: crashed, signal 11: .* in A/dcr'
expect "a right result" '^ok +goldens +mla_iresnet18 f32, bf16: 1 passed'
expect "tests that are missing" '^not run +tests +OpSamples: there is no such test'
expect "the memory checker" '^ok +memcheck +lscnn_small: 0 errors'
expect "the better of PyTorch's, below two targets" \
  '^train lesa_resnet50 batch 128 +10000.0 +9090.9 torch-compile +1.10 +1.50 +7 +0.88 +0.75 +2.00 +2.20 +under ratio memory$'
expect "eager PyTorch where the capture fails" '^ +torch-graph: it cannot be captured'
expect "the end" '^[0-9]+ failed, 1 not run, [0-9]+ ok, [0-9]+ under$'
output=$(<"$folder/out.json")
expect "the JSON is whole" '"complete": true'

"${check[@]}" --stages bench --models dcr >"$folder/text" 2>&1 &
until [[ -e $bundle/bench/asleep ]]; do sleep 0.1; done
kill -TERM $!
wait $! || echo "exit code $?" >>"$folder/text"
output=$(<"$folder/text")
expect "a row that was cut short" '^not run +bench +train dcr batch 128: interrupted by SIGTERM'
expect "the table all the same" '^cuda; .*; not complete'
expect "its exit code" '^exit code 1'
output=$(<"$folder/out.json")
expect "the JSON then" '"interrupted_by": "SIGTERM"'

exit $((failures > 0))
