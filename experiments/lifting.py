"""Lifting: 3D coordinates from score maps (paper section 4.3 and Table 2; PAPER.md 1.6 and 4).

    python -m experiments.lifting --data SOURCE[,SOURCE...] --run runs/lifting [--set variant=direct]

A source is a folder of records, whose images are not read, or a file of `pipelines.poses` (.npz); each gives
what it has of the training and of the evaluation split.  Trains in made-up views (`hand3d.views`), validates
in the views as they are.  `lite` uses the published network, `proposed`, with a larger batch and learning
rate; `paper` is the published schedule.
"""

import dataclasses

from experiments import common, recipes
from hand3d import networks
from hand3d.training import LiftingTraining
from hand3d.views import Views


@dataclasses.dataclass(frozen=True)
class Recipe:
    variant: str = "proposed"
    dropout: bool = False  # off in the released training too (PAPER.md, fact T2)
    batch: int = 64
    steps: int = 12_000
    epoch_steps: int = 500
    schedule: str = "cosine"
    learning_rate: float = 1e-3
    warmup: int = 300
    weight_decay: float = 1e-5
    clip: float = 1.0
    ema: float = 0.999
    precision: str = "float32"
    limit: int = 0  # hands, 0 for all
    any_view: float = 0.5
    turn: float = 0.4
    roll: float = 0.6
    off_axis: float = 0.2
    scale: tuple = (0.8, 1.3)
    shift: float = 0.12
    noise: float = 2.5
    gross: float = 0.02
    proportions: float = 0.05
    seed: int = 0


RECIPES = {
    "lite": Recipe(),
    "paper": Recipe(
        batch=8,
        steps=80_000,
        epoch_steps=1000,
        schedule="1e-5:60000,1e-6",
        weight_decay=0.0,
        clip=0.0,
        ema=0.0,
        any_view=0.0,
        turn=0.0,
        roll=0.0,
        scale=(0.83, 1.0),
        shift=0.08,
        gross=0.0,
        proportions=0.0,
    ),
}


def build(recipe):
    return networks.lifting(recipe.variant, dropout=recipe.dropout)


def views(recipe):
    names = "any_view turn roll off_axis scale shift noise gross proportions seed"
    return Views(**recipes.pick(recipe, names))


def main(argv=None):
    arguments, recipe = recipes.start(RECIPES, __doc__, argv)
    from pipelines.inputs import lifting_batches

    sources = arguments.data.split(",")
    with recipes.plain_errors():
        network = build(recipe)
        validation = lifting_batches(sources, "evaluation", training=False, batch=256)
    model = LiftingTraining(network, views(recipe), variant=recipe.variant)

    def training_data(seed):
        changing = dict(seed=seed, limit=recipe.limit or None)
        return lifting_batches(sources, "training", training=True, batch=recipe.batch, **changing)

    options = dict(monitor="val_epe_mm/root_scale", mode="min", role="lifting")
    common.train(model, recipe, arguments, training_data, validation, **options)


if __name__ == "__main__":
    main()
