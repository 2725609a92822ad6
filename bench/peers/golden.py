"""The golden fill (tests/golden/README.md) and the check that the peers reproduce the golden files.

    python bench/peers/golden.py [MODEL...]

Prints the largest error per case and exits with 1 if one is above 1e-9.
"""

import argparse
import json
import sys
from math import prod, sqrt
from pathlib import Path

import numpy as np
import torch
from torch import nn

from zoo import MODELS

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
TOLERANCE = 1e-9
# The outputs of the timed default models differ by class count and branch only.
SMALL_DCR = {"num_classes": 64, "num_scales": 3, "branch": 1}
CASES = {  # golden file: model, options, outputs if they are not the model's usual ones
    "lscnn": ("lscnn", {}, None),
    "dcr": ("dcr", SMALL_DCR, None),
    "dcr_normalized": ("dcr", SMALL_DCR | {"normalized_embeddings": True}, None),
    "dcr_newtrunk_bn": ("dcr", SMALL_DCR | {"backbone": "NewDCRTrunk"}, None),
    "dcr_trunk_only": ("dcr", SMALL_DCR | {"branch": None}, ("trunk_embeddings", "trunk_logits")),
    "arcface_iresnet18": ("arcface_iresnet18", {}, None),
    "arcface_iresnet100": ("arcface_iresnet100", {}, None),
    "mla_iresnet18": ("mla_iresnet18", {}, None),
    "mla_iresnet100": ("mla_iresnet100", {}, None),
    "lesa_resnet50": ("lesa_resnet50", {}, None),
    "lesa_resnet50_detqr": ("lesa_resnet50", {"pe_type": "detection_qr"}, None),
}


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def uniform(name, shape, lo, hi):
    """float32 array of `shape`; element i depends on the name and i alone."""
    z = np.arange(prod(shape), dtype=np.uint64)
    z += np.uint64(fnv1a64(name))
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    u = (z >> np.uint64(40)).astype(np.float64) / 2.0**24
    return (lo + (hi - lo) * u).astype(np.float32).reshape(shape)


def fill_range(key, shape, module):
    name = key.rpartition(".")[2]
    if name == "running_mean":
        return -0.1, 0.1
    if name == "running_var":
        return 0.5, 1.5
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and name == "weight":
        return 0.4, 0.6
    if isinstance(module, nn.PReLU):
        return 0.2, 0.3
    if name == "weight" and len(shape) >= 2:
        a = sqrt(6 / prod(shape[1:]))
        return -a, a
    if name == "bias":
        return -0.1, 0.1
    return -0.5, 0.5


def fill(module):
    """Overwrites every parameter and buffer by the formula, in the tensors' own dtype."""
    for key, tensor in module.state_dict().items():
        owner = module.get_submodule(key.rpartition(".")[0])
        if key.endswith("num_batches_tracked"):
            tensor.zero_()
            continue
        if not tensor.is_floating_point():
            owner.reset_buffers()  # an index table has values of its own
            continue
        values = uniform(key, tuple(tensor.shape), *fill_range(key, tensor.shape, owner))
        tensor.copy_(torch.from_numpy(values))
    return module


def filled(model, **options):
    """The model in inference mode, float32, filled."""
    with torch.device("meta"):
        module = MODELS[model].build(**options)
    return fill(module.to_empty(device="cpu")).eval()


def sample_input(model, batch, name="input"):
    return torch.from_numpy(uniform(name, MODELS[model].input_shape(batch), -1, 1))


def digest_error(expected, tensor):
    """Largest of the samples' error relative to the rms and the l2 norm's relative error."""
    if list(tensor.shape) != expected["shape"]:
        raise ValueError(f"shape {list(tensor.shape)}, expected {expected['shape']}")
    flat = tensor.double().flatten()
    rms = expected["l2"] / sqrt(flat.numel())
    difference = flat[expected["index"]] - torch.tensor(expected["value"], dtype=torch.float64)
    return max(difference.pow(2).mean().sqrt().item() / rms,
               abs(flat.norm().item() - expected["l2"]) / expected["l2"])


def check_names(golden, module):
    ours = [[key, list(t.shape), str(t.dtype).removeprefix("torch.")]
            for key, t in module.state_dict().items()]
    for mine, theirs in zip(ours, golden["state_dict"]):
        if mine != theirs:
            raise ValueError(f"state_dict has {mine} where the file has {theirs}")
    if len(ours) != len(golden["state_dict"]):
        raise ValueError(f"state_dict has {len(ours)} entries, expected "
                         f"{len(golden['state_dict'])}")
    count = sum(p.numel() for p in module.parameters())
    if count != golden["parameters"]:
        raise ValueError(f"{count} parameters, expected {golden['parameters']}")


def check_case(case):
    """Largest error of outputs and taps of the case's inference-mode forward in float64."""
    model, options, outputs = CASES[case]
    golden = json.loads((GOLDEN / f"{case}.json").read_text())
    module = filled(model, **options)
    check_names(golden, module)
    module.double()
    seen = {}
    for tap in golden["eval"]["taps"]:
        module.get_submodule(tap).register_forward_hook(
            lambda _, __, out, tap=tap: seen.setdefault(tap, out))
    (name, shape), = golden["eval"]["inputs"].items()
    with torch.inference_mode():
        x = torch.from_numpy(uniform(name, tuple(shape), -1, 1)).double()
        results = dict(zip(outputs or MODELS[model].outputs, module(x), strict=True))
    if results.keys() != golden["eval"]["outputs"].keys():
        raise ValueError(f"outputs {list(results)}, expected {list(golden['eval']['outputs'])}")
    expected = golden["eval"]["outputs"] | golden["eval"]["taps"]
    return max(digest_error(digest, (results | seen)[key]) for key, digest in expected.items())


def cases_of(model):
    """Golden cases that vouch for a model: its own, else those of its other sizes."""
    family = model.partition("_")[0]
    own = [case for case, (name, _, _) in CASES.items() if name == model]
    return own or [case for case, (name, _, _) in CASES.items()
                   if name.partition("_")[0] == family]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", help="default: every case")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    if unknown := [m for m in args.models if m not in MODELS]:
        parser.error(f"unknown model {unknown[0]}; choose from {', '.join(MODELS)}")
    torch.set_num_threads(args.threads)
    wanted = list(dict.fromkeys(c for m in args.models for c in cases_of(m))) or list(CASES)
    failed = False
    for case in wanted:
        try:
            error = check_case(case)
            good = error <= TOLERANCE
            print(f"{case:20} {'ok' if good else 'WRONG'}  error {error:.1e}", flush=True)
        except ValueError as problem:
            good = False
            print(f"{case:20} WRONG  {problem}", flush=True)
        failed |= not good
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
