"""Hand poses without pictures, for the lifting networks.

    python -m pipelines.poses --out FILE.npz --split training --count 12000 --seed 0 [--independent 0.3]

Draws people as `pipelines.render` does - another character every few people - with both hands in an action,
and looks at each hand through a camera of its own.  Only keypoints are computed: about 10 ms of one core a
person.  The result depends on --split, --count, --seed and --independent alone.

A file holds N hands of one split:

| array     | type              | meaning                                                               |
|-----------|-------------------|-----------------------------------------------------------------------|
| xyz       | (N, 21, 3) float32 | keypoints in metres, camera axes (x right, y down, z away), root = wrist |
| side      | (N,) int32        | 0 left, 1 right                                                       |
| visible   | (N, 21) bool      | all true: nothing hides a hand here                                   |
| action    | (N,) str          | name of the action that the hand plays                                |
| character | (N,) int64        | seed of `pipelines.render.character.make_character`                   |
| split     | () str            | "training" or "evaluation"; they share neither actions nor characters |
"""

import argparse
import functools
import io
import multiprocessing
import os
import sys

import numpy as np

from hand3d.files import write_atomic
from hand3d.skeleton import HAND_SLICES, NUM_KEYPOINTS
from pipelines.progress import Progress
from pipelines.render.hand_samples import INDEPENDENT
from pipelines.render.options import add_independent

SPLITS = ("training", "evaluation")
CHUNK = 64  # people whose fingers are solved together
PEOPLE_A_CHARACTER = 8
FIRST_CHARACTER = 10_000  # above those of the rendered splits; even for training, odd for evaluation
SEED_STRIDE = 10_000_000
FRAME = 320  # pixels; cameras are drawn as for a picture of this size
NEAREST = 0.05  # metres from the camera


def draw_chunk(split, seed, start, stop, independent=INDEPENDENT):
    """Hands of the people `start` to `stop` - 1: dict of xyz, side, action and character as in the module.

    independent: as of `hand_samples.sample_hand`.
    """
    from pipelines.render.actions import sample_actions
    from pipelines.render.camera import sample_camera
    from pipelines.render.posing import pose_keypoints

    people = []
    for number in range(start, stop):
        rng = np.random.default_rng([seed, SPLITS.index(split), number, 3127])
        character = _character(character_seed(split, seed, number))
        actions = sample_actions(rng, split)
        people.append((character, *actions, rng))
    hands = {"xyz": [], "side": [], "action": [], "character": []}
    posed = pose_keypoints(people, independent)
    for (character, *actions, rng), keypoints in zip(people, posed, strict=True):
        eyes = character.heads[character.body.bone("head")] + (0.0, 0.1, 0.1)
        for side, part in enumerate(HAND_SLICES.values()):
            hand = keypoints[part].astype(np.float64)
            xyz = sample_camera(rng, hand, eyes, FRAME).to_camera(hand)
            if xyz[:, 2].min() > NEAREST:
                for key, value in zip(hands, (xyz, side, actions[side], character.seed), strict=True):
                    hands[key].append(value)
    return hands


def character_seed(split, seed, number):
    """Seed of the character that person `number` is."""
    count = seed * SEED_STRIDE + number // PEOPLE_A_CHARACTER
    return FIRST_CHARACTER + 2 * count + SPLITS.index(split)


@functools.lru_cache(maxsize=4)
def _character(seed):
    from pipelines.render.body import load_body
    from pipelines.render.character import make_character

    return make_character(load_body(), seed)


def write_poses(path, hands, split):
    """Writes the arrays of the module's table to `path` (.npz), atomically."""
    count = len(hands["side"])
    content = io.BytesIO()
    np.savez_compressed(
        content,
        xyz=np.asarray(hands["xyz"], np.float32).reshape(count, NUM_KEYPOINTS, 3),
        side=np.asarray(hands["side"], np.int32),
        visible=np.ones((count, NUM_KEYPOINTS), bool),
        action=np.asarray(hands["action"], str),
        character=np.asarray(hands["character"], np.int64),
        split=np.array(split),
    )
    write_atomic(path, content.getvalue())


def read_poses(path):
    """Dict of the arrays of a file of poses, `split` a str; ValueError naming the file if it is none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            poses = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; make it with python -m pipelines.poses") from None
    except Exception as error:  # a damaged zip file raises almost anything
        raise ValueError(f"{path} is no readable .npz file ({error}); write it again") from error
    missing = {"xyz", "side", "visible", "split"} - set(poses)
    if missing:
        raise ValueError(f"{path} has no {sorted(missing)}; it is not a file of python -m pipelines.poses")
    count = len(poses["side"])
    for key, shape in (("xyz", (count, NUM_KEYPOINTS, 3)), ("visible", (count, NUM_KEYPOINTS))):
        if poses[key].shape != shape:
            raise ValueError(f"{path}: {key} has shape {poses[key].shape}, expected {shape}")
    return poses | {"split": str(poses["split"])}


def run(arguments):
    chunks = [
        (arguments.split, arguments.seed, start, min(start + CHUNK, arguments.count), arguments.independent)
        for start in range(0, arguments.count, CHUNK)
    ]
    hands, progress = {}, Progress(arguments.count, sys.stderr, unit="people")
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool, progress:
        for done, chunk in enumerate(pool.imap(_draw_chunk, chunks), 1):
            for key, values in chunk.items():
                hands.setdefault(key, []).extend(values)
            progress.show(min(done * CHUNK, arguments.count))
    write_poses(arguments.out, hands, arguments.split)


def _draw_chunk(chunk):
    return draw_chunk(*chunk)


def parse(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.poses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="file to write, ending in .npz")
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--count", type=int, required=True, help="people; each has two hands")
    parser.add_argument("--seed", type=int, default=0)
    add_independent(parser)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args(argv)
    if not arguments.out.endswith(".npz"):
        parser.error(f"--out must end in .npz, got {arguments.out}")
    if not os.path.isdir(os.path.dirname(arguments.out) or "."):
        parser.error(f"--out: the folder {os.path.dirname(arguments.out)} does not exist")
    if not 0 < arguments.count < SEED_STRIDE:
        parser.error(f"--count must be between 1 and {SEED_STRIDE - 1}, got {arguments.count}")
    for name, least in (("seed", 0), ("workers", 1)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(arguments, name)}")
    return arguments


def main(argv=None):
    arguments = parse(argv)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # small matrices: threads only get in the way
        os.environ.setdefault(name, "1")
    try:
        run(arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
