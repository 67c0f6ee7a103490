"""Results of experiments: one JSON file each, from which tables and plots are made.

A program that measures something does

    columns = [column("epe_mean_px", "EPE mean, px"), column("auc", "AUC 0-30 px", digits=3)]
    rows = [row("ours", {"epe_mean_px": 4.2, "auc": 0.81}),
            row("theirs", {"epe_mean_px": 5.0}, missing={"auc": "no detections"})]
    result = make("table1", "2D keypoints", columns, rows, data=data_identity(folder, "evaluation", 750),
                  weights=weights_identity("lite"), seed=0, options={"limit": None})
    print(markdown(result))
    save(result, arguments.out, figures={"pck": figure})     # add_arguments(parser) makes --out and --name

and gets OUT/table1.json, OUT/table1.md and, for each figure of matplotlib, OUT/table1-pck.png and .pdf, each
written whole or not at all.  The JSON object has

    format      number of this layout; `load` refuses any other
    experiment  the module's name, "table1"; the file may have another name
    title       of the table
    columns     [{"key", "title", "digits"}]
    rows        [{"name", "values": {key: number, text or None}, "missing": {key: why a value is None}}]
    curves      [{"name", "x": [...], "y": [...], ...}]: what the plots show; may be empty
    notes       [text]: what a reader of the table has to know
    data        {"name", "split", "samples", "sha256"}: of the files that were read, without their folders
    weights     {"name", "sha256"} or None
    seed, options, seconds, revision, made, versions

Values that are not finite are stored as None with a reason.  `python -m experiments.report` puts the files of
experiments/results into the README.
"""

import datetime
import io
import json
import math
import os
import platform
import sys

import keras
import numpy as np

from experiments.identity import data_identity, revision, weights_identity  # noqa: F401
from hand3d.files import write_atomic

FORMAT = 1
OUT = os.path.join("runs", "results")
KEYS = (
    *("format", "experiment", "title", "columns", "rows", "curves", "notes", "data", "weights"),
    *("seed", "options", "seconds", "revision", "made", "versions"),
)
NO_VALUE = "n/a"
DOTS_PER_INCH = 110


def add_arguments(parser):
    """--out and --name of every program that writes results."""
    parser.add_argument("--out", default=OUT, help=f"folder for JSON, Markdown and plots ({OUT})")
    parser.add_argument("--name", help="name of the files, instead of the experiment's")


def write(make, arguments):
    """Prints and saves what make(arguments) -> (result, figures) gives.  Returns the exit status."""
    try:
        result, figures = make(arguments)
        print(markdown(result))
        path = save(result, arguments.out, figures, arguments.name)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"written: {os.path.splitext(path)[0]}.*")
    return 0


# ---------------------------------------------------------------- making


def column(key, title, digits=1):
    """A column of the table.  key: of `row`'s values; title: with the unit; digits: after the point."""
    return {"key": key, "title": title, "digits": digits}


def row(name, values, missing=None):
    """A row.  values: {key: number, text or None}; missing: {key: reason}, or one reason for all of them.

    A value that is None, NaN or infinite is stored as None, with the reason "no value" if none is given.
    """
    plain, reasons = {}, {}
    for key in (*values, *(missing if isinstance(missing, dict) else ())):
        plain[key] = plain_number(values.get(key))
        if plain[key] is None:
            reason = missing.get(key) if isinstance(missing, dict) else missing
            reasons[key] = reason or "no value"
    return {"name": name, "values": plain, "missing": reasons}


def absent_row(name, columns, reason):
    """A row that has no value in any column."""
    return row(name, {one["key"]: None for one in columns}, reason)


def curve(name, x, y, **facts):
    """A curve of a plot: x, y (N,) numbers; facts: more keys, such as auc."""
    return {"name": name, "x": [plain_number(v) for v in x], "y": [plain_number(v) for v in y]} | facts


def make(
    experiment,
    title,
    columns,
    rows,
    *,
    data,
    weights=None,
    seed=None,
    options=None,
    curves=(),
    notes=(),
    seconds=None,
):
    """A result as in the module's docstring.

    data: of `data_identity`; weights: of `weights_identity`; options: what the numbers depend on besides,
    without paths; seconds: that it took.  ValueError for a row with a value that no column shows.
    """
    known = {one["key"] for one in columns}
    for one in rows:
        extra = sorted(set(one["values"]) - known)
        if extra:
            raise ValueError(f"row {one['name']!r} has {extra}, the columns are {sorted(known)}")
    return {
        "format": FORMAT,
        "experiment": experiment,
        "title": title,
        "columns": list(columns),
        "rows": list(rows),
        "curves": list(curves),
        "notes": list(notes),
        "data": data,
        "weights": weights,
        "seed": seed,
        "options": options or {},
        "seconds": None if seconds is None else round(seconds, 1),
        "revision": revision(),
        "made": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": {"python": platform.python_version(), "keras": keras.__version__}
        | {"backend": keras.config.backend()},
    }


def plain_number(value):
    """numpy's numbers -> Python's, rounded to 6 significant digits; None for what is not finite."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    value = float(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None


# ---------------------------------------------------------------- writing and reading


def save(result, folder, figures=None, name=None):
    """Writes the JSON file, the Markdown table and the plots; returns the JSON file's path.

    figures: {name: matplotlib Figure}.  OSError where the folder cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    base = os.path.join(folder, name or result["experiment"])
    for part, figure in (figures or {}).items():
        for suffix in ("png", "pdf"):
            write_atomic(f"{base}-{part}.{suffix}", picture(figure, suffix))
    write_atomic(base + ".md", (markdown(result) + "\n").encode())
    write_atomic(base + ".json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    return base + ".json"


def picture(figure, suffix):
    """The bytes of a matplotlib figure as "png" or "pdf", without the date: same figure, same bytes."""
    content = io.BytesIO()
    stamp = {"pdf": {"CreationDate": None}, "png": {"Software": None}}[suffix]
    figure.savefig(content, format=suffix, dpi=DOTS_PER_INCH, bbox_inches="tight", metadata=stamp)
    return content.getvalue()


def load(path):
    """A result from its JSON file.

    ValueError naming the file where it is no result, or was written by a version with another layout.
    """
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}); run the experiment again") from None
    if not isinstance(result, dict) or "format" not in result or "experiment" not in result:
        raise ValueError(f"{path}: holds no result of an experiment (no format, no experiment)")
    if result["format"] != FORMAT:
        raise ValueError(
            f"{path}: has layout {result['format']!r}, this revision reads {FORMAT}; it is of revision "
            f"{result.get('revision')}: run python -m experiments.{result['experiment']} again"
        )
    lacking = [key for key in KEYS if key not in result]
    if lacking:
        raise ValueError(f"{path}: lacks {', '.join(lacking)}; run the experiment again")
    return result


def value(result, name, key):
    """The value of a row's column: number, text or None.  KeyError naming what there is."""
    for one in result["rows"]:
        if one["name"] == name:
            return one["values"].get(key)
    raise KeyError(f"no row {name!r}, only {[one['name'] for one in result['rows']]}")


def text(number, digits):
    """A cell: a number with so many digits after the point, or text as it is."""
    if number is None:
        return NO_VALUE
    return number if isinstance(number, str) else f"{number:,.{digits}f}"


def markdown(result):
    """The table of a result, with reasons for what is missing and the notes below it."""
    columns, reasons = result["columns"], []
    lines = ["| | " + " | ".join(one["title"] for one in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for one in result["rows"]:
        cells = []
        for part in columns:
            key = part["key"]
            cell = text(one["values"].get(key), part["digits"]) if key in one["values"] else ""
            reason = one["missing"].get(key)
            if reason:
                reasons += [reason] * (reason not in reasons)
                cell += f" ({reasons.index(reason) + 1})"
            cells.append(cell)
        lines.append(f"| {one['name']} | " + " | ".join(cells) + " |")
    below = [f"({number}) {reason}." for number, reason in enumerate(reasons, 1)] + list(result["notes"])
    return "\n".join([*lines, "", " ".join(below)]).rstrip()


def origin(result):
    """One line: data, weights, seed and revision of a result."""
    data, weights = result["data"], result["weights"]
    parts = [f"{data['name']} ({data['split']}, {data['samples']:,} samples, {data['sha256'][:8]})"]
    parts += [f"weights {weights['name']} ({weights['sha256'][:8]})"] if weights else []
    parts += [f"seed {result['seed']}"] if result["seed"] is not None else []
    parts += [f"revision {result['revision'] or 'unknown'}"]
    return ", ".join(parts)
