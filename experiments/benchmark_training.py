"""Speed of training beside this machine's own speed in matrix products, all in one run.

    python -m experiments.benchmark_training [--stages STAGE ...] [--recipe best|paper] [--set key=value ...]
    python -m experiments.benchmark_training --runs RUN [RUN ...]

Steps of `experiments.handsegnet|posenet|lifting` on a batch of noise, by turns with a matrix product of the
same precision.  Operations are counted three times those of the network's forward pass (its outputs, and the
gradients of weights and inputs); augmentation, metrics and optimiser do no counted ones.  "network alone" is
the network's forward and backward pass on pictures that are ready; "memory given back" is the whole step
before `hand3d.memory.keep`, which the programs call.  Each stage has a process of its own, whose memory none
before it has kept.

With --runs, what runs spent their time with, from their logs: waiting for data, and all that is no training
step (validation, pictures, checkpoints).
"""

import argparse
import glob
import json
import multiprocessing
import os
import sys

import keras
import numpy as np

from experiments import common, handsegnet, lifting, posenet, recipes, run_folder
from hand3d import measuring, memory
from hand3d.files import write_atomic
from hand3d.skeleton import NUM_KEYPOINTS

PROGRAMS = {"handsegnet": handsegnet, "posenet": posenet, "lifting": lifting}
PRODUCT, STEP, NETWORK, GIVEN_BACK = "matrix product", "step", "network alone", "memory given back"
PASSES = 3  # forward, gradients of the inputs, gradients of the weights
DEPTH = 0.6  # metres from the camera


def pictures(stage, recipe, rng):
    """A batch of noise as `pipelines.inputs` gives it."""
    batch, side, crop = recipe.batch, recipe.cut, recipe.crop_size
    made = {
        "picture": rng.integers(0, 256, (batch, side, side, 5), dtype=np.uint8),
        "background": rng.integers(0, 256, (batch, crop, crop, 3), dtype=np.uint8),
    }
    if stage == "posenet":
        made["uv"] = rng.uniform(0.25 * side, 0.75 * side, (batch, NUM_KEYPOINTS, 2)).astype(np.float32)
        made["visible"] = np.ones((batch, NUM_KEYPOINTS), bool)
        made["side"] = rng.integers(0, 2, batch, dtype=np.int32)
    return made


def poses(recipe, rng):
    """A batch of hands of random keypoints as `pipelines.inputs.lifting_batches` gives it."""
    xyz = rng.normal(0, 0.03, (recipe.batch, NUM_KEYPOINTS, 3)).astype(np.float32)
    xyz[..., 2] += DEPTH
    return {
        "xyz": xyz,
        "visible": np.ones((recipe.batch, NUM_KEYPOINTS), bool),
        "side": rng.integers(0, 2, recipe.batch, dtype=np.int32),
    }


def both_ways(network, inputs):
    """Callable: the network's forward and backward pass, the gradients of all its weights."""
    import tensorflow as tf

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(network(inputs, training=True))
            total = sum(tf.reduce_sum(tf.cast(output, tf.float32)) for output in outputs)
        return [tf.reduce_sum(gradient) for gradient in tape.gradient(total, network.trainable_variables)]

    return lambda: [value.numpy() for value in run()]


def product(precision):
    """(callable, GFLOP): a matrix product in the precision of a Keras policy."""
    import tensorflow as tf

    dtype = keras.dtype_policies.get(precision).compute_dtype
    side = measuring.MATRIX
    a, b = (tf.cast(tf.random.normal((side, side), seed=seed), dtype) for seed in (1, 2))
    multiply = tf.function(lambda: tf.matmul(a, b))
    return lambda: multiply()[0, 0].numpy(), 2 * side**3 / 1e9


def measure(stage, recipe, rounds):
    """Times of a stage's step, a dict that JSON can hold.

    "GFLOP" of a step; "rows": {name: {"ms", "GFLOP/s", "share"}}, the last by the matrix product's.
    """
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    rng = np.random.default_rng(recipe.seed)
    program = PROGRAMS[stage]
    model = program.training_model(recipe)
    model.compile(optimizer=common.optimizer(recipe), jit_compile=False if common.compiler() else "auto")
    batch = poses(recipe, rng) if stage == "lifting" else pictures(stage, recipe, rng)
    size = (recipe.crop_size,) * 2 if stage != "lifting" else ()
    forward = measuring.Compiled(model.network, size, recipe.batch)
    gflop = PASSES * forward.gflop()
    multiply, gflop_product = product(recipe.precision)
    timers = {PRODUCT: multiply, STEP: lambda: model.train_on_batch(batch)}
    timers = {name: measuring.timer(call) for name, call in timers.items()}
    before = measuring.in_turns(timers, rounds, PRODUCT)
    memory.keep()
    timers[NETWORK] = measuring.timer(both_ways(model.network, forward.inputs))
    taken = measuring.in_turns(timers, rounds, PRODUCT) | {GIVEN_BACK: before[STEP]}
    rows = {}
    for name, times in taken.items():
        done = gflop_product if name == PRODUCT else gflop
        rows[name] = {
            "ms": times["median"],
            "GFLOP/s": round(1000 * done / times["median"], 1),
            "share": round(done / gflop_product / times["ratio"], 3),
        }
    return {"batch": recipe.batch, "precision": recipe.precision, "GFLOP": round(gflop, 2), "rows": rows}


def _ended(run):
    """{epoch: (file, time in seconds)}: when a run's epochs ended; each start has a file of its own."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ended = {}
    for path in sorted(glob.glob(os.path.join(glob.escape(run), "tensorboard", "train", "*"))):
        events = EventAccumulator(path, size_guidance={"tensors": 0}).Reload()  # 0: all of them
        if "epoch_loss" in events.Tags()["tensors"]:
            ended |= {event.step: (path, event.wall_time) for event in events.Tensors("epoch_loss")}
    return ended


def spent(run):
    """What a run spent its time with: {"epochs", "waiting_share", "rest_share"}, from the second epoch on.

    waiting_share: of the time of the steps.  rest_share: of all time from one epoch's end to the next one's.
    OSError or ValueError naming what is missing.
    """
    recipe = run_folder.read_json(os.path.join(run, run_folder.RECIPE))
    if recipe is None:
        raise ValueError(f"{run}: no {run_folder.RECIPE}; a folder of a training run is expected")
    rows = {int(row["epoch"]): row for row in run_folder.read_log(run)}
    ended = _ended(run)
    examples, waiting, rest = recipe["epoch_steps"] * recipe["batch"], [], []
    for step, (path, time) in ended.items():
        if step in rows and ended.get(step - 1, ("", 0))[0] == path:
            steps = examples / rows[step]["examples_per_s"]
            waiting.append(rows[step].get("waiting_share", float("nan")))
            rest.append(1 - steps / (time - ended[step - 1][1]))
    if not rest:
        raise ValueError(f"{run}: fewer than two epochs without a stop between them")
    return {
        "epochs": len(rest),
        "waiting_share": round(float(np.median(waiting)), 4),
        "rest_share": round(float(np.mean(rest)), 4),
    }


def show(result):
    """The result as lines of text."""
    for stage, each in result.get("stages", {}).items():
        print(f"{stage}, batch {each['batch']}, {each['precision']}: {each['GFLOP']:.4g} GFLOP a step")
        print(f"{'':20}{'ms':>10}{'GFLOP/s':>10}{'share':>8}")
        for name, row in each["rows"].items():
            print(f"{name:20}{row['ms']:10.1f}{row['GFLOP/s']:10.1f}{row['share']:8.3f}")
    for run, each in result.get("runs", {}).items():
        print(
            f"{run}: {each['epochs']} epochs; {each['waiting_share']:.1%} of the steps' time waiting for "
            f"data, {each['rest_share']:.1%} of all time no steps"
        )


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--recipe", choices=("best", "paper"), default="best")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipes")
    parser.add_argument("--precision", choices=recipes.PRECISIONS, help="the recipe's without it")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each call (%(default)s)")
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="folders of training runs, and no steps")
    parser.add_argument("--json", metavar="FILE", help="write the measurements there too")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least 1 expected")
    try:
        arguments.chosen = (
            {} if arguments.runs else {each: chosen(each, arguments) for each in arguments.stages}
        )
    except ValueError as error:
        parser.error(str(error))
    return arguments


def chosen(stage, arguments):
    """The recipe of a stage with those settings that it has; ValueError where no stage has one."""
    fields = {name: program.Recipe.__dataclass_fields__ for name, program in PROGRAMS.items()}
    known = {key for name in arguments.stages for key in fields[name]}
    for setting in arguments.set:
        if setting.partition("=")[0] not in known:
            raise ValueError(f"--set {setting}: no such key; known are {', '.join(sorted(known))}")
    settings = [setting for setting in arguments.set if setting.partition("=")[0] in fields[stage]]
    if arguments.precision:
        settings.append(f"precision={recipes.PRECISIONS[arguments.precision]}")
    recipe = recipes.change(PROGRAMS[stage].RECIPES[arguments.recipe], settings)
    if getattr(recipe, "frozen", ""):
        raise ValueError(
            f"--set frozen={recipe.frozen}: operations are counted for a network that all learns"
        )
    return recipes.with_precision(recipe)


def main(argv=None):
    arguments = parse(argv)
    result = {"machine": measuring.machine()}
    with recipes.plain_errors():
        if arguments.runs:
            result["runs"] = {run: spent(run) for run in arguments.runs}
        else:
            result["stages"] = {}
            for stage, recipe in arguments.chosen.items():
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    result["stages"][stage] = process.apply(measure, (stage, recipe, arguments.rounds))
        show(result)
        if arguments.json:
            write_atomic(arguments.json, json.dumps(result, indent=1).encode())


if __name__ == "__main__":
    sys.exit(main())
