"""The tables of bench/compare.py, in Markdown: a row is what `Entry.row` of peers/contestants.py makes."""

TITLES = {"facet": "Facet", "facet-unfused": "Facet unfused", "onnxruntime": "ONNX Runtime", "torch-eager": "PyTorch eager",
          "torch-compile": "PyTorch compiled", "torch-graph": "PyTorch CUDA graph"}


def number(value):
    return f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def grouped(rows):
    """(model, batch and precision as texts, its rows by peer)."""
    found = {}
    for row in rows:
        key = row["model"], str(row["batch"]), row["precision"]
        found.setdefault(key, {})[row["peer"]] = row
    return found.items()


def heading(head):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * 3 + "--:|" * (len(head) - 3)]


def table(rows, peers):
    """Markdown: one line per model, batch and precision."""
    others = [name for name in peers if name != "facet"]
    head = ["Model", "Batch", "Precision", "Facet ms (min)", "× floor"]
    for name in others:
        head += [f"{TITLES[name]} ms (min)", "ratio"]
    lines = heading(head)
    for key, by_peer in grouped(rows):
        facet = by_peer.get("facet")
        cells = [*key, times(facet)]
        floor = facet and facet.get("floor_ms")
        cells.append(f"{facet['median_ms'] / floor:.2f}" if floor else "–")
        for name in others:
            row = by_peer.get(name)
            cells.append(times(row))
            cells.append(f"{row['median_ms'] / facet['median_ms']:.2f}" if row and facet else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def memory_table(rows, peers):
    """Markdown, MB; see the top of the file."""
    others = [name for name in peers if name != "facet"]
    head = ["Model", "Batch", "Precision", "Facet arena", "weights", "Facet peak (above baseline)"]
    for name in others:
        head += [f"{TITLES[name]} peak (above baseline)", "ratio"]
    lines = heading(head)
    for key, by_peer in grouped(rows):
        facet = by_peer.get("facet")
        cells = [*key, *(number(facet[field] / 1e6) if facet else "–"
                         for field in ("peak_bytes", "parameter_bytes")), peak(facet)]
        for name in others:
            row = by_peer.get(name)
            cells.append(peak(row))
            both = above_baseline(row), above_baseline(facet)
            cells.append(f"{both[0] / both[1]:.2f}" if all(both) else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def device_memory_table(rows, peers):
    """Markdown, MB of the GPU's memory; see the top of the file."""
    others = [name for name in peers if name != "facet"]
    head = ["Model", "Batch", "Precision", "Facet arena", "state", "weights", "together"]
    for name in others:
        head += [TITLES[name], "ratio"]
    lines = heading(head)
    for key, by_peer in grouped(rows):
        facet = by_peer.get("facet", {})
        fields = ("peak_bytes", "state_bytes", "parameter_bytes", "peak_device_bytes")
        cells = [*key, *(number(facet[f] / 1e6) if f in facet else "–" for f in fields)]
        ours = facet.get("peak_device_bytes")
        for name in others:
            theirs = by_peer.get(name, {}).get("peak_device_bytes")
            cells.append(number(theirs / 1e6) if theirs else "–")
            cells.append(f"{theirs / ours:.2f}" if ours and theirs else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def above_baseline(row):
    if row and row.get("peak_rss_bytes") and row.get("baseline_rss_bytes"):
        return row["peak_rss_bytes"] - row["baseline_rss_bytes"]
    return None


def peak(row):
    above = above_baseline(row)
    return f"{number(row['peak_rss_bytes'] / 1e6)} ({number(above / 1e6)})" if above else "–"


def times(row):
    return f"{number(row['median_ms'])} ({number(row['min_ms'])})" if row else "–"


def training_table(rows, peers):
    """Markdown: images a second of whole training steps."""
    others = [name for name in peers if name != "facet"]
    head = ["Model", "Batch", "Precision", "Facet images/s", "ms a step (min)"]
    for name in others:
        head += [f"{TITLES[name]} images/s", "ms a step (min)", "ratio"]
    lines = heading(head)
    for key, by_peer in grouped(rows):
        facet = by_peer.get("facet")
        cells = [*key, number(facet["images_per_s"]) if facet else "–", times(facet)]
        for name in others:
            row = by_peer.get(name)
            cells += [number(row["images_per_s"]) if row else "–", times(row)]
            cells.append(f"{row['median_ms'] / facet['median_ms']:.2f}" if row and facet else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
