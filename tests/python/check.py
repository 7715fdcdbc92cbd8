"""Runs the checks that the docstring of `run` lists. `run` passes the path of the program."""

import contextlib
import csv
import io
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PluginEventAccumulator,
)
from tensorboard.util.tensor_util import make_ndarray

# TensorBoard logs every purge as a warning. These tests cause purges on purpose.
logging.getLogger("tensorboard").setLevel(logging.ERROR)

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = Path(sys.argv[1]).resolve()

LEARNING_RATE, DECAY, DECAY_STEPS = 0.01, 0.99, 600  # the defaults
VARIABLES = ["layer1/biases", "layer1/weights", "layer2/biases", "layer2/weights"]


def unisono(*arguments, exit_code=0):
    """Runs the program. Returns its standard output and its standard error."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == exit_code, (arguments, done.returncode, done.stderr)
    return done.stdout, done.stderr


def train(command, logdir, steps, *more):
    """Trains. Returns the validation accuracy and the test accuracy that the run prints."""
    flags = ["--training-steps", steps, "--logdir", logdir, "--progress", "none", *more]
    printed, _ = unisono(command, *flags)
    found = re.search(r"validation accuracy = (\S+), test accuracy = ([\d.]+)\.$", printed, re.M)
    return float(found[1]), float(found[2])


def losses_of(logdir):
    """Returns the losses of each step as a list of f32, in the order of the slots."""
    losses = defaultdict(list)
    with open(logdir / "losses.csv") as file:
        for row in csv.DictReader(file):
            losses[int(row["step"])].append(np.float32(row["loss"]))
    return losses


def events_of(logdir):
    """Returns all events of a logdir as TensorBoard reads them, without sampling."""
    everything = {kind: 0 for kind in ("scalars", "histograms", "tensors")}
    return EventAccumulator(str(logdir), size_guidance=everything).Reload()


def scalars(events, tag):
    """Returns the values of a tag by step. Each step must occur once."""
    found = events.Scalars(tag)
    steps = [event.step for event in found]
    assert len(set(steps)) == len(steps), f"{tag} has a step twice: {steps}"
    return {event.step: event.value for event in found}


def check_losses(events, losses):
    tags = {"loss/mean": lambda of: np.float64(of).mean(), "loss/min": min, "loss/max": max}
    for tag, of_slots in tags.items():
        found = scalars(events, tag)
        for step, value in found.items():
            want = np.float32(of_slots(losses[step]))
            assert np.float32(value) == want, (tag, step, value, want)
    return sorted(found)


def check_learning_rates(events):
    for step, value in scalars(events, "learning_rate").items():
        want = np.float32(LEARNING_RATE * math.pow(DECAY, step / DECAY_STEPS))
        assert np.float32(value) == want, (step, value, want)


def check_histograms(events, checkpoint, step):
    model = load_file(checkpoint)
    assert model["global_step"] == step, model["global_step"]
    for name in VARIABLES:
        [histogram] = [h.histogram_value for h in events.Histograms(name) if h.step == step]
        weights = model[name].astype(np.float64).ravel()
        assert histogram.num == weights.size, (name, histogram.num)
        assert (histogram.min, histogram.max) == (weights.min(), weights.max()), name
        # np.cumsum adds the elements in order, as the program does.
        assert histogram.sum == np.cumsum(weights)[-1], (name, histogram.sum)
        assert histogram.sum_squares == np.cumsum(weights * weights)[-1], name
        # A bin of numpy includes its lower end, as a bucket of TensorFlow does.
        counts, _ = np.histogram(weights, bins=[-np.inf, *histogram.bucket_limit])
        assert list(histogram.bucket) == list(counts), name


def check_text(events, logdir):
    """Checks the text summary as the text plugin of TensorBoard reads it."""
    plugin = PluginEventAccumulator(str(logdir)).Reload()
    assert "configuration" in plugin.PluginTagToContent("text")
    text = make_ndarray(events.Tensors("configuration")[-1].tensor_proto).item().decode()
    for row in ["| batch_size | 100 |", "| learning_rate | 0.01 |", "| workers | 2 |"]:
        assert row in text, text


def check_run(folder):
    logdir = folder / "run"
    validation, test = train("local", logdir, 300, "--save-summaries-secs", "0.05")
    events = events_of(logdir)
    steps = check_losses(events, losses_of(logdir))
    assert steps[0] == 0 and steps[-1] == 299 and len(steps) > 2, steps
    check_learning_rates(events)
    check_text(events, logdir)
    for step in (0, 300):
        check_histograms(events, logdir / f"model.ckpt-{step}.safetensors", step)
    norms = scalars(events, "gradient_norm")
    assert norms and all(0 < norm < 100 for norm in norms.values()), norms
    rates = scalars(events, "global_step/sec")
    assert rates and all(rate > 0 for rate in rates.values()), rates
    accuracies = scalars(events, "accuracy/validation")
    assert set(accuracies) == set(norms) | {0, 300}, accuracies
    assert {0, 1, 2, 5, 10, 20, 50, 100, 200} <= set(norms), norms
    assert np.float32(accuracies[300]) == np.float32(validation), (accuracies, validation)
    print(f"TensorBoard reads {len(steps)} correct summaries of 300 steps")
    return logdir, test


def check_resumed_run(logdir):
    """Resumes from the checkpoint of step 300. No earlier event may be lost or duplicated."""
    before = scalars(events_of(logdir), "loss/mean")
    validation, _ = train("local", logdir, 400, "--save-summaries-secs", "0.05")
    files = sorted(logdir.glob("events.out.tfevents.*"))
    assert len(files) == 2, files
    events = events_of(logdir)
    after = scalars(events, "loss/mean")
    assert all(after[step] == loss for step, loss in before.items()), (before, after)
    assert 300 in after and 399 in after, after
    check_losses(events, losses_of(logdir))
    accuracies = scalars(events, "accuracy/validation")
    assert {0, 300, 400} <= set(accuracies), accuracies
    assert np.float32(accuracies[400]) == np.float32(validation), accuracies
    print("a resumed run writes a file of its own, and continues the curve")


def check_rollback(logdir):
    """Recomputed steps must replace the steps that were undone."""
    (logdir / "model.ckpt-400.safetensors").unlink()
    (logdir / "checkpoint").unlink()
    train("local", logdir, 400, "--save-summaries-secs", "0.05")
    events = events_of(logdir)
    check_losses(events, losses_of(logdir))
    steps = [event.step for event in events.Scalars("accuracy/validation")]
    assert steps == sorted(set(steps)) and {0, 300, 400} <= set(steps), steps
    print("undone steps are purged, and recomputed steps occur once")


def check_reference(folder, logdir):
    """The serial run must write the same summaries."""
    train("reference", folder / "reference", 300, "--save-summaries-secs", "0.05")
    reference, cluster = events_of(folder / "reference"), events_of(logdir)
    for kind in ("scalars", "histograms", "tensors"):
        assert set(reference.Tags()[kind]) == set(cluster.Tags()[kind]), kind
    check_losses(reference, losses_of(folder / "reference"))
    check_histograms(reference, folder / "reference" / "model.ckpt-300.safetensors", 300)
    for tag in ("gradient_norm", "accuracy/validation", "loss/mean"):
        own, other = scalars(reference, tag), scalars(cluster, tag)
        for step in own.keys() & other.keys():
            assert own[step] == other[step], (tag, step)
    print("`unisono reference` writes the same summaries")


def check_off(folder):
    train("local", folder / "off", 20, "--save-summaries-secs", "0")
    assert not list((folder / "off").glob("*tfevents*"))
    print("--save-summaries-secs 0 writes no summaries")


def check_snippet(folder, test):
    """Runs the snippet as it stands in the document."""
    document = (ROOT / "docs" / "checkpoints.md").read_text()
    [snippet] = re.findall(r"```python\n(.*?)```", document, re.S)
    here = os.getcwd()
    os.symlink(ROOT / "fixtures", folder / "fixtures")
    os.chdir(folder)
    try:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(snippet, "docs/checkpoints.md", "exec"), {"__name__": "__main__"})
    finally:
        os.chdir(here)
    want = f"After 300 training steps, test accuracy = {test:g}\n"
    assert printed.getvalue() == want, (printed.getvalue(), want)
    print(f"the snippet of docs/checkpoints.md computes the printed accuracy, {test:g}")


def check_conversion(folder, logdir):
    checkpoint, npz = logdir / "model.ckpt-300.safetensors", folder / "model.npz"
    unisono("convert", checkpoint, npz)
    model = load_file(checkpoint)
    with np.load(npz) as arrays:  # without allow_pickle
        assert set(arrays.files) == {*model, "__metadata__"}, arrays.files
        kept = {name: arrays[name] for name in arrays.files}
    for name, tensor in model.items():
        assert kept[name].dtype == tensor.dtype and kept[name].shape == tensor.shape, name
        assert kept[name].tobytes() == tensor.tobytes(), name

    again = folder / "again"
    again.mkdir()
    for save in (None, np.savez, np.savez_compressed):
        if save:
            save(npz, **kept)
        unisono("convert", npz, again / checkpoint.name, *(["--force"] if save else []))
        assert (again / checkpoint.name).read_bytes() == checkpoint.read_bytes(), save
    _, error = unisono("convert", npz, again / checkpoint.name, exit_code=1)
    assert "exists" in error and "--force" in error, error

    # The converted checkpoint resumes to the same bytes.
    train("local", again, 400, "--allow-missing-losses")
    assert (again / "model.ckpt-400.safetensors").read_bytes() == (
        logdir / "model.ckpt-400.safetensors"
    ).read_bytes()
    print("numpy reads converted checkpoints, and runs resume from numpy's files to the same bytes")


def check_foreign_arrays(folder):
    """Converts arrays of many types and memory orders from numpy, and back."""
    arrays = {
        "f16": np.arange(6, dtype=np.float16).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(24, dtype=np.float64).reshape(2, 3, 4)),
        "big-endian": np.arange(5, dtype=">i4"),
        "a/b": np.array(-7, dtype=np.int64),
        "bool": np.array([True, False]),
        "complex": np.array([1 + 2j], dtype=np.complex64),
        "none": np.zeros((0, 3), np.uint16),
    }
    for save in (np.savez, np.savez_compressed):
        save(folder / "any.npz", **arrays)
        unisono("convert", folder / "any.npz", folder / "any.safetensors", "--force")
        read = load_file(folder / "any.safetensors")
        assert set(read) == set(arrays)
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype.newbyteorder("="), name
            assert np.array_equal(read[name], array), name
    unisono("convert", folder / "any.safetensors", folder / "back.npz")
    with np.load(folder / "back.npz") as back:
        assert all(np.array_equal(back[name], array) for name, array in arrays.items())
    save_file(read, folder / "python.safetensors")
    assert (folder / "python.safetensors").read_bytes() == (folder / "any.safetensors").read_bytes()

    np.savez(folder / "objects.npz", o=np.array([None]))
    _, error = unisono("convert", folder / "objects.npz", folder / "o.safetensors", exit_code=1)
    assert "|O" in error, error
    print("arrays of any type, order and compression are converted, objects are refused")


def check_initial_values(folder):
    """Starts a run from initial values of numpy."""
    rng = np.random.default_rng(1)
    shapes = {"layer1/weights": (784, 10), "layer1/biases": (10,)}
    values = {name: rng.normal(0, 0.1, shape).astype("<f4") for name, shape in shapes.items()}
    np.savez(folder / "init.npz", **values)
    unisono("convert", folder / "init.npz", folder / "init.safetensors")
    more = ["--hidden=", "--init-from", folder / "init.safetensors"]
    train("reference", folder / "from-numpy", 1, *more, "--save-summaries-secs", "1")
    events = events_of(folder / "from-numpy")
    [first] = [h for h in events.Histograms("layer1/weights") if h.step == 0]
    assert first.histogram_value.sum == np.cumsum(values["layer1/weights"].astype(np.float64))[-1]
    print("a run starts from initial values of numpy")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logdir, test = check_run(folder)
        check_snippet(folder, test)
        check_reference(folder, logdir)
        check_resumed_run(logdir)
        check_conversion(folder, logdir)
        check_rollback(logdir)
        check_off(folder)
        check_foreign_arrays(folder)
        check_initial_values(folder)


main()
