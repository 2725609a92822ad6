"""Shows in a few minutes what a GPU makes of Facet: right numbers first, then figures beside PyTorch.

    ./gpu_check.sh [--seconds 450] [--json gpu_check.json] [--stages device,goldens,...]

The stages, by what matters most:
  device     the GPU, its driver, the libraries; a small network and its training steps against the
             oracle; networks against the CPU's results
  goldens    the zoo's forward passes against the golden files, f32 and bf16
  bench      images/s and device memory beside PyTorch in one CUDA graph, bf16, channels-last
  gradients  vector-Jacobian products and training trajectories against the golden files, f32
  tests      every op on its own samples, run, captured and replayed, against the oracle
  memcheck   compute-sanitizer on a small network, where it is installed
  compiled   compiled PyTorch (max-autotune), which takes minutes to get ready, for the same rows

Each test, network and benchmark is a process of its own with a limit, so that a crash or a hang costs
one row. After each row the JSON is written anew; a table with the targets ends the output, also when the
run is interrupted. Runs in a bundle (scripts/bundle.sh) or beside build/.

--device cpu --quick tries the script itself, with small networks, on a machine without a GPU.

Exit code: 0 if everything ran and reached its target, 1 if not, 2 if the call was wrong.
"""

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import bench_stage, compiled_stage
from golden_tests import goldens_stage, gradients_stage, tests_stage
from networks import device_stage, memcheck_stage
from runner import FACET, Check, Interrupted
from table import table

STAGES = {"device": device_stage, "goldens": goldens_stage, "bench": bench_stage,
          "gradients": gradients_stage, "tests": tests_stage, "memcheck": memcheck_stage,
          "compiled": compiled_stage}


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)

    def names(text):
        return text.split(",")

    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--seconds", type=float, default=450, help="in all (default: %(default)g)")
    parser.add_argument("--json", type=Path, default=Path("gpu_check.json"), help="default: %(default)s")
    parser.add_argument("--stages", type=names, default=list(STAGES), metavar="S,...", help="default: all")
    parser.add_argument("--models", type=names, metavar="M,...", help="of the benchmarks; default: all")
    parser.add_argument("--quick", action="store_true", help="small networks, one of each kind")
    parser.add_argument("--python", default=sys.executable, help="the one that has PyTorch")
    args = parser.parse_args()
    for stage in args.stages:
        if stage not in STAGES:
            parser.error(f"unknown stage {stage}; choose from {', '.join(STAGES)}")
    if not FACET.exists():
        parser.error(f"there is no command at {FACET}; scripts/build.sh builds it")
    if not args.json.resolve().parent.is_dir():
        parser.error(f"--json: there is no folder {args.json.resolve().parent}")
    return args


def run_stage(check, name):
    try:
        STAGES[name](check)
    except Exception as problem:  # outside its rows; the other stages go on
        check.row("the stage", "failed", detail=f"{type(problem).__name__}: {problem}")


def main():
    check = Check(parse())
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number, _):
        for other in signals:
            signal.signal(other, signal.SIG_IGN)  # the table is on its way
        raise Interrupted(signal.Signals(number).name)

    for number in signals:
        signal.signal(number, interrupt)
    try:
        for name in STAGES:
            if name in check.args.stages:
                check.enter(name)
                run_stage(check, name)
        check.results["complete"] = True
    except Interrupted as problem:
        check.results["interrupted_by"] = str(problem)
    check.write()
    print("\n" + table(check.results), flush=True)
    good = check.results["complete"] and all(row["result"] == "ok" for row in check.results["rows"])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
