#!/usr/bin/env python3
"""Times Facet side by side with ONNX Runtime and PyTorch on the same networks, in one run.

    python bench/compare.py [--models M,...] [--batches 1,16] [--precisions f32,bf16] [--memory]
                            [--train] [--device cuda] [--json FILE]

For each model, batch and precision all contestants are made ready first, then take turns for some
rounds, so that whatever else the machine does disturbs all alike. Before anything is timed, the
PyTorch models must reproduce the golden files in float64, and each contestant PyTorch's float32
result. The table on stdout is Markdown; a ratio above 1 says that Facet is that much faster. A peer
that is not installed is skipped and named. One contestant is Facet itself without its fusing passes.

--memory adds a table of the peak resident memory of a process that does one work from start to end
and nothing else. For the peers: libraries imported (the baseline), then the model made with random
weights and converted to the precision (PyTorch) or read from its file (ONNX Runtime), an input made,
three runs; for compiled PyTorch the compiler counts as a library and its cache is filled. For Facet:
the arguments read (the baseline), then the network built with random weights and compiled, two runs,
all before `facet bench` allocates what finds the machine's ceilings. The baseline is VmRSS, the peak
VmHWM of /proc/self/status, for the peers reset at the baseline; processes that a contestant starts
do not count. The baseline of ONNX Runtime has PyTorch in it, which makes the inputs: compare what is
above the baselines, as the ratios do. Facet's arena (activations) and weights (as its kernels read them) stand beside its peak.

--train times whole training steps (forward, loss, backward, SGD with momentum and weight decay; batch
16 unless asked otherwise) of Facet and eager PyTorch in channels-last, bf16 by autocast; peers/training.py
says which loss. The golden files are checked before, in inference mode; a step must give a finite loss.
With --recompute budget:0.8, say, Facet's step computes again what makes its arena that part of what it was.

--device cuda times an NVIDIA GPU. Facet gets the option, too; the peers are eager PyTorch, compiled
PyTorch (max-autotune, which has CUDA graphs) and eager PyTorch captured in one CUDA graph, all in
channels-last, f32 without TF32, whole training steps of each with --train. A call is timed until the device
is idle. A second table has the device memory: of the peers the most that tensors took at once while
they ran (without CUDA's own), of Facet its arena, its state and its weights as the kernels read them.

Needs nothing but Python; the peers need bench/peers/requirements.txt. Exit code: 1 if a contestant
failed, 2 if the call was wrong.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from peers.contestants import (ABLE, NEEDS, OURS, PRECISIONS, Entry, PeerError, check_golden, export, say,
                               start_peers)
from tables import TITLES, device_memory_table, memory_table, table, training_table

ROOT = Path(__file__).resolve().parents[1]


def busy_cores(seconds=0.5):
    """Cores that something else keeps busy while all contestants wait; None where unknown."""
    def busy():
        numbers = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(numbers) - numbers[3] - numbers[4]  # all but idle and waiting for disks

    try:
        before, begin = busy(), time.monotonic()
        time.sleep(seconds)
        ticks, elapsed = busy() - before, time.monotonic() - begin
        return ticks / os.sysconf("SC_CLK_TCK") / elapsed
    except OSError:
        return None


def cpu_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def measure(contest, peers, args, failures):
    """Lets the entries of one model, batch and precision take turns. Returns their rows."""
    label = "{0.model} batch {0.batch} {0.precision}".format(contest[0])
    busy = []

    def fail(entry, problem):
        say(f"{label}: {TITLES[entry.peer]} failed: {problem}")
        failures.append({"peer": entry.peer, "model": entry.model, "batch": entry.batch,
                         "precision": entry.precision, "error": str(problem)})
        ready.remove(entry)

    ready = list(contest)
    for entry in contest:
        say(f"{label}: preparing {TITLES[entry.peer]}")
        try:
            onnx = export(entry.model, args.cache) if entry.peer == "onnxruntime" else None
            peers[entry.peer].load(entry, onnx)
            if args.memory:
                peers[entry.peer].measure_memory(entry, onnx)
        except PeerError as problem:
            fail(entry, problem)
    for number in range(args.rounds):
        say(f"{label}: round {number + 1} of {args.rounds}")
        busy.append(busy_cores())
        # Another one goes first each time: the first follows the longest pause.
        for entry in ready[number % max(1, len(ready)):] + ready[:number % max(1, len(ready))]:
            try:
                entry.turns.append(peers[entry.peer].turn(entry, args.seconds))
            except PeerError as problem:
                fail(entry, problem)
    rows = [entry.row() for entry in ready if entry.turns]
    for row in rows:
        row["busy_cores"] = busy
    return rows


def write(path, results):
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(partial, path)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog=__doc__.split("\n\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)

    def names(text):
        return list(dict.fromkeys(text.split(",")))

    parser.add_argument("--models", type=names, metavar="M,...",
                        help="default: one of each family, smaller ones to train")
    parser.add_argument("--batches", type=lambda text: [int(n) for n in names(text)],
                        metavar="N,...", help="default: 1,16; 16 to train")
    parser.add_argument("--precisions", type=names, default=["f32", "bf16"], metavar="P,...")
    parser.add_argument("--peers", type=names, metavar="P,...",
                        help=f"some of {', '.join(NEEDS)}; default: all that can")
    parser.add_argument("--train", action="store_true", help="time whole training steps")
    parser.add_argument("--recompute", default="none", metavar="POLICY",
                        help="with --train: what Facet's step computes again in place of keeping it, as for "
                             "`facet bench`, e.g. budget:0.8 (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu",
                        help="what to compute on (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=1, help="length of a turn")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="of every contestant; default: all cores")
    parser.add_argument("--facet", default=ROOT / "build/bin/facet", help="the command to time")
    parser.add_argument("--cache", type=Path, default=ROOT / "build/bench-cache",
                        help="folder for ONNX files and compiled kernels")
    parser.add_argument("--memory", action="store_true",
                        help="measure the peak memory of each contestant, too")
    parser.add_argument("--trust-peers", action="store_true",
                        help="do not hold PyTorch's models against the golden files first")
    parser.add_argument("--json", type=Path, help="write all numbers here, too")
    args = parser.parse_args(arguments)
    mode = "train" if args.train else "run"
    able = ABLE[args.device, mode]
    args.peers = args.peers or list(able)
    args.batches = args.batches or ([16] if args.train else [1, 16])
    args.models = args.models or ["lscnn", "dcr", "lesa_resnet50", *(
        ["arcface_iresnet50"] if args.train else ["arcface_iresnet100", "mla_iresnet100"])]
    for name in args.peers:
        if name in NEEDS and name not in able:
            parser.error(f"{name} does not {mode} on {args.device}; choose from {', '.join(able)}")
        if name not in NEEDS:
            parser.error(f"unknown peer {name}; choose from {', '.join(NEEDS)}")
    for name in args.precisions:
        if name not in ("f32", "bf16"):
            parser.error(f"unknown precision {name}; choose from f32, bf16")
    if min(args.rounds, args.threads, *args.batches) < 1 or args.seconds <= 0:
        parser.error("--rounds, --threads, --batches and --seconds take numbers above 0")
    if args.recompute != "none" and not args.train:
        parser.error("--recompute is of training steps; give --train, too")
    if args.memory and args.device != "cpu":
        parser.error("--memory is of processes on the CPU; a GPU's memory is in a table of its own")
    if args.json and not args.json.parent.is_dir():
        parser.error(f"--json: there is no folder {args.json.parent}")
    return args


def main():
    args = parse(sys.argv[1:])
    args.cache = args.cache.resolve()
    rows, failures = [], []
    with contextlib.ExitStack() as stack:
        peers, skipped = start_peers(args, stack)
        if not peers:
            say("compare: nothing is left to time: " +
                "; ".join(f"{TITLES[name]}: {why}" for name, why in skipped.items()))
            return 1
        if set(peers) - set(OURS) and not args.trust_peers:
            try:
                check_golden(args)
            except PeerError as problem:
                say(f"compare: {problem}")
                return 1
        names = [peer.device for peer in peers.values() if peer.device]
        machine = {"cpu": cpu_name(), "threads": args.threads, "device": (names or [args.device])[0],
                   "versions": {name: peer.version for name, peer in peers.items()}}
        for model in args.models:
            for batch in args.batches:
                for precision in args.precisions:
                    contest = [Entry(name, model, batch, precision) for name in peers
                               if precision in PRECISIONS.get(name, (precision,))]
                    if contest:
                        rows += measure(contest, peers, args, failures)
                    if args.json:  # after each, so that a run cut short leaves what it has
                        write(args.json, {
                            "mode": "train" if args.train else "run", "machine": machine,
                            "rounds": args.rounds, "seconds": args.seconds,
                            "rows": rows, "skipped": skipped, "failures": failures})
    where = f"{machine['cpu']}, {args.threads} threads"
    if args.device != "cpu":
        where = f"{machine['device']}, {where}"
    print(f"{where}; median ms of {args.rounds} turns of "
          f"{args.seconds:g} s (fastest run); ratio: the peer's median over Facet's\n")
    print((training_table if args.train else table)(rows, peers))
    if args.device != "cpu":
        print("\nDevice memory, MB; ratio: the peer's peak over Facet's\n")
        print(device_memory_table(rows, peers))
    if args.memory:
        print("\nPeak resident memory of the process, MB; ratio: the peer's above its baseline over "
              "Facet's\n")
        print(memory_table(rows, peers))
    busy = [b for row in rows for b in row["busy_cores"] if b is not None]
    if busy and max(busy) > 0.2:
        print(f"\nThe machine was not quiet: other processes kept up to {max(busy):.1f} cores busy.")
    for name, why in skipped.items():
        print(f"\nSkipped: {TITLES[name]} ({why}).")
    for failure in failures:
        print(f"\nFailed: {TITLES[failure['peer']]} on {failure['model']} batch "
              f"{failure['batch']} {failure['precision']}: {failure['error']}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
