"""Checks that weights survive the way from PyTorch to Facet and back.

    python bench/peers/weights.py --facet build/bin/facet [MODEL...]

For each model: PyTorch saves the golden fill as a checkpoint (.pth, names wrapped by module.), `facet
import` makes safetensors of it, `facet run` takes either; outputs and taps must be the golden ones. Then
PyTorch loads the safetensors with strict=True and must hold every tensor to the bit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from golden import CASES, GOLDEN, digest_error, filled, uniform

TOLERANCE = 1e-4  # float32 against the float64 of the golden files


def run_facet(facet, case, weights, folder):
    model, options, _ = CASES[case]
    golden = json.loads((GOLDEN / f"{case}.json").read_text())["eval"]
    (name, shape), = golden["inputs"].items()
    save_file({name: torch.from_numpy(uniform(name, tuple(shape), -1, 1))}, folder / "x.safetensors")
    command = [facet, "run", model, "--weights", weights, "--input", folder / "x.safetensors",
               "--output", folder / "y.safetensors"]
    for key, value in options.items():
        # 1 equals True, but is not true.
        text = "trunk" if value is None else "true" if value is True else str(value)
        command += ["--set", f"{key}={text}"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    outputs = load_file(folder / "y.safetensors")
    return max(digest_error(digest, outputs[key]) for key, digest in golden["outputs"].items())


def check(facet, case, folder):
    model, options, _ = CASES[case]
    module = filled(model, **options)
    state = module.state_dict()
    torch.save({"epoch": 1, "state_dict": {f"module.{key}": value for key, value in state.items()}},
               folder / "w.pth")
    # What facet writes keeps the file's names; those of a plain state_dict load strictly.
    torch.save(state, folder / "plain.pth")
    subprocess.run([facet, "import", folder / "plain.pth", "-o", folder / "w.safetensors"],
                   check=True, stdout=subprocess.DEVNULL)
    error = max(run_facet(facet, case, folder / name, folder) for name in ("w.pth", "w.safetensors"))
    fresh = filled(model, **options)
    for tensor in fresh.state_dict().values():
        tensor.zero_()
    fresh.load_state_dict(load_file(folder / "w.safetensors"), strict=True)
    for key, tensor in fresh.state_dict().items():
        if not torch.equal(tensor, state[key]):
            raise ValueError(f"{key} differs")
    return error


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", help="golden cases (default: all)")
    parser.add_argument("--facet", required=True, help="the command")
    args = parser.parse_args()
    if unknown := [c for c in args.cases if c not in CASES]:
        parser.error(f"unknown case {unknown[0]}; choose from {', '.join(CASES)}")
    failed = False
    for case in args.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                error = check(args.facet, case, Path(folder))
                good = error <= TOLERANCE
                print(f"{case:20} {'ok' if good else 'WRONG'}  error {error:.1e}", flush=True)
            except (ValueError, RuntimeError, subprocess.CalledProcessError) as problem:
                good = False
                print(f"{case:20} WRONG  {problem}", flush=True)
        failed |= not good
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
