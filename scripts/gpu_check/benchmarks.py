"""Images a second and device memory beside PyTorch (bench/compare.py), and what they should be."""

import json
import tempfile
from pathlib import Path

from runner import FACET, ROOT, ended

LARGE = [("train", "mla_iresnet100", 128), ("train", "lesa_resnet50", 128)]
LARGE += [("run", model, batch) for model in ("mla_iresnet100", "lesa_resnet50") for batch in (128, 1)]
LARGE += [("train", "lscnn", 128), ("train", "dcr", 128)]
LARGE += [("run", model, batch) for model in ("lscnn", "dcr") for batch in (128, 1)]
QUICK = [("run", "arcface_iresnet18", 1), ("train", "arcface_iresnet18", 2)]
MOST_MEMORY = 0.75  # of the best of PyTorch's
MOST_FLOORS = 2.2  # times floor_ms, for a training step
KEPT = ("median_ms", "min_ms", "runs", "images_per_s", "floor_ms", "peak_device_bytes", "prepare_s",
        "compile_s", "cosine", "loss")


def least_ratio(mode, model, batch):
    """Of images/s over the best of PyTorch's."""
    if mode == "run":
        return 2.0 if batch == 1 else 1.15
    return 1.5 if model == "lesa_resnet50" else 1.15


def workloads(check):
    chosen = QUICK if check.args.quick else LARGE
    return [one for one in chosen if not check.args.models or one[1] in check.args.models]


def named(workload):
    return "{} {} batch {}".format(*workload)


def measure(check, workload, peer):
    """(its figures or None, what went wrong) of one contestant, in a process that nobody waits for."""
    mode, model, batch = workload
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        code, text = check.call(
            [check.args.python, ROOT / "bench/compare.py", "--device", check.args.device, "--models", model,
             "--batches", batch, "--precisions", "f32" if check.args.device == "cpu" else "bf16",
             "--peers", peer, "--rounds", 1, "--seconds", 0.3 if check.args.quick else 1.5,
             "--facet", FACET, "--trust-peers", "--json", file, *["--train"] * (mode == "train")])
        found = json.loads(file.read_text()) if file.exists() else {}
    for row in found.get("rows", []):
        return {key: row[key] for key in KEPT if row.get(key) is not None}, None
    for failure in found.get("failures", []):
        return None, failure["error"]
    return None, ended(code, text)


def judge(workload, facet, peers, device):
    """(figures beside their targets, the names of those under them); a CPU has no targets."""
    figures, under = {}, []

    def hold(name, value, bound, good):
        figures[name] = value
        if device == "cuda":
            figures[f"{name}_target"] = bound
            under.extend([name] * (not good))

    if peers:
        best = figures["best_peer"] = min(peers, key=lambda name: peers[name]["median_ms"])
        ratio, least = peers[best]["median_ms"] / facet["median_ms"], least_ratio(*workload)
        hold("ratio", ratio, least, ratio >= least)
        if facet.get("peak_device_bytes") and peers[best].get("peak_device_bytes"):
            memory = facet["peak_device_bytes"] / peers[best]["peak_device_bytes"]
            hold("memory", memory, MOST_MEMORY, memory <= MOST_MEMORY)
    if facet.get("floor_ms") and workload[0] == "train":
        floors = facet["median_ms"] / facet["floor_ms"]
        hold("floors", floors, MOST_FLOORS, floors <= MOST_FLOORS)
    return figures, under


def summary(figures, problems):
    names = ("ratio", "memory", "floors")
    known = ", ".join(f"{name} {figures[name]:.2f}" for name in names if name in figures)
    return "; ".join([known] * bool(known) + problems)


def benchmark(check, workload):
    """Facet, then PyTorch in a CUDA graph, or eager where there are none or the capture fails. Where Facet
    fails, PyTorch's time is better spent on the other rows."""
    problems, peers = [], {}
    facet, problem = measure(check, workload, "facet")
    if problem:
        return "failed", {"workload": list(workload), "facet": None, "detail": problem}
    for peer in ("torch-graph", "torch-eager") if check.args.device == "cuda" else ("torch-eager",):
        figures, problem = measure(check, workload, peer)
        if figures:
            peers[peer] = figures
            break
        problems.append(f"{peer}: {problem}")
    figures, under = judge(workload, facet, peers, check.args.device)
    result = "failed" if not peers else "under" if under else "ok"
    return result, {"workload": list(workload), "facet": facet, "peers": peers, "problems": problems,
                    "under": under, "detail": summary(figures, problems), **figures}


def bench_stage(check):
    for workload in workloads(check):
        check.attempt(named(workload), lambda: benchmark(check, workload))


def benchmark_compiled(check, workload):
    """Compiled PyTorch; the row of the bench stage, where there is one, is judged anew."""
    figures, problem = measure(check, workload, "torch-compile")
    if problem:
        return "failed", {"detail": problem}
    for row in check.results["rows"]:
        if row["stage"] == "bench" and row.get("workload") == list(workload) and row["facet"]:
            row["peers"]["torch-compile"] = figures
            anew, row["under"] = judge(workload, row["facet"], row["peers"], check.args.device)
            row.update(anew, result="under" if row["under"] else "ok")
    return "ok", {"workload": list(workload), "peers": {"torch-compile": figures},
                  "detail": f"{figures['images_per_s']:.4g} images/s"}


def compiled_stage(check):
    if check.args.device == "cuda":
        for workload in workloads(check):
            check.attempt(named(workload), lambda: benchmark_compiled(check, workload))
