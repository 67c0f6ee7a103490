"""Render, train and return weights within some minutes, on a machine with a GPU, JAX and no TensorFlow.

    KERAS_BACKEND=jax python -m experiments.gpu_training --out OUT --minutes 9 --stages posenet \\
        --recipe paper --precision bfloat16 --workers 14 [--backgrounds PHOTOS] [--init OUT/posenet]

Worker processes render into a pool in memory, from which batches are drawn at random, so that the device
does not wait for the renderer; the augmentation and the training step are compiled by XLA. The learning
rate rises over the first twentieth of the time and falls to zero by half a cosine at its end, however fast
the machine is; the schedule of the recipe is not used. An epoch that has begun is finished: choose --set
epoch_steps well below the minutes. After every epoch OUT/STAGE has the weights (averaged, if the recipe
averages) in files below 16 MiB with their manifest, and OUT/STAGE/log.csv a row; `--init OUT/STAGE` goes on
from there. It prints samples/s, TFLOP/s of the networks (three times the forward pass) and the share of the
speed of a product of large matrices, measured first.
"""

import argparse
import csv
import dataclasses
import math
import os
import sys
import threading
import time

import keras
import numpy as np
from keras import ops

from experiments import common, handsegnet, lifting, posenet, recipes
from experiments.callbacks import RunError, Seeds, WatchLoss
from experiments.run_folder import export
from experiments.sources import gather

STAGES = {"handsegnet": (handsegnet, 0.3), "posenet": (posenet, 0.6), "lifting": (lifting, 0.1)}
END = 0.03  # of the time, kept for the last saving
WARM_UP = 0.05


class Pool:
    """Examples in memory, filled by a thread while batches are drawn from them.

    batches: RenderedBatches, or a dict of arrays, then all there is.  capacity: examples kept, the oldest go.
    """

    def __init__(self, batches, capacity, seed):
        self.rng, self.error, self.rendered, self.waited = np.random.default_rng(seed), None, 0, 0.0
        self.batches, self.capacity = batches, capacity
        if isinstance(batches, dict):
            self.arrays, self.rendered = batches, len(next(iter(batches.values())))
            self.capacity = self.rendered
            return
        self.arrays = None
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self):
        try:
            while True:
                batch = self.batches[0]
                count = len(next(iter(batch.values())))
                if self.arrays is None:
                    shapes = {key: (self.capacity, *value.shape[1:]) for key, value in batch.items()}
                    self.arrays = {key: np.zeros(shapes[key], value.dtype) for key, value in batch.items()}
                places = (self.rendered + np.arange(count)) % self.capacity
                for key, value in batch.items():
                    self.arrays[key][places] = value
                self.rendered += count
        except Exception as error:  # told where the batches are asked for
            self.error = error

    def draw(self, batch, least):
        """Endless batches of random examples, from when there are `least` of them."""
        while True:
            start = time.perf_counter()
            while self.rendered < least:
                self._check()
                time.sleep(0.01)
            self._check()
            chosen = self.rng.integers(0, min(self.rendered, self.capacity), batch)
            drawn = {key: value[chosen] for key, value in self.arrays.items()}
            self.waited += time.perf_counter() - start
            yield (drawn,)  # as Keras takes batches of a generator

    def _check(self):
        if self.error is not None:
            raise RunError(f"the renderer stopped: {self.error}") from self.error

    def close(self):
        if not isinstance(self.batches, dict):
            self.batches.close()


class Budget(keras.callbacks.Callback):
    """Sets the learning rate by the time, prints and logs the speed, saves, and stops when the time is over.

    end: time.time() at which all has to be saved.  flop: of the forward pass of one example.  peak: FLOP/s.
    save(logs): writes the weights.
    """

    def __init__(self, recipe, start, end, pool, flop, peak, log, save):
        super().__init__()
        self.recipe, self.start, self.end, self.pool = recipe, start, end, pool
        self.flop, self.peak, self.log, self.save, self.saving = flop, peak, log, save, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        share = min(1.0, max(0.0, (time.time() - self.start) / (self.end - self.start)))
        rate = min(share / WARM_UP, 0.5 * (1 + math.cos(math.pi * share)), 1.0) if epoch else WARM_UP
        self.model.optimizer.learning_rate = max(rate, 1e-3) * self.recipe.learning_rate
        self.epoch_start, self.waited, self.steps = time.time(), self.pool.waited, 0

    def on_train_batch_end(self, step, logs=None):
        self.steps = step + 1

    def on_epoch_end(self, epoch, logs=None):
        now = time.time()
        taken, examples = now - self.epoch_start, self.steps * self.recipe.batch
        speed = 3 * self.flop * examples / taken
        row = {key: float(value) for key, value in logs.items()} | {
            "epoch": epoch,
            "examples_per_s": round(examples / taken, 1),
            "tflops": round(speed / 1e12, 4),
            "share_of_peak": round(speed / self.peak, 4),
            "waiting_share": round((self.pool.waited - self.waited) / taken, 4),
            "rendered": self.pool.rendered,
            "minutes": round((now - self.start) / 60, 2),
        }
        print(" ".join(f"{key}={value:.5g}" for key, value in row.items()), flush=True)
        with open(self.log, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row.keys())
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
        self.save(row)
        self.saving = max(self.saving, time.time() - now)
        if time.time() + taken + 1.5 * self.saving > self.end:  # another epoch would be too long
            self.model.stop_training = True


def matrix_peak(dtype, seconds=1.0):
    """FLOP/s of a product of square matrices, the best of a few."""
    best = 0.0
    for side in (1024, 8192):
        a = ops.cast(keras.random.normal((side, side), seed=1), dtype)
        ops.convert_to_numpy(ops.matmul(a, a)[0, 0])
        start, count = time.perf_counter(), 0
        while count == 0 or (time.perf_counter() - start < seconds and count < 30):
            product = ops.matmul(a, a)
            count += 1
        ops.convert_to_numpy(product[0, 0])
        best = max(best, 2 * side**3 * count / (time.perf_counter() - start))
        if best < 5e12:  # no GPU: the larger product would take minutes
            break
    return best


def forward_flop(network, batch):
    """FLOP of the forward pass of one example, as XLA counts them before it optimises."""
    import jax

    arrays = [np.zeros((1, *shape), np.float32) for shape in batch]
    arrays = arrays if len(arrays) > 1 else arrays[0]
    trainable, other = network.trainable_variables, network.non_trainable_variables
    values = [[variable.value for variable in part] for part in (trainable, other)]
    lowered = jax.jit(lambda x: network.stateless_call(*values, x)[0]).lower(arrays)
    return float(lowered.cost_analysis()["flops"])


def poses(arguments, recipe, folder):
    """{split: dict of arrays} of poses for the lifting networks, without TensorFlow."""
    from pipelines.poses import read_poses
    from pipelines.rules import palm_from_wrist, palm_visible

    found = {}
    for path in lifting.poses(folder, arguments.people or recipe.people, recipe.seed, arguments.workers):
        read = read_poses(path)
        visible = np.array(read["visible"])
        visible[:, 0] = palm_visible(visible)
        xyz = palm_from_wrist(read["xyz"]).astype(np.float32)
        found[str(read["split"])] = {"xyz": xyz, "side": read["side"].astype(np.int32), "visible": visible}
        os.unlink(path)
    return found["training"], found["evaluation"]


def train(stage, arguments, end):
    """Trains a stage until `end`; returns the folder of its weights."""
    start, folder = time.time(), os.path.join(arguments.out, stage)
    os.makedirs(folder, exist_ok=True)
    program, _ = STAGES[stage]
    recipe = recipes.change(program.RECIPES[arguments.recipe], settings_of(program, arguments))
    recipe = recipes.with_precision(recipe)
    rate = 1e-4 if arguments.recipe == "paper" else recipe.learning_rate
    recipe = dataclasses.replace(recipe, schedule=str(rate), learning_rate=rate)
    print(f"{stage}: {recipe}", flush=True)
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    if stage == "lifting":
        training, validation = poses(arguments, recipe, folder)
        pool, shapes = Pool(training, 0, recipe.seed), [(32, 32, training["xyz"].shape[1]), (2,)]
    else:
        shared = dict(backgrounds=arguments.backgrounds, size=arguments.size)
        stream = program.stream(recipe)
        batches = stream(batch=16, seed=arguments.seed, workers=arguments.workers, **shared)
        pool = Pool(batches, arguments.pool, recipe.seed)
        few = max(1, arguments.workers // 4)
        validation = stream(batch=16, split="evaluation", seed=0, workers=few, **shared)
        validation = gather(validation, min(recipe.validation, arguments.validation))
        shapes = [(recipe.crop_size, recipe.crop_size, 3)]
    try:
        model = program.training_model(recipe)
        if arguments.init:
            common.start_from(model.network, arguments.init, stage)
        low = "float32" if recipe.precision == "float32" else recipe.precision.removeprefix("mixed_")
        peak = matrix_peak(low)
        flop = forward_flop(model.network, shapes)
        print(f"{stage}: {flop / 1e9:.3f} GFLOP forward, peak {peak / 1e12:.3f} TFLOP/s {low}", flush=True)
        model.compile(optimizer=common.optimizer(recipe), jit_compile="auto")
        log = os.path.join(folder, "log.csv")

        def save(row):
            parts = program.shipped(model.network, recipe)
            export(folder, parts, recipe, row, "rendered meanwhile", flat=True)

        callbacks = [Seeds(recipe.seed + arguments.seed), WatchLoss(folder, lambda _: [], recipe.epoch_steps)]
        callbacks += [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if recipe.ema else []
        callbacks += [Budget(recipe, start, end, pool, flop, peak, log, save)]
        least = min(arguments.pool // 8, 4096, pool.capacity) if stage != "lifting" else 1
        model.fit(
            pool.draw(recipe.batch, max(least, 1)),
            validation_data=validation,
            validation_batch_size=recipe.batch,
            epochs=10**6,
            steps_per_epoch=recipe.epoch_steps,
            callbacks=callbacks,
            verbose=0,
        )
    finally:
        pool.close()
    return folder


def settings_of(program, arguments):
    """The settings of --set, --width and --precision that the stage's recipe has."""
    known = {field.name for field in dataclasses.fields(program.Recipe)}
    wanted = list(arguments.set)
    wanted += [f"width={arguments.width}"] if arguments.width else []
    wanted += [f"precision={recipes.PRECISIONS[arguments.precision]}"] if arguments.precision else []
    return [setting for setting in wanted if setting.partition("=")[0] in known]


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder of the weights and logs")
    parser.add_argument("--minutes", type=float, required=True, help="from the start to the last file")
    parser.add_argument("--stages", default="posenet", help=f"some of {','.join(STAGES)}")
    parser.add_argument("--recipe", choices=("best", "paper"), default="best")
    parser.add_argument("--width", type=float)
    parser.add_argument("--precision", choices=recipes.PRECISIONS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipes")
    parser.add_argument("--init", help="weights to start from, as of experiments.posenet")
    parser.add_argument("--backgrounds", help="folder with photographs; made-up pictures without it")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    parser.add_argument("--size", type=int, default=320, help="pixels of the rendered pictures")
    parser.add_argument("--pool", type=int, default=60_000, help="examples kept in memory")
    parser.add_argument("--validation", type=int, default=256, help="examples at most")
    parser.add_argument("--people", type=int, default=0, help="of lifting's poses; 0: as in the recipe")
    parser.add_argument("--seed", type=int, default=0, help="another one renders other people")
    arguments = parser.parse_args(argv)
    unknown = [stage for stage in arguments.stages.split(",") if stage not in STAGES]
    if unknown:
        parser.error(f"--stages {unknown[0]}: known are {', '.join(STAGES)}")
    if arguments.minutes <= 0:
        parser.error(f"--minutes {arguments.minutes}: more than 0 expected")
    fields = {name for program, _ in STAGES.values() for name in program.Recipe.__dataclass_fields__}
    for setting in arguments.set:
        if setting.partition("=")[0] not in fields:
            parser.error(f"--set {setting}: no such key; known are {', '.join(sorted(fields))}")
    if keras.config.backend() != "jax":
        parser.error(f"Keras runs on {keras.config.backend()}; set KERAS_BACKEND=jax")
    return arguments


def main(argv=None):
    begin, arguments = time.time(), parse(argv)
    stages = arguments.stages.split(",")
    total, done = sum(STAGES[stage][1] for stage in stages), 0.0
    try:
        for stage in stages:
            done += STAGES[stage][1]
            end = begin + 60 * arguments.minutes * (1 - END) * done / total
            print(f"weights: {train(stage, arguments, end)}", flush=True)
    except (OSError, ValueError, RuntimeError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{(time.time() - begin) / 60:.2f} minutes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
