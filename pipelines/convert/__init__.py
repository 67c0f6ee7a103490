"""Data sets as their authors distribute them -> records of `pipelines.records`.  See `__main__`.

A source is a module with
    LICENCE, UNITS, ORDER       text for info.json
    SPLITS                      names; EXPECTED: {split: samples in the published set} where that is known
    EXPECTED_FILES              text: what its folder holds
    ROOT                        what keypoint 0 is, if that is no option; may be missing: the wrist
    add_arguments(parser)       options of its own
    recognise(folder)           whether the folder looks like this data set
    split_file(folder, split)   a file or folder without which the split is not there; may be missing
    list_items(folder, split, options) -> common.Listing; ValueError if the folder or its labels are unusable
    picture(item) -> path of its picture
    load(item) -> a sample as `pipelines.records.write_shard` takes it; common.Skip if it is unusable
"""

import os
from importlib import import_module

SOURCES = ("rhd", "stb", "dexter", "freihand", "coco", "csv")


def source(name):
    """The module of a data set; ValueError for a name that is not in `SOURCES`."""
    if name not in SOURCES:
        raise ValueError(f"no data set {name!r}; known are {', '.join(SOURCES)}")
    return import_module(f"pipelines.convert.{name}" if name != "csv" else "pipelines.convert.table")


def recognise(folder):
    """Name of the data set that a folder holds, or None."""
    return next((name for name in SOURCES if source(name).recognise(folder)), None)


def has_split(module, folder, split):
    """Whether the folder of a data set has this split."""
    return not hasattr(module, "split_file") or os.path.exists(module.split_file(folder, split))
