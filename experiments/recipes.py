"""Recipes: frozen dataclasses of plain values, changed on the command line, stored in the run folder."""

import argparse
import contextlib
import dataclasses
import json
import os

import keras

from experiments import devices, machines
from experiments.callbacks import RunError
from experiments.run_folder import RECIPE, open_run, read_json  # noqa: F401 (others take it from here)
from hand3d import memory
from hand3d.cores import multiplies_bfloat16

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
AUTO = "auto"  # precision: bfloat16 where the machine has arithmetic for it, else float32


def start(recipes, description, argv=None, program=""):
    """Command line -> (arguments, recipe); sets the recipe's seed and precision, keeps memory, prints it.

    recipes: {name: frozen dataclass}.  `--set key=value` changes a field and has its type; an unknown
    key ends the program with the list of known ones.  program: name of the module that trains.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="what to train and validate on, see above")
    parser.add_argument("--run", required=True, help="folder of this run; an unfinished one is resumed")
    parser.add_argument("--recipe", choices=sorted(recipes), default="best", help="lite is best's old name")
    parser.add_argument("--width", type=float, help="channels of the network by the recipe's")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the arithmetic; weights are float32")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe")
    parser.add_argument("--backgrounds", help="folder with photographs; made-up pictures without it")
    parser.add_argument("--init", help="start from cpm, vgg, a weight set or its folder, a .weights.h5, none")
    parser.add_argument("--devices", help="several, as in gpu:0,gpu:1 or cpu:0,cpu:1; or their number")
    parser.add_argument("--workers", type=int, default=2, help="rendering processes of --data render")
    arguments = parser.parse_args(argv)
    arguments.program = program
    settings = list(arguments.set)
    if arguments.width is not None:
        settings.append(f"width={arguments.width}")
    if arguments.precision:
        settings.append(f"precision={PRECISIONS[arguments.precision]}")
    try:
        recipe = with_precision(change(recipes[arguments.recipe], settings), arguments.run)
        if machines.count() > 1:
            arguments.run = machines.join(arguments.run, arguments.devices)
        elif arguments.devices:
            devices.prepare(arguments.devices)
    except ValueError as error:
        parser.error(str(error))
    memory.keep()
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    shown = " ".join(f"{key}={_text(value)}" for key, value in dataclasses.asdict(recipe).items())
    print(f"recipe {arguments.recipe}: {shown}", flush=True)
    return arguments, recipe


@contextlib.contextmanager
def plain_errors():
    """Ends the program with a line, no traceback, where data, weights or the run folder are at fault."""
    try:
        yield
    except (OSError, ValueError, RunError) as error:
        raise SystemExit(f"error: {error}") from error


def with_precision(recipe, run=None):
    """The recipe with "auto" for its precision replaced: by what `run` began with, or what the machine does.

    run: folder of a run, which may not be there yet.
    """
    if recipe.precision != AUTO:
        return recipe
    if run and (begun := read_json(os.path.join(run, RECIPE))):
        return dataclasses.replace(recipe, precision=begun["precision"])
    fast = multiplies_bfloat16()
    if not fast:
        print("float32, since this machine has no arithmetic for bfloat16 (--precision sets it)", flush=True)
    return dataclasses.replace(recipe, precision=PRECISIONS["bfloat16" if fast else "float32"])


def change(recipe, settings):
    """A copy of the recipe with `settings`, a list of "key=value"; ValueError if one does not fit."""
    fields = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or key not in fields:
            raise ValueError(f"--set {setting}: no such key; known are {', '.join(fields)}")
        try:
            fields[key] = _typed(value, fields[key])
        except ValueError:
            raise ValueError(f"--set {setting}: a value such as {_text(fields[key])} is expected") from None
    return type(recipe)(**fields)


def _typed(text, old):
    if isinstance(old, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if isinstance(old, tuple):
        parts = zip(old, text.split(","), strict=True)
        return tuple(type(value)(part) for value, part in parts)
    return type(old)(text)


def _text(value):
    """How a value is written after --set."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_recipe(run, kind):
    """The recipe of a run folder as a dataclass of `kind`."""
    with open(os.path.join(run, RECIPE)) as file:
        stored = json.load(file)
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()})


def pick(recipe, names):
    """{name: value} of the fields of a recipe that are named in a string."""
    return {name: getattr(recipe, name) for name in names.split()}
