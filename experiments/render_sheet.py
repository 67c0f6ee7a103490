"""A data sheet of rendered records: a picture of each character, action and source of backgrounds.

    python -m experiments.render_sheet --data RECORDS --out FOLDER [--sources procedural blender ...]

Of all samples of both splits, one stands for each name: that which shows most of its hand, and for an action
is near the pose that it begins with.  --sources keeps to pictures before backgrounds whose names begin so,
such as those that may be passed on.  Writes characters.jpg, actions.jpg and backgrounds.jpg.  About 2 ms a
sample.
"""

import argparse
import functools
import io
import json
import os
import sys

import numpy as np
from PIL import Image, ImageDraw

from experiments.pose_diversity import pose_vectors
from hand3d.files import write_atomic
from hand3d.skeleton import NUM_KEYPOINTS, SIDES
from pipelines.records import LABELS, read_info, shard_paths
from pipelines.render import hand_pose, hand_solver
from pipelines.render.actions import ACTIONS, CONTACTS, POSES, pose_angles
from pipelines.render.body import load_body
from pipelines.render.character import CHARACTERS_TRAINING, make_character
from pipelines.render.posing import keypoints_of
from pipelines.tfrecord_io import example_class, read_tfrecord

TILE, COLUMNS, TITLE = 120, 10, 14  # pixels, tiles, pixels


def best_samples(directory, sources=()):
    """{kind: {name: (PIL image, hand (21, 2) pixels)}} for the kinds character, action and background."""
    best = {"character": {}, "action": {}, "background": {}}
    for split in sorted(read_info(directory)["splits"]):
        for path in shard_paths(directory, split):
            for payload in read_tfrecord(path):
                feature = example_class().FromString(payload).features.feature
                meta = json.loads(feature["meta"].bytes_list.value[0])
                if sources and not meta["background"].startswith(tuple(sources)):
                    continue
                _enter(best, feature, meta, split)
    chosen = {}
    for kind, found in best.items():
        chosen[kind] = {name: (_open(data), hand) for name, (_, data, hand) in sorted(found.items())}
    return chosen


def _enter(best, feature, meta, split):
    side = SIDES.index(meta["side"])
    seen = np.reshape(feature["visible"].int64_list.value, (len(SIDES), NUM_KEYPOINTS))[side].mean()
    uv = np.reshape(feature["uv"].float_list.value, (LABELS // NUM_KEYPOINTS, NUM_KEYPOINTS, 2))[side]
    size = feature["height"].int64_list.value[0]
    wide = min(np.ptp(uv, axis=0).max() / size, 0.6)
    shift = np.abs(uv.mean(0) / size - 0.5).max()
    action = meta[f"action_{meta['side']}"]
    source = meta["background"].split("-")[0].split(".")[0]
    scores = {
        "character": (f"{meta['character']} {split}", seen - 2 * abs(wide - 0.35) - shift),
        "action": (f"{action} {split}", seen - _distance(feature, side, action) / 30),
        "background": (source, seen - wide),
    }
    for kind, (name, score) in scores.items():
        if name not in best[kind] or score > best[kind][name][0]:
            best[kind][name] = score, feature["image"].bytes_list.value[0], uv


@functools.cache
def _first_pose(action):
    """(45,) pose vector of the pose that an action begins with."""
    chain = hand_pose.make_chain(make_character(load_body(), CHARACTERS_TRAINING[0]).hands)
    name = ACTIONS[action][0]
    contacts = [[CONTACTS[contact] for contact in POSES[name]["contacts"]]] * len(SIDES)
    angles = hand_solver.solve(chain, np.tile(pose_angles(name), (len(SIDES), 1)), contacts)
    keypoints = keypoints_of(hand_pose.forward(chain, angles))
    return pose_vectors(keypoints[:1], np.zeros(1, int))[0]


def _distance(feature, side, action):
    """Mean millimetres between the joints of a sample's hand and those of its action's first pose."""
    xyz = np.reshape(feature["xyz"].float_list.value, (len(SIDES), NUM_KEYPOINTS, 3))[side]
    gap = pose_vectors(xyz[None], np.array([side]))[0] - _first_pose(action)
    return np.linalg.norm(gap.reshape(-1, 3), axis=1).mean()


def _open(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def sheet(samples, crop):
    """PIL image with a tile and a title for each of {name: (image, hand)}; crop: show the hand alone."""
    rows = -(-len(samples) // COLUMNS)
    out = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + TITLE)), "white")
    draw = ImageDraw.Draw(out)
    for number, (name, (image, hand)) in enumerate(samples.items()):
        corner = (number % COLUMNS * TILE, number // COLUMNS * (TILE + TITLE))
        if crop:
            middle, side = (hand.min(0) + hand.max(0)) / 2, 1.5 * np.ptp(hand, axis=0).max()
            box = (*(middle - side / 2), *(middle + side / 2))
            tile = image.transform((TILE, TILE), Image.Transform.EXTENT, box, Image.Resampling.BICUBIC)
        else:
            tile = image.resize((TILE, TILE), Image.Resampling.LANCZOS)
        out.paste(tile, corner)
        words = name.replace(" training", "").replace(" evaluation", " *")
        draw.text((corner[0] + 2, corner[1] + TILE), words, fill="black")
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.render_sheet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, help="folder of rendered records")
    parser.add_argument("--out", required=True, help="folder for the pictures")
    parser.add_argument(
        "--sources", nargs="*", default=(), help="beginnings of names of backgrounds to keep to"
    )
    arguments = parser.parse_args(argv)
    try:
        chosen = best_samples(arguments.data, arguments.sources)
        if not chosen["action"]:
            raise ValueError(f"{arguments.data} has no sample with a background of {arguments.sources}")
        os.makedirs(arguments.out, exist_ok=True)
        for kind, samples in chosen.items():
            content = io.BytesIO()
            sheet(samples, crop=kind == "action").save(content, "JPEG", quality=85)
            write_atomic(os.path.join(arguments.out, f"{kind}s.jpg"), content.getvalue())
            print(f"{kind}s.jpg: {len(samples)}")
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
