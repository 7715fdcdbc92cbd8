"""Runs whole clusters on this machine with `unisono local`, and measures them."""

import json
import os
import resource
import subprocess
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PROGRAM = os.path.join(ROOT, "target", "dist", "unisono")


def build():
    subprocess.run(["cargo", "build", "--quiet", "--profile", "dist"], cwd=ROOT, check=True)


def run(words, steps):
    """Runs a cluster. Returns the steps per second between the first and the last progress line, the
    processor time in seconds, and the names of the files in the logdir."""
    with tempfile.TemporaryDirectory() as logdir:
        command = [PROGRAM, "local", *words, f"--training-steps={steps}"]
        command += ["--progress=json", f"--logdir={logdir}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # `local` waits for its tasks, so RUSAGE_CHILDREN includes their processor time.
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        files = os.listdir(logdir)
    lines = [json.loads(line) for line in (ended.stdout + ended.stderr).splitlines() if line.startswith('{"step"')]
    first, last = lines[0], lines[-1]
    rate = (last["step"] - first["step"]) / (last["elapsed_secs"] - first["elapsed_secs"])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return rate, used, files
