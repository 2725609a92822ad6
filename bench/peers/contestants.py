"""The contestants of bench/compare.py: Facet as `facet bench` times it, and peers in processes of their own."""

import contextlib
import functools
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tables import TITLES

PEERS = Path(__file__).resolve().parent
NEEDS = {  # peer: what must be installed; PyTorch makes the ONNX files and checks the results
    "facet": (),
    "facet-unfused": (),
    "onnxruntime": ("torch", "numpy", "onnx", "onnxscript", "onnxruntime"),
    "torch-eager": ("torch", "numpy"),
    "torch-compile": ("torch", "numpy"),
    "torch-graph": ("torch", "numpy"),
}
OURS = {"facet": (), "facet-unfused": ("--no-fusion",)}  # the options of `facet bench`
PRECISIONS = {"onnxruntime": ("f32",)}  # of the peers that do not run in all
ABLE = {  # by device and mode
    ("cpu", "run"): ("facet", "facet-unfused", "onnxruntime", "torch-eager", "torch-compile"),
    ("cpu", "train"): ("facet", "facet-unfused", "torch-eager"),
    ("cuda", "run"): ("facet", "facet-unfused", "torch-eager", "torch-compile", "torch-graph"),
    ("cuda", "train"): ("facet", "facet-unfused", "torch-eager", "torch-compile", "torch-graph"),
}


class PeerError(Exception):
    """A contestant failed on one model; the others go on."""


@dataclass
class Entry:
    """One contestant on one model, batch and precision."""
    peer: str
    model: str
    batch: int
    precision: str
    turns: list = field(default_factory=list)  # {median_ms, min_ms, runs, ...} of each round
    details: dict = field(default_factory=dict)

    def row(self):
        median = statistics.median(turn["median_ms"] for turn in self.turns)
        return {"peer": self.peer, "model": self.model, "batch": self.batch,
                "precision": self.precision, "median_ms": median,
                "min_ms": min(turn["min_ms"] for turn in self.turns),
                "images_per_s": self.batch * 1e3 / median, **self.details, "turns": self.turns}


class Facet:
    """`facet bench`, a process per turn: it leaves process start and compilation out of its times."""

    device = None  # it does not name the one it runs on

    def __init__(self, command, threads, options=()):
        self.command = command
        self.threads = threads
        self.options = options
        self.version = None

    def load(self, entry, onnx):
        pass

    def turn(self, entry, seconds):
        with tempfile.TemporaryDirectory() as folder:
            rows = Path(folder) / "rows.json"
            done = subprocess.run(
                [self.command, "bench", entry.model, "--batch", str(entry.batch), "--precision",
                 entry.precision, "--threads", str(self.threads), "--seconds", str(seconds),
                 "--json", rows, *self.options], capture_output=True, text=True)
            if done.returncode != 0:
                raise PeerError(last_line(done.stderr) or f"exit code {done.returncode}")
            row, = json.loads(rows.read_text())
        best = entry.details
        if row["floor_ms"] is not None:
            # The turn with the highest ceilings saw the machine least disturbed.
            best["floor_ms"] = min(row["floor_ms"], best.get("floor_ms", row["floor_ms"]))
        best |= {key: row[key] for key in (
            "fusion", "compile_s", "peak_bytes", "state_bytes", "parameter_bytes",
            "baseline_rss_bytes", "peak_rss_bytes")}
        if row["device"] == "cuda":
            best["peak_device_bytes"] = sum(
                row[key] for key in ("peak_bytes", "state_bytes", "parameter_bytes"))
        return {key: row[key] for key in ("median_ms", "min_ms")} | {"runs": row.get("runs")}

    def measure_memory(self, entry, onnx):
        pass  # each turn does, in a process of its own

    def close(self):
        pass


class Worker:
    """A peer in a process of its own that waits between its turns; see peers/worker.py."""

    def __init__(self, peer, threads, cache, train=False, device="cpu"):
        self.peer, self.threads, self.cache, self.train = peer, threads, cache, train
        self.arguments = [sys.executable, PEERS / "worker.py", peer, "--threads", str(threads),
                          "--device", device]
        self.environment = os.environ | {
            "OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
        self.process = None
        self.errors = tempfile.TemporaryFile("w+")
        try:
            about = self.ask(op="info")
        except PeerError:
            self.close()
            raise
        self.version, self.device = about["version"], about["device"]

    def ask(self, **command):
        if self.process is None:
            self.process = subprocess.Popen(
                self.arguments, env=self.environment, text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=self.errors)
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            code = self.process.wait()
            self.process = None  # the next model gets a fresh one
            self.errors.seek(0)
            raise PeerError(f"the process ended with {code}: {last_line(self.errors.read())}")
        answer = json.loads(line)
        if "error_message" in answer:
            raise PeerError(last_line(answer["error_message"]))
        return answer

    def load(self, entry, onnx):
        entry.details |= self.ask(op="load", model=entry.model, batch=entry.batch,
                                  precision=entry.precision, onnx=onnx, train=self.train)

    def measure_memory(self, entry, onnx):
        with contextlib.closing(Worker(self.peer, self.threads, self.cache, self.train)) as fresh:
            entry.details |= fresh.ask(op="memory", model=entry.model, batch=entry.batch,
                                       precision=entry.precision, onnx=onnx, train=self.train)

    def turn(self, entry, seconds):
        times = self.ask(op="run", seconds=seconds)["times_ms"]
        return {"median_ms": statistics.median(times), "min_ms": min(times), "runs": len(times)}

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
        self.errors.close()


def last_line(text):
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def say(text):
    print(text, file=sys.stderr, flush=True)


def start_peers(args, stack):
    """The contestants that are installed, and why the others are not: two dicts by name."""
    peers, skipped = {}, {}
    for name in args.peers:
        missing = [m for m in NEEDS[name] if importlib.util.find_spec(m) is None]
        if missing:
            skipped[name] = f"not installed: {', '.join(missing)}"
        elif name in OURS:
            if os.access(args.facet, os.X_OK):
                options = [*OURS[name], "--device", args.device]
                if args.train:
                    options += ["--train", "--recompute", args.recompute]
                peers[name] = Facet(args.facet, args.threads, options)
            else:
                skipped[name] = f"no command at {args.facet}; build it or give --facet"
        else:
            try:
                peers[name] = Worker(name, args.threads, args.cache, args.train, args.device)
            except PeerError as problem:
                skipped[name] = str(problem)
                continue
            stack.callback(peers[name].close)
        if name in skipped:
            say(f"skipped: {TITLES[name]} ({skipped[name]})")
    return peers, skipped


def check_golden(args):
    """Throws PeerError when the PyTorch models do not reproduce the golden files."""
    say("checking PyTorch's models against the golden files")
    done = subprocess.run([sys.executable, PEERS / "golden.py", *args.models, "--threads",
                           str(args.threads)], capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerError(last_line(done.stderr) or
                        "PyTorch's models do not reproduce the golden files: the check ended with "
                        f"{done.returncode} after\n{done.stdout}")


@functools.cache
def export(model, cache):
    """Path of the model's ONNX file."""
    done = subprocess.run([sys.executable, PEERS / "export.py", "--cache", cache, model],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise PeerError(f"no ONNX file: {last_line(done.stderr)}")
    return done.stdout.strip()
