"""Go on training a weight set on records of one's own; what they cannot teach stays as it is.

    python -m pipelines.convert csv --source PHOTOS --out data/mine
    python -m experiments.finetune --data data/mine --weights lite --run runs/mine
    hand3d predict --weights runs/mine/weights PHOTO

PoseNet learns from hands with 2D keypoints, HandSegNet from samples with masks, the lifting networks from
hands with all keypoints in 3D; networks without labels of their kind are frozen: copied.  `--freeze
stem,trunk` keeps layers whose names begin so, for sets of a few dozen pictures that look like photographs.
Scores on the evaluation split, before and after, are printed and go to RUN/scores.json; the weights of the
last step (their running average) are kept, so that nothing is chosen by that split.

On 400 rendered hands in false colours (`experiments.other_look`) the error of the first `lite` on 120 others,
of other people in other actions, falls from 20.6 to 13.3 pixels of the 96-pixel crop in 150 steps of 32, with
--set steps=150 --set epoch_steps=25 --set warmup=15 --set ema=0.95.
"""

import argparse
import dataclasses
import functools
import json
import os
import sys

import keras
import numpy as np

from experiments import common, handsegnet, lifting, posenet, recipes
from hand3d import manifest, memory
from hand3d.files import write_atomic
from hand3d.training import HandSegNetTraining, LiftingTraining, PoseNetTraining

PROGRAMS = {"posenet": posenet, "handsegnet": handsegnet, "lifting": lifting}
TRAINABLE = tuple(PROGRAMS)
STEPS = dict(steps=300, epoch_steps=50, warmup=30, ema=0.98, batch=32, limit=0)
STEPS |= dict(optimizer="adamw", learning_rate=3e-4)
WORDS = {
    "posenet": "hand with 2D keypoints",
    "handsegnet": "mask",
    "lifting": "hand with all keypoints in 3D",
}


def teachable(directory, split):
    """Number of labels for each of `TRAINABLE` in a split of records, a dict."""
    from pipelines.hands import MIN_LABELS
    from pipelines.records import LABELS, MASK_KINDS, read_records

    count = dict.fromkeys(TRAINABLE, 0)
    for sample in read_records(directory, split).as_numpy_iterator():
        hands = (2, LABELS // 2)
        count["posenet"] += int((sample["present"].reshape(hands).sum(1) >= MIN_LABELS).sum())
        count["handsegnet"] += int(sample["mask_kind"] > MASK_KINDS.index("none"))
        before = sample["present_xyz"] & (sample["xyz"][:, 2] > 0)
        count["lifting"] += int(before.reshape(hands).all(1).sum())
    return count


def recipe_of(role, graph, settings):
    """The recipe for fine-tuning a network: that of its training with fewer and smaller steps."""
    recipe = dataclasses.replace(PROGRAMS[role].RECIPES["lite"], **STEPS)
    if role == "posenet":
        size = graph.get("crop_size", recipe.crop_size)
        recipe = dataclasses.replace(recipe, crop_size=size, cut=size * 5 // 4, validation=0)
    if role == "handsegnet":
        size = graph.get("segment_size", recipe.crop_size)
        recipe = dataclasses.replace(recipe, crop_size=size, cut=size, validation=0)
    known = {field.name for field in dataclasses.fields(recipe)}
    return recipes.change(recipe, [text for text in settings if text.partition("=")[0] in known])


def setup(role, recipe, weights, arguments):
    """(model, training_data(start), validation, monitored metric) of one network."""
    from pipelines import inputs

    data, batch = arguments.data, recipe.batch
    if role == "lifting":
        network = lifting.build(recipe)
        common.start_from(network, arguments.weights, "lifting")
        model = LiftingTraining(network, lifting.views(recipe), variant=recipe.variant)
        batches = functools.partial(inputs.lifting_batches, data, batch=batch)
        return (
            model,
            lambda start: batches("training", training=True, seed=recipe.seed, start=start),
            counted(batches("evaluation", training=False)),
            "epe_mm/root_scale",
        )
    sizes = dict(side=recipe.cut, crop_size=recipe.crop_size, batch=batch)
    if role == "posenet":
        augment = common.augmentation(recipe, recipe.reach)
        losses = recipes.pick(recipe, "loss sigma_cells occluded_weight side_weight")
        model = PoseNetTraining(weights[role], augment, **losses)
        batches = functools.partial(inputs.posenet_batches, data, reach=recipe.reach, **sizes)
    else:
        options = recipes.pick(recipe, "crop_factor absent")
        model = HandSegNetTraining(weights[role], common.augmentation(recipe, reach=1.0, **options))
        batches = functools.partial(inputs.handsegnet_batches, data, zooms=recipe.zooms, **sizes)
    pictures = dict(backgrounds=arguments.backgrounds, background_count=300)
    return (
        model,
        lambda start: batches("training", training=True, seed=recipe.seed, start=start, **pictures),
        counted(batches("evaluation", training=False).cache()),
        {"posenet": "epe_px", "handsegnet": "iou"}[role],
    )


def counted(validation):
    """The dataset, which then knows its length: Keras warns at the end of one that does not."""
    import tensorflow as tf

    length = validation.reduce(np.int64(0), lambda count, _: count + 1)
    return validation.apply(tf.data.experimental.assert_cardinality(length))


def tune(role, weight_set, arguments):
    """Fine-tunes one network; returns {role: network} of what it made and its scores, a dict."""
    recipe = recipe_of(role, weight_set.entry.get("graph", {}), arguments.set)
    recipe = recipes.with_precision(recipe, os.path.join(arguments.run, role))
    memory.keep()
    keras.utils.set_random_seed(recipe.seed)
    keras.config.set_dtype_policy(recipe.precision)
    weights = manifest.load(weight_set)
    model, training_data, validation, metric = setup(role, recipe, weights, arguments)
    frozen = common.freeze(model.network, arguments.freeze, "--freeze ")
    model.compile(jit_compile=False)
    before = model.evaluate(validation, return_dict=True, verbose=0)
    print(f"{role}: {metric} {before[metric]:.4g} before; {frozen} layers frozen", flush=True)
    run = argparse.Namespace(run=os.path.join(arguments.run, role), init=None, program="experiments.finetune")
    mode = "max" if metric == "iou" else "min"
    options = dict(monitor=f"val_{metric}", mode=mode, role=role)
    common.train(model, recipe, run, training_data, validation, **options)
    after = model.evaluate(validation, return_dict=True, verbose=0)
    print(f"{role}: {metric} {after[metric]:.4g} after {recipe.steps} steps", flush=True)
    scores = {
        when: {key: round(float(value), 5) for key, value in values.items()}
        for when, values in (("before", before), ("after", after))
    }
    made = {role: model.network}
    if role == "lifting":
        made = {
            "poseprior": model.network.get_layer("PosePrior"),
            "viewpoint": model.network.get_layer("ViewpointNet"),
        }
    return made, scores | {"steps": recipe.steps}


def save(weight_set, networks, scores, arguments):
    """Writes the weight set RUN/weights: the tuned networks, and the others as they were."""
    out = os.path.join(arguments.run, "weights")
    os.makedirs(out, exist_ok=True)
    entry = json.loads(json.dumps(weight_set.entry))
    for role, network in (manifest.load(weight_set) | networks).items():
        old = weight_set.entry["networks"][role]
        builder = old["builder"], old["config"]
        entry["networks"][role] = manifest.save_network(network, out, f"{role}.h5", *builder)
    entry["scores"] = {"finetuned": scores}
    entry["data"] = {"finetuned_from": weight_set.name, "before": weight_set.entry.get("data")}
    entry["licence"] = f"{weight_set.entry.get('licence')}; and that of the pictures it was fine-tuned on"
    manifest.write_manifest(out, {f"{weight_set.name}_finetuned": entry})
    return out


def run(arguments):
    """The whole program; returns the scores, a dict of `before` and `after` for each network trained."""
    weight_set = manifest.find(arguments.weights)
    labels = {split: teachable(arguments.data, split) for split in ("training", "evaluation")}
    wanted = arguments.networks.split(",") if arguments.networks else TRAINABLE
    fields = {field.name for program in PROGRAMS.values() for field in dataclasses.fields(program.Recipe)}
    for setting in arguments.set:
        if setting.partition("=")[0] not in fields:
            raise ValueError(f"--set {setting}: no such key; known are {', '.join(sorted(fields))}")
    unknown = sorted(set(wanted) - set(TRAINABLE))
    if unknown:
        raise ValueError(f"--networks {unknown[0]}: known are {', '.join(TRAINABLE)}")
    possible = [role for role in TRAINABLE if all(labels[split][role] for split in labels)]
    for role in TRAINABLE:
        if role not in possible:
            print(f"{role}: frozen; no {WORDS[role]} in both splits of {arguments.data}")
    roles = [role for role in wanted if role in possible]
    if not roles:
        raise ValueError(f"{arguments.data}: nothing there to train {' or '.join(wanted)} on")
    os.makedirs(arguments.run, exist_ok=True)
    networks, scores = {}, {}
    for role in roles:
        made, scores[role] = tune(role, weight_set, arguments)
        networks |= made
    scores["labels"] = labels
    path = os.path.join(arguments.run, "scores.json")
    write_atomic(path, (json.dumps(scores, indent=1) + "\n").encode())
    keras.config.set_dtype_policy("float32")
    print(f"weights: {save(weight_set, networks, scores, arguments)}")
    return scores


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="records with the splits training and evaluation")
    parser.add_argument("--weights", default="lite", help="weight set to start from, by name or folder")
    parser.add_argument("--run", required=True, help="folder of this run; an unfinished one is resumed")
    parser.add_argument(
        "--networks", help="some of posenet,handsegnet,lifting; all that have labels by default"
    )
    parser.add_argument("--freeze", default="", help="beginnings of names of layers to keep, with commas")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipes")
    parser.add_argument("--backgrounds", help="folder with photographs; made-up pictures without it")
    arguments = parser.parse_args(argv)
    try:
        run(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
