"""Make a weight set out of finished runs: fold, store in float16, describe in the manifest.

    python -m experiments.assemble --name lite --data RECORDS[,RECORDS...] --handsegnet RUN \\
        --posenet RUN[,RUN...] --lifting RUN [--lifting-data TEXT] [--hand-model POSES.npz] [--out weights]

Runs are folders of `experiments.handsegnet`, `.posenet` and `.lifting`; of several, separated by commas, each
started from the one before, the last one's `last.weights.h5` is taken and all recipes go into the manifest.
`python -m experiments.evaluate --weights NAME --out FILE` and `--scores FILE` here add the scores.  Other
sets in the manifest are kept.
"""

import argparse
import dataclasses
import json
import os
import sys

from experiments import hand_model, handsegnet, lifting, posenet, recipes
from experiments.baselines.data import read_poses
from hand3d import manifest
from hand3d.networks.standardised import fold
from hand3d.pictorial import PEAKS

LICENCE = "Apache-2.0; trained on pictures rendered by this repository alone"


def trained(program, run):
    """(network, recipe) of a run folder, as trained."""
    recipe = recipes.read_recipe(run, program.Recipe)
    network = program.build(recipe)
    network.load_weights(os.path.join(run, "last.weights.h5"))
    return network, recipe


def averaged(program, runs, share):
    """As `trained`, of the last run; its weights count `share`, those of the run before it the rest.

    A run that went on with other data keeps more of what it knew, and does better on pictures unlike either,
    half-way back (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).  ValueError where
    the two runs' networks differ.
    """
    network, recipe = trained(program, runs[-1])
    if share == 1:
        return network, recipe
    before, _ = trained(program, runs[-2])
    if [weight.shape for weight in before.weights] != [weight.shape for weight in network.weights]:
        raise ValueError(f"{runs[-1]} and {runs[-2]}: networks of one kind expected, to average them")
    mixed = zip(network.get_weights(), before.get_weights(), strict=True)
    network.set_weights([share * new + (1 - share) * old for new, old in mixed])
    return network, recipe


def folded(program, runs, share=1.0):
    """(network, recipe) of the last of some runs with plain convolutions; share: see `averaged`."""
    network, recipe = averaged(program, runs, share)
    plain = program.build(recipe, folded=True)
    return (fold(network, plain) if recipe.network.endswith("_lite") else network), recipe


def history(program, runs):
    """Recipes of the runs that a network went through, each with the number of steps that it took in fact."""
    phases = []
    for run in runs:
        recipe = recipes.read_recipe(run, program.Recipe)
        with open(os.path.join(run, "log.csv"), encoding="utf-8") as file:
            epochs = sum(1 for line in file if line.strip()) - 1  # less the header
        phases.append(dataclasses.asdict(recipe) | {"steps_done": epochs * recipe.epoch_steps})
    return phases


def describe(folder):
    """What the manifest says of a folder of records: samples of each split and how they were made."""
    with open(os.path.join(folder, "info.json"), encoding="utf-8") as file:
        info = json.load(file)
    return {
        split: {"samples": found["samples"], "generator": found.get("generator")}
        for split, found in info["splits"].items()
    }


def records(arguments):
    """`describe` of every folder of --data, each with the revision of the renderer that made it."""
    folders = arguments.data.split(",")
    revisions = arguments.revision.split(",") if arguments.revision else [None] * len(folders)
    if len(revisions) != len(folders):
        raise ValueError(
            f"--revision {arguments.revision}: {len(folders)} expected, one for each folder of --data"
        )
    return [
        describe(folder) | ({"renderer_revision": revision} if revision else {})
        for folder, revision in zip(folders, revisions, strict=True)
    ]


def assemble(arguments):
    """Writes the files of the set; returns its manifest entry."""
    runs = {key: getattr(arguments, key).split(",") for key in ("handsegnet", "posenet", "lifting")}
    data = {"records": records(arguments)}
    segment, segment_recipe = folded(handsegnet, runs["handsegnet"])
    if arguments.posenet_share < 1 and len(runs["posenet"]) < 2:
        raise ValueError(
            "--posenet-share: two runs at least are needed in --posenet, to average the last two"
        )
    pose, pose_recipe = folded(posenet, runs["posenet"], arguments.posenet_share)
    lift, _ = trained(lifting, runs["lifting"][-1])
    made = {
        "handsegnet": (segment, segment_recipe.network, {"width": segment_recipe.width}),
        "posenet": (pose, pose_recipe.network, {"width": pose_recipe.width}),
        "poseprior": (lift.get_layer("PosePrior"), "poseprior", {}),
        "viewpoint": (lift.get_layer("ViewpointNet"), "viewpoint", {}),
    }
    lite = pose_recipe.network == "posenet_lite"
    if lite:
        made["posenet"][2].update(recipes.pick(pose_recipe, "stages levels"))
    if arguments.hand_model:
        learnt = hand_model.learn(read_poses(tuple(arguments.hand_model.split(","))))
        fit, config = hand_model.network(learnt, pose_recipe.crop_size)
        made["hand_fit"] = (fit, "hand_fit", config)
        names = [os.path.basename(os.path.abspath(path)) for path in arguments.hand_model.split(",")]
        data["hand_model"] = "experiments.hand_model of " + ", ".join(names)
    programs = {"handsegnet": handsegnet, "posenet": posenet, "lifting": lifting}
    return {
        "networks": {
            role: manifest.save_network(network, arguments.out, f"{arguments.name}/{role}.h5", *built)
            for role, (network, *built) in made.items()
        },
        "graph": {
            "segment_size": segment_recipe.crop_size,
            "crop_size": pose_recipe.crop_size,
            "map_mode": "probability" if lite else "linear",
            "reencode": lite,
            "mirror": lite,
            "peaks": PEAKS if lite else 1,
            "candidates": 2 if lite else 1,
        },
        "min_score": arguments.min_score,
        "recipe": {key: history(program, runs[key]) for key, program in programs.items()}
        | {"posenet_share": arguments.posenet_share}
        | ({"note": arguments.note} if arguments.note else {}),
        "data": data | ({"lifting": arguments.lifting_data} if arguments.lifting_data else {}),
        "seed": pose_recipe.seed,
        "scores": {},
        "licence": LICENCE,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", required=True, help="of the set")
    parser.add_argument("--out", default="weights", help="folder of the manifest")
    parser.add_argument("--data", help="records that the image networks were trained on, separated by commas")
    parser.add_argument("--revision", help="git revisions of the renderer that made them")
    for program in ("handsegnet", "posenet", "lifting"):
        parser.add_argument(f"--{program}", help="run folder, or several of one training")
    parser.add_argument(
        "--posenet-share",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="average PoseNet's last two runs, the last one counting so much (%(default)s)",
    )
    parser.add_argument("--lifting-data", help="how the poses for lifting were made, for the manifest")
    parser.add_argument(
        "--hand-model",
        metavar="POSES",
        help="learn a hand model from these poses, and fit it to the keypoints",
    )
    parser.add_argument("--note", help="what the recipes leave unsaid, for the manifest")
    parser.add_argument("--min-score", type=float, default=0.3, help="hands below it are left out")
    parser.add_argument("--scores", help="JSON of experiments.evaluate: adds it and does nothing else")
    arguments = parser.parse_args(argv)
    try:
        enter(arguments, parser)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def enter(arguments, parser):
    """Makes the set, or adds its scores, and enters it in the manifest."""
    os.makedirs(arguments.out, exist_ok=True)
    known = os.path.exists(os.path.join(arguments.out, manifest.MANIFEST))
    sets = manifest.read_manifest(arguments.out)["sets"] if known else {}
    if arguments.scores:
        if arguments.name not in sets:
            parser.error(f"--name {arguments.name}: not in the manifest of {arguments.out}")
        with open(arguments.scores, encoding="utf-8") as file:
            sets[arguments.name]["scores"].update(json.load(file))
    else:
        missing = [key for key in ("data", "handsegnet", "posenet", "lifting") if not getattr(arguments, key)]
        if missing:
            parser.error("missing: " + ", ".join(f"--{key}" for key in missing))
        if not 0 < arguments.posenet_share <= 1:
            parser.error(f"--posenet-share {arguments.posenet_share}: a number above 0, at most 1, expected")
        sets[arguments.name] = assemble(arguments)
    manifest.write_manifest(arguments.out, sets)


if __name__ == "__main__":
    sys.exit(main())
