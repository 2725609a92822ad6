#!/usr/bin/env python3
"""Exports networks of the zoo to ONNX and lets ONNX's checker and ONNX Runtime judge the files.

    python scripts/check_onnx.py [--facet build/bin/facet] [--opsets 13,17,22] [--models M,...] [--all]
                                 [--batch 2] [--limit 1e-4] [--json FILE]

For each case (a model with options) and opset: `facet export`, the official checker with strict shape
inference on the written file, then one batch through ONNX Runtime and through `facet run` with the same
weights. The difference is the largest |a - b| over all outputs, by the largest |a| of that output. Without
--all the deepest networks (iresnet200) are left out. A network of the zoo that is in no case is an error.

Prints a Markdown table. Needs numpy, onnx and onnxruntime; exit code 3, and a line that says so, when they
are not installed. Exit code 1 if a case fails.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Options beside the defaults, where they change what is exported.
VARIANTS = {
    "dcr": ["", "branch=1", "branch=trunk normalized_embeddings=true", "backbone=NewDCRTrunk use_bn=true branch=1"],
    "lesa_resnet50": ["", "pe_type=detection_qr", "lesa=false"],
    "mla_iresnet18": ["", "clamp=false", "shared_bn=false"],
    "lesa_small": ["", "pe_type=detection_qr"],
}
DEEP = ("arcface_iresnet200", "mla_iresnet200")


def read_safetensors(path, numpy):
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        dtype = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}[entry["dtype"]]
        tensors[name] = numpy.frombuffer(data[start:end], dtype).reshape(entry["shape"])
    return tensors


def facet(arguments, command):
    done = subprocess.run([str(arguments.facet), *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def cases(arguments):
    listing = json.loads(facet(arguments, ["models", "--json"]))
    listing = listing["models"] if isinstance(listing, dict) else listing
    wanted = arguments.models.split(",") if arguments.models else None
    for model in listing:
        name = model["name"]
        if wanted is not None and name not in wanted:
            continue
        if wanted is None and name in DEEP and not arguments.all:
            continue
        known = {option["name"]: option for option in model["options"]}
        for variant in VARIANTS.get(name, [""]):
            settings = variant.split()
            for setting in settings:
                if setting.split("=")[0] not in known:
                    raise RuntimeError(f"{name} has no option {setting}")
            yield name, settings, model["input"]


def check(arguments, name, settings, folder, libraries):
    """Largest relative difference per opset."""
    numpy, onnx, onnxruntime = libraries
    options = [part for setting in settings for part in ("--set", setting)]
    model = folder / "m.onnx"
    found = {}
    expected = None
    for opset in arguments.opsets:
        facet(arguments, ["export", name, *options, "--weights", "random:1", "--opset", str(opset), "--output", str(model)])
        onnx.checker.check_model(str(model), full_check=True)
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        graph_input = session.get_inputs()[0]
        if expected is None:
            shape = [extent if isinstance(extent, int) else arguments.batch for extent in graph_input.shape]
            x = numpy.random.default_rng(1).uniform(-1, 1, shape).astype(numpy.float32)
            numpy.save(folder / "x.npy", x)
            facet(arguments, ["run", name, *options, "--weights", "random:1", "--input", str(folder / "x.npy"), "--output", str(folder / "y.safetensors")])
            expected = read_safetensors(folder / "y.safetensors", numpy)
        names = [output.name for output in session.get_outputs()]
        if set(names) != set(expected):
            raise RuntimeError(f"outputs {names}, expected {sorted(expected)}")
        worst = 0.0
        for output, values in zip(names, session.run(None, {graph_input.name: x})):
            if values.shape != expected[output].shape:
                raise RuntimeError(f"{output} is {values.shape}, expected {expected[output].shape}")
            scale = max(float(numpy.abs(expected[output]).max()), 1e-30)
            worst = max(worst, float(numpy.abs(values.astype("f8") - expected[output]).max()) / scale)
        if not worst <= arguments.limit:
            raise RuntimeError(f"opset {opset}: outputs differ by {worst:.2e} of their size")
        found[opset] = worst
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facet", type=Path, default=ROOT / "build" / "bin" / "facet")
    parser.add_argument("--opsets", type=lambda text: [int(part) for part in text.split(",")], default=[13, 17, 22])
    parser.add_argument("--models")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1e-4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        import numpy
        import onnx
        import onnxruntime
    except ImportError as missing:
        print(f"SKIPPED: nothing is checked, {missing}; install numpy, onnx and onnxruntime", file=sys.stderr)
        return 3
    onnxruntime.set_default_logger_severity(3)
    print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}, batch {arguments.batch}\n")
    print("| model | " + " | ".join(f"opset {opset}" for opset in arguments.opsets) + " |")
    print("|---|" + "--:|" * len(arguments.opsets))
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for name, settings, _ in cases(arguments):
            title = " ".join([name, *settings])
            try:
                found = check(arguments, name, settings, Path(folder), (numpy, onnx, onnxruntime))
                print(f"| {title} | " + " | ".join(f"{found[opset]:.1e}" for opset in arguments.opsets) + " |", flush=True)
                rows.append({"model": name, "settings": settings, "difference": found})
            except Exception as problem:  # the other cases go on
                failed += 1
                rows.append({"model": name, "settings": settings, "error": str(problem)})
                print(f"| {title} | FAILED: {' '.join(str(problem).split())} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"\n{len(rows)} networks, {failed} failed")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
