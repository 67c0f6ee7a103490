"""PoseNet: 21 score maps from a hand crop (paper sections 4.2 and 5.1; PAPER.md 1.2 and 4).

    python -m experiments.posenet --data RECORDS|render --run RUN [--recipe best|paper] [--set key=value]

RECORDS is a folder made by `pipelines.render`; with `render` the pictures are made while it trains.  `best`
trains the small network on rendered hands with new backgrounds, by the cross-entropy over positions; `paper`
is the published network, loss, schedule and augmentation (without CPM's weights, which are not to be had).

What options add to plain training (`experiments.ablation`: half the width, crops of 64 pixels, 800 steps of
32, seeds 0 and 1), mean error on the evaluation split at the end, pixels of the crop:

    all: 11.04, 10.97; without the average of the weights 11.06, 10.91, clipping 10.96, 10.66, warm-up 11.04,
    11.02, all three 11.13, 10.77; stopped after 3 epochs without a better one: never stopped

That is with AdamW at 1e-3.  By optimizer and learning rate, seed 0, without clipping:

    AdamW at 1e-3 10.79, 3e-3 10.13, 8e-3 10.49; Muon at 1e-3 10.50, 4e-3 9.25, 8e-3 9.16, 16e-3 9.36

So `best` takes Muon at 4e-3, does not clip, and warms up.  The average makes no difference that two seeds
could show.
"""

import dataclasses
import functools

from experiments import common, devices, recipes
from hand3d import networks
from hand3d.networks.lite import posenet_lite
from hand3d.networks.standardised import fold
from hand3d.training import PoseNetTraining


@dataclasses.dataclass(frozen=True)
class Recipe:
    network: str = "posenet_lite"  # or "posenet", the published one
    width: float = 1.0
    stages: int = 2
    levels: int = 2
    crop_size: int = 128
    batch: int = 64
    steps: int = 20_000
    epoch_steps: int = 100
    loss: str = "position"
    sigma_cells: float = 1.0
    occluded_weight: float = 0.5
    side_weight: float = 0.2
    optimizer: str = "adamw"  # or "muon"
    schedule: str = "cosine"
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 1e-4
    clip: float = 0.0
    ema: float = 0.998
    plateau: int = 0  # epochs without a better validation after which it stops; 0: never
    precision: str = "auto"  # see `recipes.with_precision`
    cut: int = 160  # side of the pictures kept in memory
    reach: float = 1.6  # of the cut, in boxes
    limit: int = 0  # hands, 0 for all
    validation: int = 512  # hands
    replace: float = 0.6
    colour: float = 1.0
    pale: float = 0.0  # share of the pictures whose colours are drawn towards grey
    local_contrast: float = 0.0  # largest gain of the contrast to what is near
    roll: float = 0.6
    roll_any: float = 0.3
    upright: float = 0.0  # share of the crops in which the hand points up but for the roll
    scale: tuple = (0.75, 1.35)
    shift: float = 0.15
    mirror: float = 0.5
    behind: float = 0.25
    front: float = 0.15
    blur: float = 1.5
    noise: float = 0.05
    frozen: str = ""  # beginnings of the names of layers that keep their weights, separated by commas
    seed: int = 0


RELEASED = """\
the released script never advances its schedule (PAPER.md, T1): --set schedule=1e-4 trains as it does"""

BEST = Recipe(optimizer="muon", learning_rate=4e-3)
RECIPES = {
    "best": BEST,
    "lite": BEST,
    "paper": Recipe(
        network="posenet",
        stages=3,
        crop_size=256,
        cut=320,
        batch=8,
        steps=30_000,
        epoch_steps=500,
        loss="paper",
        schedule="1e-4:10000,1e-5:20000,1e-6",
        weight_decay=0.0,
        clip=0.0,
        ema=0.0,
        precision="float32",
        replace=0.0,
        colour=0.0,
        roll=0.0,
        roll_any=0.0,
        mirror=0.0,
        behind=0.0,
        front=0.0,
        blur=0.0,
        noise=0.0,
        scale=(0.8, 1.0),
        shift=0.1,
    ),
}


def build(recipe, folded=False):
    """The network of a recipe; weight-standardised unless `folded`."""
    if recipe.network == "posenet_lite":
        return posenet_lite(recipe.width, recipe.stages, recipe.levels, folded=folded)
    if recipe.network == "posenet":
        return networks.posenet(width=recipe.width)
    raise ValueError(f"--set network={recipe.network}: posenet_lite or posenet expected")


def shipped(network, recipe):
    """{role: (network, builder, config)} as `manifest.save_network` takes it."""
    config = {"width": recipe.width}
    if recipe.network == "posenet_lite":
        network = fold(network, build(recipe, folded=True))
        config |= recipes.pick(recipe, "stages levels")
    return {"posenet": (network, recipe.network, config)}


def training_model(recipe):
    """The model that `fit` trains."""
    losses = recipes.pick(recipe, "loss sigma_cells occluded_weight side_weight")
    network = build(recipe)
    common.freeze(network, recipe.frozen)
    return PoseNetTraining(
        network, common.augmentation(recipe, recipe.reach, upright=recipe.upright), **losses
    )


def stream(recipe):
    """`pipelines.stream.posenet_stream` with the sizes of the recipe; imports no TensorFlow."""
    from pipelines.stream import posenet_stream

    return functools.partial(posenet_stream, side=recipe.cut, **recipes.pick(recipe, "reach crop_size"))


def batches(recipe):
    """`pipelines.inputs.posenet_batches` with the sizes of the recipe."""
    from pipelines.inputs import posenet_batches

    return functools.partial(
        posenet_batches, side=recipe.cut, **recipes.pick(recipe, "reach crop_size batch")
    )


OPTIONS = dict(monitor="val_epe_px", mode="min", role="posenet")


def main(argv=None):
    arguments, recipe = recipes.start(RECIPES, __doc__, argv, "experiments.posenet")
    if arguments.recipe == "paper":
        print(RELEASED)
    with recipes.plain_errors(), devices.scope(arguments.devices, recipe.batch):
        model = training_model(recipe)
    source = None if arguments.data == "render" else batches(recipe)
    ship = functools.partial(shipped, recipe=recipe)
    common.train_on_pictures(model, recipe, arguments, source, stream(recipe), shipped=ship, **OPTIONS)


if __name__ == "__main__":
    main()
