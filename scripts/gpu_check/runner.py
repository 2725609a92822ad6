"""Rows of a check, each worked at in processes with a time limit; where the programs are."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUNDLED = (HERE.parent / "bin").is_dir()
ROOT = HERE.parent if BUNDLED else HERE.parents[1]
FACET = ROOT / "facet" if BUNDLED else ROOT / "build/bin/facet"

# Longest time of a stage, and of one of its rows, seconds.
LIMITS = {"device": (100, 30), "goldens": (90, 40), "bench": (260, 75), "gradients": (130, 75),
          "tests": (60, 60), "memcheck": (60, 60), "compiled": (3600, 240)}
LEAST_SECONDS = 5  # with less no row is begun


class Interrupted(BaseException):
    """A signal ends the run; the table is still printed."""


class Check:
    """The rows so far, in memory and in the JSON file, and the time that is left."""

    def __init__(self, args):
        self.args = args
        self.begin = time.monotonic()
        self.ends = self.begin + args.seconds
        self.results = {"device": args.device, "seconds": args.seconds, "machine": {}, "rows": [],
                        "complete": False}
        self.stage, self.stage_ends, self.row_ends = None, self.ends, self.ends
        self.child = None

    def enter(self, stage):
        self.stage = stage
        self.stage_ends = min(time.monotonic() + LIMITS[stage][0], self.ends)
        self.row_ends = self.stage_ends

    def time_left(self):
        """Of the row that is being worked at, seconds."""
        return self.row_ends - time.monotonic()

    def attempt(self, what, work):
        """Appends a row: `work()` gives its result and its details."""
        begin = time.monotonic()
        self.row_ends = min(begin + LIMITS[self.stage][1], self.stage_ends)
        if self.time_left() < LEAST_SECONDS:
            self.row(what, "not run", detail="no time was left")
            return
        try:
            result, details = work()
        except Exception as problem:  # whatever it is, the other rows go on
            result, details = "failed", {"detail": f"{type(problem).__name__}: {problem}"}
        except Interrupted as signal_name:
            self.stop_child()
            self.row(what, "not run", detail=f"interrupted by {signal_name}")
            raise
        self.row(what, result, seconds=round(time.monotonic() - begin, 1), **details)

    def row(self, what, result, **details):
        """`result`: ok, under (its target), failed, or not run."""
        self.results["rows"].append({"stage": self.stage, "what": what, "result": result} | details)
        self.write()
        print(line(self.results["rows"][-1]), flush=True)

    def write(self):
        self.results["seconds_used"] = round(time.monotonic() - self.begin, 1)
        partial = self.args.json.with_name(self.args.json.name + ".part")
        partial.write_text(json.dumps(self.results, indent=1) + "\n")
        os.replace(partial, self.args.json)

    def call(self, command, environment=None):
        """(exit code, output) of a command that ends within the row's time; the code is None if it had to be
        stopped."""
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            # A group, not a session: whoever stops the whole run must find all of it.
            self.child = subprocess.Popen(
                [str(word) for word in command], env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=os.setpgrp)
            try:
                code = self.child.wait(max(self.time_left(), 1))
            except subprocess.TimeoutExpired:
                code = None
            self.stop_child()
            output.seek(0)
            return code, output.read()

    def stop_child(self):
        """Ends the command and what it started, if something of them is left."""
        if self.child is None:
            return
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        self.child = None


def line(row):
    """A row for people to read."""
    detail = f": {row['detail'][:240]}" if row.get("detail") else ""
    return f"{row['result']:8}{row['stage']:10} {row['what']}{detail}"


def last_line(text):
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def ended(code, text):
    """What to say of a command that failed."""
    what = f"exit code {code}"
    if code is None:
        what = "stopped, it took too long"
    elif code < 0 or code > 128:
        what = f"crashed, signal {-code if code < 0 else code - 128}"
    return f"{what}: {last_line(text) or 'it said nothing'}"
