#!/usr/bin/env bash
# Sets up the machine, builds Facet and shows it at work: three networks compiled, photos streamed
# through them into embeddings, nearest neighbours as a PNG, the benchmark table, the graph as SVG.
#
#   scripts/demo.sh [photo.jpg|photo.png ...]     results in out/
#
# FACET_DEMO_IMAGES: how many Fashion-MNIST test images to embed (default 512).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/build.sh" -- facet
facet="$root/build/bin/facet"
out="$root/out"
count=${FACET_DEMO_IMAGES:-512}
mkdir -p "$out"

fashion=$(dpkg -L dataset-fashion-mnist 2>/dev/null | grep -m1 't10k-images' || true)
[ -n "$fashion" ] || { echo "demo: the package dataset-fashion-mnist is missing; run scripts/setup.sh" >&2; exit 1; }

echo "== The zoo"
"$facet" models

for model in lscnn dcr mla_iresnet50; do
  output=embedding
  [ "$model" = dcr ] && output=branch_embeddings
  echo
  echo "== $model: $count Fashion-MNIST test images to embeddings (random weights: untrained features)"
  "$facet" embed "$model" "$fashion" --weights random:1 --precision bf16 --limit "$count" \
    --output-name "$output" --output "$out/$model.safetensors" --neighbors "$out/$model-neighbors.png"
  "$facet" show "$model" --after all --format svg -o "$out/$model.svg"
done

if [ "$#" -gt 0 ]; then
  echo
  echo "== mla_iresnet50: your photos to embeddings"
  "$facet" embed mla_iresnet50 "$@" --weights random:1 --output "$out/photos.safetensors"
fi

echo
echo "== What the compiler fused in lscnn"
"$facet" explain lscnn >"$out/lscnn-explain.txt"
head -n 40 "$out/lscnn-explain.txt"

echo
echo "== Benchmark"
"$facet" bench lscnn dcr mla_iresnet50 --batch 1,16 --precision f32,bf16 --seconds 1 --json "$out/bench.json"

echo
echo "Results in $out:"
ls -1 "$out"
