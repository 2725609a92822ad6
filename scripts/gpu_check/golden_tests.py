"""Test programs on the device: the golden files, and the GPU backend's own tests that need one."""

import re

from runner import BUNDLED, ROOT, ended

NETWORKS = ("mla_iresnet18", "lscnn", "lesa_resnet50", "dcr")
QUICK = ("lscnn",)
FORWARD = ("GoldenCpu.F32WithAllPasses", "GoldenCpu.Bf16*", "ClassifierCpu.Bf16*")


def command_of(program, *options):
    return [*([ROOT / "run", program] if BUNDLED else [ROOT / "build/bin" / program]), *options]


def run_tests(check, program, pattern):
    """Result and details of a test program's tests that match."""
    code, text = check.call(command_of(program, f"--gtest_filter={pattern}"),
                            {"FACET_TEST_DEVICE": check.args.device})
    passed = re.findall(r"^\[       OK \] (\S+)", text, re.M)
    failed = re.findall(r"^\[  FAILED  \] (\S+?),? .*\(\d+ ms\)", text, re.M)
    skipped = re.findall(r"^\[  SKIPPED \] (\S+) \(", text, re.M)
    details = {"passed": len(passed), "failed_tests": failed, "skipped_tests": skipped}
    if code == 0 and passed and not skipped:
        return "ok", details | {"detail": f"{len(passed)} passed"}
    if code == 0 and not passed and not skipped:
        return "not run", details | {"detail": "there is no such test"}
    details["output"] = text[-4000:]
    if failed:
        reason = re.search(r": Failure\n(.*?)\n\[", text, re.S)
        return "failed", details | {"detail": f"{', '.join(failed)}: {one_line(reason[1] if reason else '')}"}
    if skipped and code == 0:
        return "failed", details | {"detail": f"skipped: {', '.join(skipped)}"}
    started = re.findall(r"^\[ RUN      \] (\S+)", text, re.M) or ["no test"]
    return "failed", details | {"detail": f"{ended(code, text)} in {started[-1]}"}


def one_line(text):
    return " ".join(text.split())[:200]


def tests_of(check, program, pattern):
    """The names of those that match."""
    code, text = check.call(command_of(program, "--gtest_list_tests", f"--gtest_filter={pattern}"))
    names, suite = [], ""
    for line in text.splitlines() if code == 0 else []:
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            names.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return names


def goldens_stage(check):
    for network in QUICK if check.args.quick else NETWORKS:
        tests = ":".join(f"Zoo/{name}/{network}" for name in FORWARD)
        check.attempt(f"{network} f32, bf16", lambda: run_tests(check, "runtime_tests", tests))


def gradients_stage(check):
    """The four families first, then the trajectories, then the other networks. mla's trajectory ends it: the
    oracle goes through it, too, in float64 on the CPU."""
    products, trajectories = "Zoo/GoldenTrainCpu.F32WithAllPasses/", "*TrajectoryCpu*_fused"
    if check.args.quick:
        names = [products + network for network in QUICK]
        steps = tests_of(check, "training_tests", trajectories)[:1]
    else:
        names = [products + network for network in NETWORKS]
        names += [name for name in tests_of(check, "runtime_tests", products + "*") if name not in names]
        steps = tests_of(check, "training_tests", trajectories)
    first = len(QUICK if check.args.quick else NETWORKS)
    jobs = [("runtime_tests", name) for name in names]
    jobs[first:first] = [("training_tests", name) for name in steps if "mla" not in name]
    jobs += [("training_tests", name) for name in steps if "mla" in name]
    for program, name in jobs:
        check.attempt(name, lambda: run_tests(check, program, name))


def tests_stage(check):
    if check.args.device == "cuda":
        check.attempt("OpSamples", lambda: run_tests(check, "runtime_tests", "OpSamples*"))
