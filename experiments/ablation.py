"""Does what `best` adds to plain training help?  Average of the weights, clipping, warm-up, a stop, Muon.

    python -m experiments.ablation --data RECORDS --poses POSES.npz,POSES.npz --run RUN [--seeds 0 1]

Trains every stage with all that its recipe has, then without each, on the same examples and from the same
seeds, and compares what the evaluation split says at the end.  A stop on a plateau would have ended the first
of these early: what it had reached by then is its row.  Trainings run side by side and go on where they were.
Networks, pictures and schedules are small ones, see `SETTINGS`; lengths of warm-up and average are about the
share of the training that they have in `best`.
"""

import argparse
import importlib
import sys
import time

import numpy as np

from experiments import results, run_folder, side_by_side
from experiments.callbacks import on_plateau
from pipelines.records import read_info

PROGRAMS = {stage: f"experiments.{stage}" for stage in ("posenet", "handsegnet", "lifting")}
# stage -> what makes it small; steps, and of these an epoch, and warm-up
SETTINGS = {
    "posenet": (
        *("width=0.5", "stages=1", "crop_size=64", "cut=96", "roll=0.4", "roll_any=0.1"),
        *("batch=32", "steps=800", "epoch_steps=40", "warmup=24", "validation=512"),
    ),
    "handsegnet": (
        *("width=0.5", "crop_size=96", "cut=128"),
        *("batch=32", "steps=800", "epoch_steps=40", "warmup=24", "validation=512"),
    ),
    "lifting": ("batch=32", "steps=500", "epoch_steps=25", "warmup=15"),
}
ALL = ("ema=0.97", "clip=1")  # and the warm-ups of above
PLATEAU = 3  # epochs
VARIANTS = {
    "all": (),
    "no average of the weights": ("ema=0",),
    "no clipping": ("clip=0",),
    "no warm-up": ("warmup=0",),
    "none of the three": ("ema=0", "clip=0", "warmup=0"),
    "AdamW": ("optimizer=adamw", "learning_rate=3e-3"),
    "AdamW, a third of the rate": ("optimizer=adamw", "learning_rate=1e-3"),
}
STOPPED = f"all, stopped after {PLATEAU} epochs without a better one"
COLUMNS = {  # title, digits
    "posenet": ("PoseNet, mean error, px of the crop", 2),
    "handsegnet": ("HandSegNet, IoU", 3),
    "lifting": ("lifting, mean error, mm", 2),
}


def trainings(arguments, identities):
    """{name: (program, arguments)} of `side_by_side.train`, and {(stage, variant, seed): run folder}.

    identities: {what --data of a training is: hash of its training split}.
    """
    made, runs = {}, {}
    for seed in arguments.seeds:
        for stage in arguments.stages:
            data, backgrounds = arguments.data, arguments.backgrounds
            if stage == "lifting":
                data, backgrounds = arguments.poses, None
            for variant, changed in VARIANTS.items():
                settings = (*SETTINGS[stage], *ALL, *changed, f"seed={seed}")
                run, options = side_by_side.options_of(
                    *(arguments.run, stage, data, identities[data], settings, backgrounds)
                )
                made[f"{stage}, {variant}, seed {seed}"] = PROGRAMS[stage], options
                runs[stage, variant, seed] = run
    return made, runs


def end(run, stage, stopped=False):
    """(value that the stage is watched by, share of the epochs) at the end of a run; stopped: on a plateau.

    A stop leaves the best value so far, that of the weights that are kept.
    """
    mode = importlib.import_module(PROGRAMS[stage]).OPTIONS["mode"]
    values = [row[monitor(stage)] for row in run_folder.read_log(run)]
    if not stopped:
        return values[-1], 1.0
    seen = next((n for n in range(1, len(values)) if on_plateau(values[:n], mode, PLATEAU)), len(values))
    return (min if mode == "min" else max)(values[:seen]), seen / len(values)


def monitor(stage):
    """Column of the log that says how good the stage is."""
    return importlib.import_module(PROGRAMS[stage]).OPTIONS["monitor"]


def compare(arguments):
    """The result of the command line's arguments, and no figures."""
    start = time.time()
    samples = read_info(arguments.data)["splits"].get("training", {}).get("samples", 0)
    identity = results.data_identity(arguments.data, "training", samples)
    poses = results.data_identity(arguments.poses.split(","), "training", 0)
    identities = {arguments.poses: poses["sha256"], arguments.data: identity["sha256"]}
    made, runs = trainings(arguments, identities)
    side_by_side.train(made, arguments.jobs)
    columns, rows = [], []
    for stage in arguments.stages:
        columns.append(results.column(stage, *COLUMNS[stage]))
        columns.append(results.column(f"{stage}_gain", "against all, by seed", 0))
    for variant in (*VARIANTS, STOPPED):
        stopped, values = variant == STOPPED, {}
        for stage in arguments.stages:
            whole = [end(runs[stage, "all", seed], stage) for seed in arguments.seeds]
            trained = "all" if stopped else variant
            ends = [end(runs[stage, trained, seed], stage, stopped) for seed in arguments.seeds]
            digits = COLUMNS[stage][1]
            off = [f"{one[0] - base[0]:+.{digits}f}" for one, base in zip(ends, whole, strict=True)]
            values[stage] = float(np.mean([value for value, _ in ends]))
            values[f"{stage}_gain"] = "" if variant == "all" else ", ".join(off)
            if stopped:
                values[f"{stage}_gain"] += f" ({np.mean([share for _, share in ends]):.0%} of the steps)"
        rows.append(results.row(variant, values))
    result = results.make(
        "ablation",
        "What averaging, clipping and warm-up are worth",
        columns,
        rows,
        data=identity,
        seed=arguments.seeds[0],
        options={"seeds": arguments.seeds, "settings": {key: list(one) for key, one in SETTINGS.items()}},
        notes=[f"Validation at the end, mean of seeds {', '.join(map(str, arguments.seeds))}."],
        seconds=time.time() - start,
    )
    return result, {}


def parse(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="records with masks, both splits")
    parser.add_argument("--poses", help="files of pipelines.poses, both splits, for lifting; else --data")
    parser.add_argument("--run", required=True, help="folder of the trainings; an unfinished one goes on")
    parser.add_argument("--stages", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--backgrounds", help="folder with photographs; made-up pictures without it")
    side_by_side.add_argument(parser)
    results.add_arguments(parser)
    arguments = parser.parse_args(argv)
    arguments.poses = arguments.poses or arguments.data
    return arguments


def main(argv=None):
    return results.write(compare, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
