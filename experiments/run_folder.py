"""What a run folder says about the run: recipe, program, versions, log.

run.json      program, name of the recipe, seed, and each start: time, command, revision, versions, devices
recipe.json   the recipe, checked when the run goes on
log.csv       every metric of every epoch
weights/      the final weights with their manifest, to be given to --init, or assembled
"""

import csv
import dataclasses
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import time

import keras

from hand3d import manifest
from hand3d.files import write_atomic

RECIPE, RUN, LOG = "recipe.json", "run.json", "log.csv"
PACKAGES = ("hand3d-keras", "keras", "tensorflow", "jax", "numpy", "scipy", "pillow", "h5py", "moderngl")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def open_run(run, recipe, begun, program="", name=""):
    """Makes the run folder and notes the start; SystemExit if another run has begun there.

    begun: whether there is a state to go on from.  program: module that trains.  name: of the recipe.
    A field that the stored recipe lacks is newer than the run and has to have its default.
    """
    os.makedirs(run, exist_ok=True)
    path, wanted = os.path.join(run, RECIPE), json.loads(json.dumps(dataclasses.asdict(recipe)))
    history = read_json(os.path.join(run, RUN)) or {}
    if begun and program and history.get("program", program) != program:
        raise SystemExit(
            f"error: {run} is a run of {history['program']}, not of {program}; take another --run"
        )
    found = read_json(path)
    if begun and found is not None:
        defaults = {key: value for key, value in json.loads(json.dumps(_defaults(recipe))).items()}
        changed = [key for key in wanted if found.get(key, defaults.get(key)) != wanted[key]]
        different = sorted({*changed, *(set(found) - set(wanted))})
        if different:
            values = "; ".join(f"{key}: {found.get(key)} there, {wanted.get(key)} here" for key in different)
            raise SystemExit(f"error: {path} differs from this recipe in {values}; take another --run")
    write_atomic(path, (json.dumps(wanted, indent=1) + "\n").encode())
    starts = history.get("starts", []) if begun else []
    history = {"program": program, "recipe": name, "seed": getattr(recipe, "seed", None)}
    history["starts"] = [*starts, _start()]
    write_atomic(os.path.join(run, RUN), (json.dumps(history, indent=1) + "\n").encode())


def _defaults(recipe):
    return {
        field.name: field.default
        for field in dataclasses.fields(recipe)
        if field.default is not dataclasses.MISSING
    }


def read_json(path):
    """What a JSON file of a run folder holds, None if it is not there; SystemExit where it is damaged."""
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise SystemExit(f"error: {path} is not JSON ({error}); take another --run") from None


def _start():
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "revision": revision(),
        "backend": keras.config.backend(),
        "versions": versions,
    }


def revision():
    """Git revision of this checkout, with "+" if files differ from it; None without git."""
    try:
        options = dict(cwd=ROOT, capture_output=True, text=True, check=True, timeout=20)
        head = subprocess.run(["git", "rev-parse", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def read_log(run, epochs=None):
    """Rows of log.csv, dicts of numbers, one an epoch; only whole ones, and those before epoch `epochs`."""
    path, rows = os.path.join(run, LOG), {}
    if os.path.exists(path):
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                try:
                    numbers = {key: float(value) for key, value in row.items()}
                    rows[int(numbers["epoch"])] = numbers
                except (TypeError, ValueError, KeyError):
                    continue  # cut off by a kill
    return [rows[epoch] for epoch in sorted(rows) if epochs is None or epoch < epochs]


def cut_log(run, epochs):
    """Takes the rows from epoch `epochs` on out of log.csv: they will be written again."""
    rows, path = read_log(run, epochs), os.path.join(run, LOG)
    if os.path.exists(path) and not rows:
        os.unlink(path)
    elif rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[-1].keys())
        writer.writeheader()
        whole = [row | {"epoch": int(row["epoch"])} for row in rows if row.keys() == rows[-1].keys()]
        writer.writerows(whole)
        write_atomic(path, text.getvalue().encode())


def export(run, parts, recipe, scores, data, flat=False):
    """Writes RUN/weights: the final networks and their manifest; returns the folder.

    parts: {role: (network, builder, config)}, with plain convolutions.  scores: dict.  data: what it was
    trained on, str.  flat: into RUN itself.
    """
    folder = run if flat else os.path.join(run, "weights")
    os.makedirs(folder, exist_ok=True)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        networks = {
            role: manifest.save_network(network, folder, f"{role}.h5", builder, config)
            for role, (network, builder, config) in parts.items()
        }
    finally:
        keras.config.set_dtype_policy(policy)
    entry = {
        "networks": networks,
        "recipe": dataclasses.asdict(recipe),
        "data": data,
        "seed": recipe.seed,
        "revision": revision(),
        "scores": {"validation": scores},
    }
    manifest.write_manifest(folder, {os.path.basename(os.path.abspath(run)): entry})
    return folder
