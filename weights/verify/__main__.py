"""Checks weight sets, the shipped ones by default, and prints what they are.

    python -m weights.verify [NAME or folder ...]

Of every network: the sha256 of its files, names, shapes and finite values of its weights, the number of its
parameters, and the output that it had when it was stored, for the input stored beside it.  The exit status is
1 if anything is wrong.
"""

import argparse
import os
import sys

from hand3d import manifest
from hand3d.set_options import set_options

TOLERANCE = 1e-3  # of the largest output; backends and processors add up in different orders
COLUMNS = ("set", "network", "width", "parameters", "size", "example", "trained on", "licence")


def main(argv=None):
    """Prints the table and the errors; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m weights.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sets", nargs="*", metavar="NAME", help="weight set or folder with a manifest (all shipped)"
    )
    arguments = parser.parse_args(argv)
    rows, errors, scores = [COLUMNS], [], []
    try:
        names = arguments.sets or manifest.names()
        for name in names:
            weight_set = manifest.find(name)
            set_options(weight_set)
            for role, entry in manifest.network_entries(weight_set).items():
                row, error = check(weight_set, role, entry)
                rows.append(row)
                errors += [error] if error else []
            scores += [f"{weight_set.name}: {line}" for line in score_lines(weight_set.entry.get("scores"))]
    except ValueError as error:
        errors.append(str(error))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows if len(rows) > 1 else []:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\n".join(scores))
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


def check(weight_set, role, entry):
    """A row of the table, and an error or None."""
    from hand3d.weight_files import example_difference

    row = [weight_set.name, f"{role} ({entry['builder']})", _width(entry), "", "", "", _data(weight_set)]
    row.append(str(weight_set.entry.get("licence", "not said")))
    try:
        paths = manifest.verify(weight_set, role)
        row[4] = f"{sum(map(os.path.getsize, paths)) / 2**20:.1f} MiB" + (
            f" in {len(paths)}" if len(paths) > 1 else ""
        )
        model = manifest.load_network(entry, paths)
        row[3] = f"{model.count_params():,}"
        if "parameters" not in entry:
            return row, f"weights {weight_set.name!r}, network {role!r}: the manifest lacks its parameters"
        if entry.get("random"):
            row[5] = f"start, {len(entry['random'])} layers left out"
            return row, None
        difference = example_difference(model, paths)
    except ValueError as error:
        row[5] = "FAILED"
        return row, str(error)
    if difference is None:
        row[5] = "none"
        return row, f"weights {weight_set.name!r}, network {role!r}: no example stored; save the set again"
    row[5] = f"{difference:.0e}"
    if not difference <= TOLERANCE:
        return row, (
            f"weights {weight_set.name!r}, network {role!r}: for the stored input its output differs by "
            f"{difference:.2g} of the largest value, expected up to {TOLERANCE}"
        )
    return row, None


def score_lines(scores):
    """Lines for a manifest's scores: a dict of numbers, or of parts of them."""
    if not isinstance(scores, dict) or not scores:
        return ["no scores in the manifest"]
    parts = {key: value for key, value in scores.items() if isinstance(value, dict)}
    parts |= {"scores": rest} if (rest := {k: v for k, v in scores.items() if k not in parts}) else {}
    return [
        f"{part}: "
        + ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        for part, values in parts.items()
    ]


def _width(entry):
    width = entry["config"].get("width", 1)
    return f"{width:g}" if isinstance(width, int | float) else str(width)


def _data(weight_set):
    """What a set was trained on, in a few words."""
    data = weight_set.entry.get("data")
    if not isinstance(data, dict):
        return "not said"
    if isinstance(data.get("converted_from"), list):
        return "converted: " + ", ".join(str(source.get("file")) for source in data["converted_from"])
    records = data.get("records")
    splits = [part.get("training") for part in records] if _are_dicts(records) else []
    if splits and _are_dicts(splits):
        return " + ".join(str(split.get("samples")) for split in splits) + " rendered pictures"
    return ", ".join(map(str, data)) or "not said"


def _are_dicts(values):
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)


if __name__ == "__main__":
    sys.exit(main())
