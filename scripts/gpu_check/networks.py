"""The machine, and networks that run on its device: against the CPU's results, and under a memory checker."""

import ctypes
import json
import math
import os
import random
import re
import shutil
import struct
import tempfile
from array import array
from pathlib import Path

from golden_tests import run_tests
from runner import BUNDLED, FACET, ROOT, ended

FIRST = {"forward": "*CudaExecutable.RunsANetworkOfAnyBatch*",
         "gradients": "*CudaExecutable.ComputesGradients*",
         "training": "*UpdateGroups.StepLikeTheOracle*:F16Training.GoesTheWayOfF32"}


def write_input(path, shape):
    """A safetensors file of one f32 tensor, `input`, in [-1, 1)."""
    source = random.Random(7)
    values = array("f", (source.uniform(-1, 1) for _ in range(math.prod(shape))))
    header = json.dumps({"input": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * len(values)]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + values.tobytes())


def read_tensors(path):
    """{name: values} of the f32 and f64 tensors of a safetensors file."""
    data = path.read_bytes()
    size, = struct.unpack_from("<Q", data)
    codes = {"F32": "f", "F64": "d"}
    return {name: array(codes[tensor["dtype"]], data[8 + size + tensor["data_offsets"][0]:
                                                     8 + size + tensor["data_offsets"][1]])
            for name, tensor in json.loads(data[8:8 + size]).items() if name != "__metadata__"}


def difference(a, b):
    """Relative l2 error and cosine of two lists of numbers."""
    ab, aa, bb = (math.fsum(x * y for x, y in zip(p, q)) for p, q in ((a, b), (a, a), (b, b)))
    error = math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b)))
    return error / math.sqrt(bb or 1), ab / math.sqrt(aa * bb or 1)


def describe_machine(check):
    machine = check.results["machine"]
    machine["glibc"] = os.confstr("CS_GNU_LIBC_VERSION")
    machine["cores"] = len(os.sched_getaffinity(0))
    if BUNDLED:
        machine["bundle"] = (ROOT / "README").read_text().splitlines()[0]
        _, text = check.call([ROOT / "run", "--libraries"])
        machine["libraries"] = dict(line.split(" ", 1) for line in text.splitlines())
        try:
            version = ctypes.CDLL(machine["libraries"]["libcudnn.so.9"]).cudnnGetVersion()
            machine["cudnn"] = f"{version // 10000}.{version // 100 % 100}.{version % 100}"
        except (OSError, KeyError):
            machine["cudnn"] = None
    if check.args.device != "cuda":
        return "ok", {}
    if not shutil.which("nvidia-smi"):
        return "failed", {"detail": "nvidia-smi is not installed"}
    code, text = check.call(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap",
                             "--format=csv,noheader"])
    if code != 0:
        return "failed", {"detail": ended(code, text)}
    machine["gpu"] = text.strip().splitlines()
    lost = [name for name, path in machine.get("libraries", {}).items() if path == "not found"]
    found = ", ".join([*machine["gpu"], f"cuDNN {machine.get('cudnn') or 'unknown'}"])
    return ("failed" if lost else "ok"), {
        "detail": found + (f"; not found: {', '.join(lost)}" if lost else "")}


def run_one(check, model, size, precision, oracle, folder):
    """One image on the device and on another: f32 within 1e-4, bf16 within 0.999 of the cosine."""
    write_input(folder / "x.safetensors", [1, 3, size, size])
    outputs = {}
    for device, kind in ((oracle, "f32"), (check.args.device, precision)):
        code, text = check.call(
            [FACET, "run", model, "--weights", "random:1", "--input", folder / "x.safetensors", "--output",
             folder / "y.safetensors", "--device", device, "--precision", kind])
        if code != 0:
            return "failed", {"detail": f"on {device}: {ended(code, text)}"}
        outputs[device] = read_tensors(folder / "y.safetensors")
    errors, cosines = zip(*(difference(outputs[check.args.device][name], values)
                            for name, values in outputs[oracle].items()))
    good = max(errors) <= 1e-4 if precision == "f32" else min(cosines) >= 0.999
    return ("ok" if good else "failed"), {
        "error": max(errors), "cosine": min(cosines),
        "detail": f"error {max(errors):.1e}, cosine {min(cosines):.6f} beside {oracle}"}


def device_stage(check):
    check.attempt("machine", lambda: describe_machine(check))
    if check.args.device == "cuda":
        # Small ones first: if these fail, nothing that follows has to be looked at before them.
        for what, tests in FIRST.items():
            check.attempt(f"small networks {what}", lambda: run_tests(check, "cuda_run_tests", tests))
    oracle = "cpu" if check.args.device == "cuda" else "reference"
    models = [("lscnn_small", 28)] if check.args.quick else [("mla_iresnet18", 112), ("lscnn", 128)]
    with tempfile.TemporaryDirectory() as folder:
        for model, size in models:
            for precision in ("f32", "bf16"):
                check.attempt(f"run {model} {precision}",
                              lambda: run_one(check, model, size, precision, oracle, Path(folder)))


def memcheck(check, folder):
    write_input(folder / "x.safetensors", [1, 3, 28, 28])
    code, text = check.call(
        ["compute-sanitizer", "--tool", "memcheck", "--target-processes", "all", "--error-exitcode", "86",
         FACET, "run", "lscnn_small", "--weights", "random:1", "--input", folder / "x.safetensors",
         "--output", folder / "y.safetensors", "--device", "cuda", "--precision", "bf16"])
    summary = re.findall(r"ERROR SUMMARY: (.*)", text)
    if code == 0 and summary:
        return "ok", {"detail": summary[-1]}
    return "failed", {"detail": (summary or [ended(code, text)])[-1], "output": text[:4000]}


def memcheck_stage(check):
    if check.args.device != "cuda":
        return
    if not shutil.which("compute-sanitizer"):
        check.row("lscnn_small", "not run", detail="compute-sanitizer is not on the PATH")
        return
    with tempfile.TemporaryDirectory() as folder:
        check.attempt("lscnn_small", lambda: memcheck(check, Path(folder)))
