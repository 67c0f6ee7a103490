"""The latest results, collected into the README between two markers.

    python -m experiments.report [--take runs/results] [--check]

Reads the result files of experiments/results (`experiments.results`) and writes the README's section anew:
the paper's number, its authors' re-run and ours, side by side, then the other tables.  --take copies JSON
files and PNG plots from the folder where the programs wrote them, first.  --check writes nothing; the exit
status is 1 where README and results disagree.  Results that belong to other weights than the checkout's are
marked n/a.
"""

import argparse
import os
import sys

from experiments import published, results
from hand3d import manifest
from hand3d.files import write_atomic

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README = os.path.join(CHECKOUT, "README.md")
FOLDER = os.path.join(CHECKOUT, "experiments", "results")
START = "<!-- results: python -m experiments.report writes what follows -->"
END = "<!-- end of results -->"
ORDER = ("table1", "table2", "table3", "segmentation", "baselines")
HEADLINES = {  # rows of these are too many for the README: only those named here, or all
    "table1": ("GT crop", "GT crop, occluded keypoints", "Net crop", "Net crop, occluded keypoints"),
}
PLOTS = {"table1": ("pck",), "table2": ("noise",), "table3": ("pck",), "baselines": None}


def read_all(folder):
    """[(name of the file without .json, result)], the tables in order, then the rest by name.

    ValueError naming a file that cannot be used.
    """
    names = sorted(name[:-5] for name in os.listdir(folder) if name.endswith(".json"))
    found = [(name, results.load(os.path.join(folder, name + ".json"))) for name in names]
    rank = {experiment: number for number, experiment in enumerate(ORDER)}
    return sorted(found, key=lambda one: (rank.get(one[1]["experiment"], len(ORDER)), one[0]))


def stale(result):
    """Why a result does not hold for this checkout, or None: its weights are not those of that name."""
    weights = result["weights"]
    if not weights or weights["name"] not in manifest.names():
        return None
    now = results.weights_identity(weights["name"], weights.get("roles"))
    if now["sha256"] == weights["sha256"]:
        return None
    return (
        f"measured with other weights {weights['name']} ({weights['sha256'][:8]}, now {now['sha256'][:8]}) "
        f"at revision {result['revision']}: run python -m experiments.{result['experiment']} again"
    )


# ---------------------------------------------------------------- paper | re-run | ours


def comparison(found):
    """The table of what was published beside ours, Markdown."""
    lines = ["| | | paper | authors' re-run | ours |", "|---|---|---|---|---|"]
    files = dict(found)
    for table, rows in published.read()["numbers"].items():
        for name, row in rows.items():
            result = files.get(row.get("result", table))
            keys = list(dict.fromkeys([*row.get("paper", {}), *row.get("rerun", {})]))
            for key in keys:
                cells = [_published(row, kind, key) for kind in ("paper", "rerun")]
                cells.append(_ours(result, table, row.get("of", name), key))
                lines.append(f"| {_label(table, name, row)} | {_title(key)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _published(row, kind, key):
    value = row.get(kind, {}).get(key)
    return "" if value is None else f"{value:g}"


def _label(table, name, row):
    note = f" ({row['note']})" if "note" in row else ""
    return f"{table.replace('table', 'Table ')}: {name}{note}" if table != "table3" else f"3D, {name}{note}"


def _title(key):
    names = {"epe": "EPE mean", "epe_median": "EPE median", "auc": "AUC"}
    plain = key.split("/")[0]
    stem, unit = plain.rsplit("_", 1)
    if stem.startswith("auc"):
        span = plain.removeprefix("auc_").replace("_", "-")
        return f"AUC {span.removesuffix('px').removesuffix('mm')} {unit[-2:]}"
    return f"{names[stem]}, {unit}"


OTHERS = ("baselines",)  # mostly of other systems, which do not change with our weights
OUR_ROWS = {"table1": "{}", "table2": "{}, 0 px", "table3": "whole chain, root and scale"}


def _ours(result, table, name, key):
    """Our cell: the number, or n/a where there is none that holds."""
    if result is None:
        return results.NO_VALUE
    plain = key if table == "table2" else key.split("/")[0]
    try:
        number = results.value(result, OUR_ROWS[table].format(name), plain)
    except KeyError:
        number = None
    if number is None or stale(result):
        return results.NO_VALUE
    return results.text(number, 3 if plain.startswith("auc") else 2)


# ---------------------------------------------------------------- the section


def section(folder):
    """The text between the markers, from the result files of a folder."""
    found = read_all(folder)
    if not found:
        raise ValueError(f"{folder}: holds no results; run experiments.tables, then report with --take")
    where = os.path.relpath(folder, CHECKOUT).replace(os.sep, "/")
    parts = [
        "Published numbers are those of RHD and STB, ours of the data named below each table: rendered hands "
        "unless it says otherwise.  They are not of the same pictures.",
        comparison(found),
    ]
    for name, result in found:
        reason = stale(result)
        parts.append(f"#### {result['title']}")
        if reason:
            if result["experiment"] not in OTHERS:
                parts.append(f"n/a: {reason}.")
                continue
            parts.append(f"This table is not of the present weights: {reason}.")
        parts.append(results.markdown(_short(result)))
        parts.append(f"{results.origin(result)}.  `{where}/{name}.json` has all of it.")
        parts += [f"![{result['title']}]({where}/{plot})" for plot in _plots(folder, name, result)]
    return "\n\n".join(parts)


def _short(result):
    wanted = HEADLINES.get(result["experiment"])
    rows = [row for row in result["rows"] if not wanted or row["name"] in wanted]
    return result | {"rows": rows}


def _plots(folder, name, result):
    wanted = PLOTS.get(result["experiment"], ())
    return [file for file in _pngs(folder, name) if wanted is None or file[len(name) + 1 : -4] in wanted]


def _pngs(folder, name):
    return sorted(
        file for file in os.listdir(folder) if file.startswith(name + "-") and file.endswith(".png")
    )


def merged(text, section):
    """A README's text with the section between its markers.  ValueError without the two markers."""
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"the README has not exactly one pair of markers {START} and {END}")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n\n{section}\n\n{END}{after}"


def take(source, folder):
    """Copies results, JSON and PNG, that `results.load` reads; returns their names."""
    names = [name for name, _ in read_all(source)]
    os.makedirs(folder, exist_ok=True)
    for name in names:
        for file in [*_pngs(source, name), name + ".json"]:
            with open(os.path.join(source, file), "rb") as content:
                write_atomic(os.path.join(folder, file), content.read())
    return names


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", default=FOLDER, help="folder of the result files")
    parser.add_argument("--readme", default=README)
    parser.add_argument("--take", metavar="FOLDER", help="copy new results from there first")
    parser.add_argument("--check", action="store_true", help="compare only")
    arguments = parser.parse_args(argv)
    try:
        if arguments.take and not arguments.check:
            print(f"taken: {', '.join(take(arguments.take, arguments.results))}")
        with open(arguments.readme, encoding="utf-8") as file:
            old = file.read()
        new = merged(old, section(arguments.results))
        if arguments.check and new != old:
            raise ValueError(
                f"{arguments.readme} and {arguments.results} differ: python -m experiments.report"
            )
        if not arguments.check:
            write_atomic(arguments.readme, new.encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
