"""Times one peer in a process of its own: commands as JSON lines on stdin, answers on stdout.

    {"op": "load", "model": M, "batch": N, "precision": "f32"|"bf16", "onnx": PATH, "train": false|true}
        -> {"prepare_s", "error", "cosine"}: both against PyTorch's plain float32 forward
        -> {"prepare_s", "loss"} with "train": what runs then is a whole training step
        On a GPU {"peak_device_bytes"}, too: of the tensors, when it runs
    {"op": "run", "seconds": S} -> {"times_ms": [...]}, of a GPU until it is idle again
    {"op": "memory", as for load} -> {"baseline_rss_bytes", "peak_rss_bytes"}: its resident memory
        before the model is made, and the highest until it ran; for the first command of a process
    {"op": "info"}              -> {"version"}, of a GPU {"device"}, its name, too
An {"error_message"} answers a command that failed. The process ends when stdin does.

A process of its own, because the thread pools of the frameworks spin for a while after each call and
would take the cores from whoever is timed next.
"""

import argparse
import contextlib
import copy
import gc
import json
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from golden import filled, sample_input
from places import Cpu, place
from training import compile_mode, training_step
from zoo import MODELS

TOLERANCE = 1e-3  # relative l2 error of a float32 peer
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
WAYS = {"torch-eager": "eager", "torch-compile": "compile", "torch-graph": "graph"}
COSINE = 0.99  # of a bf16 peer's embeddings, each image; a mistake shows far below this


class TorchRunner:
    """PyTorch in channels-last: eager, compiled with frozen weights, or captured in a CUDA graph."""

    def __init__(self, way, where):
        if way not in where.ways:
            raise ValueError(f"{way} does not run on {where.device.type}; {', '.join(where.ways)} do")
        self.way, self.place = way, where
        self.version = torch.__version__
        self.source = None  # (model, filled float32 module)
        if way == "compile":
            # Frozen weights let the compiler fold BN and pack them; that needs no_grad.
            from torch._inductor import config
            config.freezing = True

    def module(self, model):
        if self.source is None or self.source[0] != model:
            self.source = None
            self.source = (model, filled(model))
        return self.source[1]

    def load(self, model, batch, precision, **_):
        reference = self.module(model)
        x = sample_input(model, batch)
        expected = self.expected(reference, x)
        begin = time.perf_counter()
        call = self.make(copy.deepcopy(reference), x, precision)
        results = [y.float().cpu().numpy() for y in call()]
        prepare_s = time.perf_counter() - begin
        return call, results, expected, {"prepare_s": prepare_s} | self.peak(call)

    def expected(self, reference, x):
        """The outputs of the plain module, float32, computed where the peer runs."""
        device = self.place.device
        if device.type != "cpu":
            reference = copy.deepcopy(reference).to(device)
        with torch.inference_mode():
            return [y.cpu().numpy() for y in reference(x.to(device))]

    def make(self, module, x, precision):
        """What runs the module, which it converts, on `x`."""
        how = {"device": self.place.device, "dtype": DTYPES[precision],
               "memory_format": torch.channels_last}
        module, x = module.to(**how), x.to(**how)
        if self.way == "compile":
            torch._dynamo.reset()
            module = torch.compile(module, dynamic=False, mode=compile_mode(self.place.device))
        guard = torch.inference_mode if self.way == "eager" else torch.no_grad

        def call():
            with guard():
                return module(x)

        return self.place.captured(call) if self.way == "graph" else call

    def peak(self, call):
        """What `call`, which ran once, takes of the device's memory. Of a graph the capture tells."""
        if self.way != "graph":
            self.place.forget_peak()
        return self.place.peak(call)

    def import_all(self):
        """The compiler is imported when it is first used."""
        if self.way == "compile":
            self.make(torch.nn.Conv2d(1, 1, 1).eval(), torch.zeros(1, 1, 1, 1), "f32")()

    def start(self, model, batch, precision, train=False, **_):
        """Nothing but what a user would do: no reference, and weights that take no extra memory."""
        if train:
            return self.training_step(model, MODELS[model].build(), plain_input(model, batch), precision)
        return self.make(MODELS[model].build().eval(), plain_input(model, batch), precision)

    def training_step(self, model, module, x, precision):
        return training_step(model, module, x, precision, self.way, self.place)

    def load_training(self, model, batch, precision):
        self.source = None
        begin = time.perf_counter()
        call = self.training_step(model, filled(model), sample_input(model, batch), precision)
        loss = call().item()
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss}")
        prepare_s = time.perf_counter() - begin
        return call, {"loss": loss, "prepare_s": prepare_s} | self.peak(call)


class OnnxRunner:
    """ONNX Runtime's CPU provider, float32, every graph optimisation."""

    place = Cpu()

    def __init__(self, threads):
        import onnxruntime
        self.ort = onnxruntime
        self.threads = threads
        self.version = onnxruntime.__version__

    def load(self, model, batch, precision, onnx, **_):
        if precision != "f32":
            raise ValueError(f"runs in f32 here, not {precision}")
        x = sample_input(model, batch)
        with torch.inference_mode():
            expected = [y.numpy() for y in filled(model)(x)]
        begin = time.perf_counter()
        call = self.make(model, x, onnx)
        results = call()
        return call, results, expected, {"prepare_s": time.perf_counter() - begin}

    def make(self, model, x, onnx):
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        session = self.ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        names, feeds = list(MODELS[model].outputs), {"input": x.numpy()}

        def call():
            return session.run(names, feeds)

        return call

    def import_all(self):
        pass

    def start(self, model, batch, onnx, **_):
        return self.make(model, plain_input(model, batch), onnx)


def plain_input(model, batch):
    return torch.rand(MODELS[model].input_shape(batch)) * 2 - 1


def judge(model, precision, results, expected):
    """Throws when a peer computes something else: then its time means nothing."""
    names = MODELS[model].outputs
    error = max(float(np.linalg.norm(a - b) / np.linalg.norm(b))
                for a, b in zip(results, expected, strict=True))
    i = names.index(MODELS[model].embedding)
    a, b = results[i].astype(np.float64), expected[i].astype(np.float64)
    cosine = float(np.min((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)))
    if precision == "f32" and not error <= TOLERANCE or not cosine >= COSINE:
        raise ValueError(f"wrong result: relative error {error:.1e}, cosine {cosine:.4f}")
    return {"error": error, "cosine": cosine}


def measure(call, seconds, wait):
    """Times of single calls until `wait` returns, ms: `seconds` long, three at least, after one that is
    not counted."""
    call()
    wait()
    times = []
    begin = now = time.perf_counter()
    while len(times) < 3 or now - begin < seconds:
        call()
        wait()
        then, now = now, time.perf_counter()
        times.append((now - then) * 1e3)
    return times


def resident(field):
    """Bytes of physical memory the process holds: "VmRSS" now, "VmHWM" the highest so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024  # in kB there
    raise ValueError(f"/proc/self/status has no {field}")


def measure_memory(runner, command):
    runner.import_all()
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the imports' own peak does not count
    baseline = resident("VmRSS")
    call = runner.start(**command)
    for _ in range(3):
        call()
    return {"baseline_rss_bytes": baseline, "peak_rss_bytes": resident("VmHWM")}


def serve(runner, answers):
    call = None
    for line in sys.stdin:
        command = json.loads(line)
        op = command.pop("op")
        try:
            if op == "load":
                call = None
                gc.collect()
                if command.pop("train", False):
                    command.pop("onnx", None)
                    call, answer = runner.load_training(**command)
                else:
                    call, results, expected, details = runner.load(**command)
                    answer = judge(command["model"], command["precision"], results, expected) | details
            elif op == "run":
                answer = {"times_ms": measure(call, command["seconds"], runner.place.wait)}
            elif op == "memory":
                answer = measure_memory(runner, command)
            elif op == "info":
                answer = {"version": runner.version, "device": runner.place.name}
            else:
                raise ValueError(f"unknown command {op}")
        except Exception as problem:  # the answer carries it: the parent names the peer
            answer = {"error_message": f"{type(problem).__name__}: {problem}"}
        print(json.dumps(answer), file=answers, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("peer", choices=["onnxruntime", *WAYS])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    # Whatever else is printed to stdout, by compilers too, must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(args.threads)
    if args.peer == "onnxruntime":
        runner = OnnxRunner(args.threads)
    else:
        runner = TorchRunner(WAYS[args.peer], place(args.device))
    serve(runner, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
