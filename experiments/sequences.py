"""Short rendered clips of one hand, still or moving, with the keypoints of every frame.

    python -m experiments.sequences --out FILE.npz [--still 6] [--moving 2] [--frames 40] [--backgrounds DIR]

A clip is a sample of the evaluation split seen by a camera that stands still, or that swings so that the hand
goes to and fro across the picture once in 1.5 seconds, up to 7 pixels of 320 a frame.  Each frame has noise
of its own, as of a small camera's sensor, and is compressed.  The same arguments give the same clips.
"""

import argparse
import dataclasses
import io
import sys

import numpy as np
from PIL import Image

from hand3d.files import write_atomic
from hand3d.skeleton import HAND_SLICES, SIDES

RATE, PERIOD = 30.0, 45  # frames a second, frames a swing
NOISE, QUALITY = 4.0, (60, 85)  # standard deviation in steps of 255; JPEG
FOV_SHARE = 0.16  # amplitude of the swing by the picture's width


def clip(renderer, seed, frames, moving):
    """images (F, S, S, 3) uint8, and uv (F, 21, 2) pixels, root = wrist, of the hand in view."""
    from pipelines.render import scene
    from pipelines.render.actions import sample_actions
    from pipelines.render.camera import turn
    from pipelines.render.photograph import photograph

    split = "evaluation"
    rng = np.random.default_rng([seed, 8, 20170])
    for _ in range(20):  # a hand that shows well
        side = int(rng.integers(2))
        shot = scene._shoot(renderer, rng, split, side, sample_actions(rng, split))
        uv = shot["uv"][HAND_SLICES[SIDES[side]]]
        inside = ((uv > 0.15 * renderer.size) & (uv < 0.85 * renderer.size)).all()
        if shot["count"] >= 16 and inside and np.ptp(uv, axis=0).max() > 0.2 * renderer.size:
            break
    picture, _ = renderer.backgrounds(split).sample(rng, renderer.size)
    camera, look = shot["camera"], int(rng.integers(2**31))
    angle = np.arctan(FOV_SHARE * renderer.size / camera.matrix[0, 0])
    images, labels, image = [], [], None
    for number in range(frames):
        phase = 2 * np.pi * number / PERIOD
        if moving or image is None:
            swing = turn(1, angle * np.sin(phase) * moving) @ turn(
                0, 0.5 * angle * np.sin(2 * phase) * moving
            )
            seen = dataclasses.replace(
                camera, rotation=swing @ camera.rotation, translation=swing @ camera.translation
            )
            now = shot | {"camera": seen, "vertices": seen.to_camera(shot["surface"]["vertices"])}
            now |= scene._label(renderer, now)
            normals = scene.vertex_normals(now["vertices"], now["surface"]["faces"], now["surface"]["weld"])
            renderer.rasteriser.upload_normals(normals)
            image = photograph(renderer, now, picture, np.random.default_rng(look))  # the same light
        images.append(_sensor(image, rng))
        labels.append(now["uv"][HAND_SLICES[SIDES[side]]])
    return np.stack(images), np.array(labels, np.float32)


def _sensor(image, rng):
    noisy = np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=int(rng.integers(*QUALITY)))
    return np.asarray(Image.open(buffer))


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="file to write, .npz")
    parser.add_argument("--still", type=int, default=6, help="clips of a still hand")
    parser.add_argument("--moving", type=int, default=2, help="clips of a moving hand")
    parser.add_argument("--frames", type=int, default=40, help="frames of each")
    parser.add_argument("--size", type=int, default=320, help="pixels of the square pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backgrounds", help="folder of photographs")
    arguments = parser.parse_args(argv)
    if min(arguments.still, arguments.moving) < 0 or arguments.still + arguments.moving < 1:
        parser.error("--still and --moving: one clip at least, none of them negative")
    if arguments.frames < 2:
        parser.error(f"--frames must be at least 2, got {arguments.frames}")
    from pipelines.render.scene import Renderer

    try:
        renderer = Renderer(arguments.size, arguments.backgrounds)
        clips = []
        for number in range(arguments.still + arguments.moving):
            moving = number >= arguments.still
            clips.append(clip(renderer, arguments.seed + number, arguments.frames, moving))
            print(f"{number + 1} clips", end="\r", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        buffer = io.BytesIO()
        images, uv = (np.stack(part) for part in zip(*clips, strict=True))
        moving = np.arange(len(clips)) >= arguments.still
        np.savez_compressed(buffer, images=images, uv=uv, moving=moving, rate=RATE)
        write_atomic(arguments.out, buffer.getvalue())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
