"""Trains, measures and tabulates the systems: what `python -m experiments.baselines` does."""

import functools
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import time

import numpy as np

from experiments import plots, results
from experiments.baselines.interface import BASELINES, Hands, Training, make
from experiments.baselines.pictures import sheet
from hand3d import metrics
from hand3d.files import write_atomic

MEDIAN_PX, PX, AUC_PX = "epe_median_px", "epe_px", "auc_0_30px"
MEDIAN_MM, MM, AUC_MM = "epe_median_mm/root_scale", "epe_mm/root_scale", "auc_20_50mm/root_scale"
COLUMNS = [
    results.column(MEDIAN_PX, "2D median, px", 2),
    results.column(PX, "2D mean, px", 2),
    results.column(AUC_PX, "AUC 0-30 px", 3),
    results.column(MEDIAN_MM, "3D median, mm"),
    results.column(MM, "3D mean, mm"),
    results.column(AUC_MM, "AUC 20-50 mm", 3),
    results.column("ms", "ms a hand"),
    results.column("training_s", "training, s", 0),
    results.column("parameters", "parameters", 0),
]
NO_3D = "the data set has no hand that is labelled in 3D"
NOT_2D, NOT_3D = "the system does not predict 2D keypoints", "the system does not predict 3D"
SAME = "as in the row above that it varies"
CURVE_HANDS = 160  # for the curves over a database's size
SHOWN_HANDS = 5
WARM_UP = 32  # hands


def make_table(arguments):
    """arguments of `__main__.parse` -> (result of `results.make`, {name: figure})."""
    from experiments.baselines import data

    started = time.time()
    os.makedirs(arguments.run, exist_ok=True)
    hands = data.cached_hands(arguments.run, arguments.data, "evaluation", arguments.limit)
    hands = detected(arguments.run, hands, arguments.weights)
    identity = results.data_identity(arguments.data, "evaluation", len(hands))
    training = Sources(arguments)
    rows, curves, notes, shown = [], [], [NOTE], {}
    for key in arguments.only:
        found = measured(key, hands, training, identity, arguments)
        if "reason" in found:
            rows.append(results.absent_row(found["name"], COLUMNS, found["reason"]))
            continue
        rows += [results.row(one["name"], one["values"], one["missing"]) for one in found["rows"]]
        curves += found["curves"]
        notes += found["notes"]
        shown[found["name"]] = found["shown"]
    result = results.make(
        "baselines",
        "Earlier systems on the same hands",
        COLUMNS,
        rows,
        data=identity,
        weights=results.weights_identity(arguments.weights),
        seed=arguments.seed,
        options={"limit": arguments.limit, "effort": arguments.effort, "poses": training.names},
        curves=curves,
        notes=notes,
        seconds=time.time() - started,
    )
    return result, drawn(curves, hands, shown)


NOTE = (
    "Time is that of a whole run over all hands on this machine; that of matching and fitting comes after "
    "the 2D keypoints of this project's PoseNet. Parameters of systems that search are the numbers that they "
    "store."
)


class Sources:
    """What there is to learn from, read when the first system needs it."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.folder = arguments.train or arguments.data
        self.files = tuple(part for part in arguments.poses.split(",") if part) or (self.folder,)
        self.names = [os.path.basename(os.path.abspath(part)) for part in self.files]

    @functools.cached_property
    def marks(self):
        """{part: text that changes with it}."""
        return {
            "hands": results.data_identity(self.folder, "training", 0)["sha256"],
            "poses": results.data_identity(list(self.files), "training", 0)["sha256"],
            "weights": str(self.arguments.weights),
        }

    def folder_of(self, key, system):
        """Folder of a system's training: another one where what it learns from is another."""
        marks = [self.marks[part] for part in system.learns_from]
        marks += [str(self.arguments.seed), str(self.arguments.effort)]
        return os.path.join(self.arguments.run, f"{key}-{_hash(*marks)}")

    @functools.cached_property
    def hands(self):
        from experiments.baselines import data

        return data.cached_hands(self.arguments.run, self.folder, "training")

    def training(self, system):
        """`Training` with what the system learns from, None for the rest."""
        from experiments.baselines import data

        hands = self.hands if "hands" in system.learns_from else None
        poses = data.read_poses(self.files) if "poses" in system.learns_from else None
        return Training(hands, poses, self.arguments.weights, self.arguments.seed, self.arguments.effort)


def trained(key, system, training):
    """Trains the system unless that is done, and loads it; returns the seconds that the training took."""
    folder = training.folder_of(key, system)
    os.makedirs(folder, exist_ok=True)
    done = os.path.join(folder, "trained.json")
    if not os.path.exists(done):
        known = training.training(system)
        _say(f"{key}: training in {folder}")
        start = time.time()
        system.train(known, folder)
        write_atomic(done, json.dumps({"seconds": time.time() - start}).encode())
    system.load(folder)
    with open(done) as file:
        return json.load(file)["seconds"]


def measured(key, hands, training, identity, arguments):
    """The rows, curves, notes and some predictions of a system, from the cache if nothing changed.

    A system that cannot be used here - a library that is missing, no OpenGL - gives {"name", "reason"}.
    """
    try:
        system = make(key)
        folder = training.folder_of(key, system)
        mark = [identity["sha256"], str(arguments.limit), _source(key)]
        if system.sees_detections or "weights" in system.learns_from:
            mark.append(results.weights_identity(arguments.weights)["sha256"])
        path = os.path.join(folder, f"measured-{_hash(*mark)}.json")
        if os.path.exists(path):
            with open(path) as file:
                return json.load(file)
        seconds = trained(key, system, training)
        _say(f"{key}: measuring {len(hands)} hands")
        found = measure(system, hands, seconds)
        write_atomic(path, json.dumps(found).encode())
        return found
    except (ImportError, subprocess.CalledProcessError, RuntimeError) as error:
        name = getattr(locals().get("system"), "name", key)
        _say(f"{key}: left out, {error}")
        return {"name": name, "reason": f"could not be run: {error}"}


def measure(system, hands, training_s):
    """Row, variants, curves, notes and a few predictions of a trained system, as JSON can hold them."""
    system.predict(hands.take(slice(0, WARM_UP)))  # compilers and caches
    start = time.perf_counter()
    prediction = system.predict(hands)
    seconds = time.perf_counter() - start
    facts = {"ms": 1000 * seconds / len(hands), "training_s": training_s, "parameters": system.parameters}
    rows = [scored(system.name, prediction, hands, facts)]
    for suffix, variant in system.variants(hands).items():
        if suffix:
            same = dict.fromkeys(facts)
            rows.append(scored(system.name + suffix, variant, hands, same, dict.fromkeys(facts, SAME)))
    few = hands.take(np.random.default_rng(0).permutation(len(hands))[:CURVE_HANDS])
    sizes = {size: scores(one, few)[0] for size, one in system.by_size(few).items()}
    curves = []
    if sizes:
        medians = [values.get(MEDIAN_MM) for values in sizes.values()]
        curves = [results.curve(system.name, list(sizes), medians, kind="size")]
    return {
        "name": system.name,
        "rows": rows,
        "curves": curves,
        "notes": [f"{system.name}: {system.simplifications}", *system.notes(hands)],
        "shown": [
            None if part is None else part[shown(hands)].tolist()
            for part in (prediction.uv_crop, prediction.xyz_relative)
        ],
    }


def scored(name, prediction, hands, facts, missing=None):
    """A row as plain JSON: name, values, missing."""
    values, reasons = scores(prediction, hands)
    row = results.row(name, values | facts, reasons | (missing or {}))
    return {key: row[key] for key in ("name", "values", "missing")}


def scores(prediction, hands):
    """The metrics of a `Prediction` and why some have no value: two dicts."""
    values, missing = {}, {}
    if prediction.uv_crop is None:
        missing |= dict.fromkeys((MEDIAN_PX, PX, AUC_PX), NOT_2D)
    else:
        uv = [hands.to_frame(part) for part in (prediction.uv_crop, hands.uv_crop)]
        found = metrics.summary_2d(metrics.keypoint_errors(*uv), hands.visible)
        values |= {key: found[key] for key in (MEDIAN_PX, PX, AUC_PX)}
    if prediction.xyz_relative is None or not hands.in_3d.any():
        reason = NOT_3D if prediction.xyz_relative is None else NO_3D
        missing |= dict.fromkeys((MEDIAN_MM, MM, AUC_MM), reason)
    else:
        some = hands.take(hands.in_3d)
        truth = some.xyz_relative * some.scale_mm[:, None, None].astype(np.float64)
        guess = metrics.align(prediction.xyz_relative[hands.in_3d], truth, "root_scale")
        found = metrics.summary_3d(metrics.keypoint_errors(guess, truth), "root_scale", some.visible)
        values |= {key: found[key] for key in (MEDIAN_MM, MM, AUC_MM)}
    return values | dict.fromkeys(missing), missing


def detected(run, hands, weights):
    """The hands with the weight set's detections, kept in the folder `run` as well."""
    from experiments.baselines import ours

    mark = _hash(results.weights_identity(weights)["sha256"], hashlib.sha256(hands.image).hexdigest())
    path = os.path.join(run, f"detections-{mark}.npz")
    names = ("detected_uv", "detected_score", "detected_xyz")
    if not os.path.exists(path):
        _say(f"2D and 3D keypoints of {weights}")
        found, content = ours.with_detections(hands, weights), io.BytesIO()
        np.savez(content, **{name: getattr(found, name) for name in names})
        write_atomic(path, content.getbuffer())
    with np.load(path) as archive:
        parts = {name: archive[name] for name in names}
    return Hands(**{key: value for key, value in vars(hands).items() if key not in names}, **parts)


def shown(hands):
    """Numbers of the hands in the picture of examples: spread over the set, most keypoints visible."""
    clear = np.flatnonzero(hands.visible.sum(1) >= np.quantile(hands.visible.sum(1), 0.5))
    return clear[np.linspace(0, len(clear) - 1, min(SHOWN_HANDS, len(clear))).astype(int)]


def drawn(curves, hands, predictions):
    """{name: figure}: the error over a database's size, and examples."""
    figures = {}
    if curves:
        figure = plots.lines(curves, "entries of the database", "3D median error, mm")
        figure.axes[0].set_xscale("log")
        figure.axes[0].set_xlim(min(min(one["x"]) for one in curves), max(max(one["x"]) for one in curves))
        figures["size"] = figure
    if predictions:
        figures["examples"] = sheet(hands.take(shown(hands)), predictions)
    return figures


def _source(key):
    """Hash of the code of a system: its own module's and the ones that this package shares."""
    folder = os.path.dirname(os.path.abspath(__file__))
    own = importlib.import_module(BASELINES[key][0]).__file__
    contents, shared = [], ("interface.py", "table.py", "learning.py", "views.py")
    for path in [own, *(os.path.join(folder, name) for name in shared)]:
        with open(path, "rb") as file:
            contents.append(hashlib.sha256(file.read()).hexdigest())
    return _hash(*contents)


def _hash(*texts):
    return hashlib.sha256(" ".join(texts).encode()).hexdigest()[:12]


def _say(text):
    print(text, file=sys.stderr, flush=True)
