"""Tiny made-up samples: two coloured blob hands with masks and consistent labels, no renderer needed."""

import numpy as np

from hand3d.skeleton import BASES, CHAINS, NUM_KEYPOINTS, SIDES

FLAT_HAND = np.zeros((NUM_KEYPOINTS, 3))  # metres, wrist at the origin, fingers upwards in the picture
for finger, chain in enumerate(CHAINS.values()):
    for bone, keypoint in enumerate(reversed(chain)):
        FLAT_HAND[keypoint] = ((finger - 2) * 0.02, -0.07 - 0.025 * bone, 0.004 * bone * (finger - 1))


def toy_sample(seed, size=128):
    """One sample as `pipelines.records` wants it, (size, size) pixels; the same for the same seed."""
    rng = np.random.default_rng(seed)
    focal = 1.2 * size
    K = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]], np.float32)
    image = rng.integers(0, 90, (size, size, 3)).astype(np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[:, size // 4 : 3 * size // 4] = 1
    rows, columns = np.mgrid[:size, :size]
    xyz = np.zeros((len(SIDES), NUM_KEYPOINTS, 3))
    for side in range(len(SIDES)):
        angle = rng.uniform(-0.6, 0.6)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        hand = FLAT_HAND * ((-1) ** side, 1, 1) * rng.uniform(0.9, 1.1)
        xyz[side] = hand @ turn.T + (0.13 * (2 * side - 1), 0.08, 0.55 + rng.uniform(0, 0.1))
    uv = xyz @ K.T.astype(float)
    uv = uv[..., :2] / uv[..., 2:]
    for side, points in enumerate(uv):
        for keypoint, (u, v) in enumerate(points):
            near = (columns - u) ** 2 + (rows - v) ** 2 < (0.035 * size) ** 2
            part = 17 if keypoint in (0, *BASES) else 2 + (keypoint - 1) // 4 * 3
            mask[near] = part + 16 * side
            image[near] = (220 - 60 * side, 90 + 5 * keypoint, 90 + 100 * side)
    uv, xyz = uv.reshape(-1, 2), xyz.reshape(-1, 3)
    visible = ((uv > -0.5) & (uv < size - 0.5)).all(1)
    return {
        "image": image,
        "mask": mask,
        "depth": np.where(mask > 0, 0.6, 0).astype(np.float32),
        "uv": uv.astype(np.float32),
        "xyz": xyz.astype(np.float32),
        "visible": visible,
        "present": np.ones(len(uv), bool),
        "K": K,
        "meta": {"seed": seed},
    }


def write_toy_records(directory, splits=(("training", 12), ("evaluation", 6)), size=128, shards=2):
    """Writes a small record folder; returns its path as str."""
    from pipelines import records

    for split, count in splits:
        seeds = np.arange(count) + 1000 * (split != "training")
        counts = {}
        for number, part in enumerate(np.array_split(seeds, shards)):
            name = records.shard_name(split, number, shards)
            counts[name] = records.write_shard(
                directory / name, (toy_sample(int(seed), size) for seed in part)
            )
        records.write_info(directory, split, counts, licence="CC0-1.0", generator={"program": "toy_samples"})
    return str(directory)
