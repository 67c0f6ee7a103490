"""What the paper and its authors published, from `published.json` beside this file (PAPER.md 5.2)."""

import json
import os

from hand3d.metrics import auc

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published.json")


def read():
    """dict of curves_stb, list of curves as of `results.curve`, and numbers, {table: {row: ...}}.

    A row has "paper" and "rerun", each {metric's key: value} or missing; "of", the name of our row to compare
    with where it is another; "result", the name of our result file where it is not the table's; and "note".
    """
    with open(FILE, encoding="utf-8") as file:
        return json.load(file)


def stb_curves():
    """PCK curves on STB of PSO, ICPPSO, CHPR and the paper: x in mm, y shares, and the published auc."""
    return read()["curves_stb"]


def area(curve):
    """Area under a curve by its own range, the number that was published beside it."""
    return auc(curve["x"], curve["y"])
