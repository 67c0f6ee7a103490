"""Conversions in the tests' own process, and what every converted sample has to satisfy."""

import os

import miniature
import numpy as np

from hand3d.skeleton import HAND_SLICES
from pipelines import records
from pipelines.convert import common
from pipelines.convert.run import run
from pipelines.inspect import defaults

LEFT, RIGHT = HAND_SLICES["left"], HAND_SLICES["right"]


def convert(name, folder, out, split="training", *options, check=0):
    """The report of a conversion; without the network's look at the pictures unless `check` asks for it."""
    options = defaults(name, options)
    return run(name, str(folder), str(out), split, workers=1, options=options, check=check)


def left_out(report):
    """{id: reason} of the samples that a conversion left out."""
    return {entry["id"]: entry["reason"] for entry in report["samples_left_out"]}


def converted(name, folder, split, *options):
    """(samples, report) of the converted split."""
    out = os.path.join(folder, "out")
    report = convert(name, folder, out, split, *options)
    info = records.read_info(out)["splits"][split]
    assert info["complete"] and info["samples"] == report["samples"]
    return miniature.read_all(out, split), report


def check_uv(sample, part, tolerance=0.02):
    """Labels of a hand: uv is what K makes of xyz, to float32's precision."""
    which = sample["present"][part] & sample["present_xyz"][part]
    projected = common.project(sample["xyz"][part][which], sample["K"])
    np.testing.assert_allclose(projected, sample["uv"][part][which], atol=tolerance)
