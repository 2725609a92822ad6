#!/usr/bin/env bash
# Sets up the machine, builds Facet and shows it at work: trains a small attention network on
# Fashion-MNIST, evaluates it in f32 and bf16, shows what was fused, finds nearest neighbours by its
# embeddings, and times it.
#
#   scripts/demo.sh [photo.jpg|photo.png ...]     results in out/
#
# FACET_DEMO_EPOCHS: how many epochs to train (default: the recipe's).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/build.sh" -- facet
facet="$root/build/bin/facet"
out="$root/out"
model=mla_small
recipe=fashion_demo
settings=(--set width=16 --set layers=1,1,1 --set embedding_size=64) # the recipe's
mkdir -p "$out"

fashion=$(dpkg -L dataset-fashion-mnist 2>/dev/null | grep -m1 't10k-images' || true)
[ -n "$fashion" ] || { echo "demo: the package dataset-fashion-mnist is missing; run scripts/setup.sh" >&2; exit 1; }

echo "== Training $model on Fashion-MNIST (recipe $recipe)"
rm -rf "$out/training"
overrides=()
[ -z "${FACET_DEMO_EPOCHS:-}" ] || overrides=("training.epochs=$FACET_DEMO_EPOCHS")
"$facet" train "$recipe" "${overrides[@]}" --output "$out/training"
weights="$out/training/weights.safetensors"

echo
echo "== Its accuracy on the 10,000 test pictures, in f32 and compiled to bf16"
"$facet" eval --recipe "$recipe" --weights "$weights"
"$facet" eval --recipe "$recipe" --weights "$weights" --precision bf16

echo
echo "== What the compiler fused"
"$facet" explain "$model" "${settings[@]}" >"$out/$model-explain.txt"
head -n 30 "$out/$model-explain.txt"
"$facet" show "$model" "${settings[@]}" --after all --format svg -o "$out/$model.svg"

echo
echo "== Nearest neighbours of 512 test pictures by the embeddings it learned"
"$facet" embed "$model" "${settings[@]}" "$fashion" --weights "$weights" --precision bf16 --limit 512 \
  --output "$out/$model.safetensors" --neighbors "$out/$model-neighbors.png"

if [ "$#" -gt 0 ]; then
  echo
  echo "== mla_iresnet50: your photos to embeddings (random weights: untrained features)"
  "$facet" embed mla_iresnet50 "$@" --weights random:1 --output "$out/photos.safetensors"
fi

echo
echo "== Benchmark: inference, then whole training steps"
"$facet" bench "$model" "${settings[@]}" --batch 1,128 --precision f32,bf16 --seconds 1 --json "$out/bench.json"
"$facet" bench "$model" "${settings[@]}" --train --batch 128 --precision f32,bf16 --seconds 1 --json "$out/bench-train.json"

echo
echo "Results in $out:"
ls -1 "$out"
