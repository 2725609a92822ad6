"""What a run found, as text."""

from collections import Counter

from runner import line

FORM = "{:31}{:>9}{:>11} {:13}{:>6}{:>7}{:>8}{:>10}{:>7}{:>8}{:>7}  {}"
HEADS = ("benchmark", "Facet/s", "PyTorch/s", "by", "ratio", "target", "MB", "of theirs", "target", "x floor",
         "target", "")


def show(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def benchmark_lines(row):
    facet, best = row.get("facet") or {}, row.get("peers", {}).get(row.get("best_peer"), {})
    megabytes = facet["peak_device_bytes"] / 1e6 if "peak_device_bytes" in facet else None
    yield FORM.format(
        row["what"], show(facet.get("images_per_s"), 1), show(best.get("images_per_s"), 1),
        row.get("best_peer", "-"), show(row.get("ratio")), show(row.get("ratio_target")), show(megabytes, 0),
        show(row.get("memory")), show(row.get("memory_target")), show(row.get("floors")),
        show(row.get("floors_target")), " ".join([row["result"], *row.get("under", [])]))
    for problem in row.get("problems", [row.get("detail")]):
        yield f"    {problem[:240]}"


def table(results):
    """All rows; the benchmarks with their targets."""
    machine = results["machine"]
    lines = [f"{', '.join(machine.get('gpu', [results['device']]))}; {machine.get('glibc')}; "
             f"{results['seconds_used']:.0f} s" + ("" if results["complete"] else "; not complete")]
    benchmarks = [row for row in results["rows"] if row["stage"] == "bench"]
    if benchmarks:
        lines += ["", FORM.format(*HEADS).rstrip()]
        for row in benchmarks:
            lines += benchmark_lines(row)
    lines += ["", *(line(row) for row in results["rows"] if row["stage"] != "bench"), ""]
    counts = Counter(row["result"] for row in results["rows"])
    return "\n".join([*lines, ", ".join(f"{count} {result}" for result, count in sorted(counts.items()))])
