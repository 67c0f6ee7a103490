"""Plots of results with matplotlib, without a screen."""

import numpy as np

from experiments import results
from hand3d import metrics

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999999",
)  # Okabe-Ito
STYLES = ("-", "--", "-.", ":")
POINTS = 51


def pck_curve(name, errors, valid=None, most=50.0):
    """The share of keypoints with an error up to each of 51 thresholds, as of `results.curve`.

    errors, valid: (N, 21) as in `hand3d.metrics.pck`; most: the largest threshold.
    """
    thresholds = np.linspace(0, most, POINTS)
    return results.curve(name, thresholds, metrics.pck(errors, thresholds, valid), kind="pck")


def pck(curves, label, title=None):
    """Figure of PCK curves; label: of the thresholds, with the unit."""
    figure = lines(curves, label, "share of keypoints within it", title, marker=None)
    figure.axes[0].set_ylim(0, 1)
    return figure


def lines(curves, x_label, y_label, title=None, marker="o"):
    """Figure with a line for each curve of `results.curve`; those with `published` are dashed."""
    from matplotlib.figure import Figure  # no pyplot: nothing global is changed

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, one in enumerate(curves):
        y = [np.nan if value is None else value for value in one["y"]]
        auc = one.get("auc")
        text = one["name"] if auc is None else f"{one['name']} ({auc:.3f})"
        style = "--" if one.get("published") else STYLES[number // len(COLOURS) % len(STYLES)]
        axes.plot(one["x"], y, style, color=COLOURS[number % len(COLOURS)], marker=marker, ms=4, label=text)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if curves:
        axes.set_xlim(min(one["x"][0] for one in curves), max(one["x"][-1] for one in curves))
        axes.legend(fontsize=8)
    return figure


def bars(names, values, label, title=None, errors=None):
    """Figure of horizontal bars, the first name at the top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 0.9 + 0.24 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    heights = [0 if value is None else value for value in values]
    axes.barh(range(len(names)), heights, color=COLOURS[0], xerr=errors)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=label, title=title)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    return figure
