"""How far PyTorch's own float32 is from the golden files' float64 on processors without AVX-512.

    python bench/peers/float32_noise.py [CASE...] > tests/golden/float32_noise_avx2.json

Prints the largest error of a gradient by the input and by a parameter, per case. One run is one
sample: where a ReLU flips depends on the order of sums. So it is the largest over the instruction
sets that oneDNN may use then (AVX2, AVX) and over both memory formats.
"""

import json
import os
import subprocess
import sys

import torch
from torch import nn

from golden import CASES, GOLDEN, MODELS, digest_error, filled, uniform

INSTRUCTION_SETS = "AVX2", "AVX"
FORMATS = torch.contiguous_format, torch.channels_last
SMALL = 1e-6  # gradients below this part of the largest are rounding noise in float64, too


def worst(digests, tensors):
    return max(digest_error(digest, tensors[key]) for key, digest in digests.items())


def read_train(case):
    return json.loads((GOLDEN / f"{case}.json").read_text()).get("train")


def measure(case, memory_format):
    """The largest errors of one vector-Jacobian product in training mode."""
    model, options, outputs = CASES[case]
    golden = read_train(case)
    module = filled(model, **options).train().to(memory_format=memory_format)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    (name, shape), = golden["inputs"].items()
    x = torch.from_numpy(uniform(name, tuple(shape), -1, 1)).requires_grad_()
    results = module(x)
    results = results if isinstance(results, (tuple, list)) else (results,)
    results = dict(zip(outputs or MODELS[model].outputs, results, strict=True))
    sum((y * torch.from_numpy(uniform(f"cotangent:{key}", tuple(y.shape), -1, 1))).sum()
        for key, y in results.items()).backward()
    largest = max(d["l2"] for d in golden["grad_params"].values())
    counted = {k: d for k, d in golden["grad_params"].items() if d["l2"] > SMALL * largest}
    return {
        "grad_inputs": worst(golden["grad_inputs"], {name: x.grad}),
        "grad_params_worst": worst(counted, {k: p.grad for k, p in module.named_parameters()}),
    }


def merge(rows):
    return {key: max(row[key] for row in rows) for key in rows[0]}


def main():
    cases = sys.argv[1:] or [case for case in CASES if read_train(case)]
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        print(json.dumps({case: merge([measure(case, f) for f in FORMATS]) for case in cases}))
        return
    found = []
    for isa in INSTRUCTION_SETS:  # oneDNN reads it once in a process
        run = subprocess.run([sys.executable, __file__, *cases], check=True, text=True,
                             stdout=subprocess.PIPE, env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa})
        found.append(json.loads(run.stdout))
    table = {case: {key: float(f"{value:.3g}") for key, value in
                    merge([rows[case] for rows in found]).items()} for case in cases}
    print(json.dumps(table, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
