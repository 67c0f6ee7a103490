"""Regions of the base mesh: fingers and palms, sleeves and legs, hair.  Units are MakeHuman's decimetres."""

import numpy as np

from pipelines.render.makehuman import BONES, FINGER_BONES

WAIST = 0.9  # height of the trousers' upper rim


def part_ids(vertices, heads, weights):
    """(V,) RHD mask id of each base vertex: by the bone with most weight, palms cut at the wrist."""
    owner = weights.argmax(1)
    part = np.ones(len(vertices), int)
    for side, first in ((".L", 2), (".R", 18)):
        wrist = BONES.index("wrist" + side)
        palm = np.array([b in (f"metacarpal{k}{side}" for k in range(1, 5)) for b in BONES])
        axis = heads[BONES.index("finger3-1" + side)] - heads[wrist]
        beyond = (vertices - heads[wrist]) @ axis > 0
        near = (
            weights[
                :,
                [
                    k
                    for k, b in enumerate(BONES)
                    if b.endswith(side) and (b.startswith(("wrist", "metacarpal", "lowerarm02", "finger")))
                ],
            ].sum(1)
            > 0.5
        )
        part[(palm[owner] | near) & beyond] = first + 15
        for k, name in enumerate(FINGER_BONES):
            finger, joint = divmod(k, 3)
            part[owner == BONES.index(name + side)] = first + 3 * finger + 2 - joint
    return part


def garment_coordinate(vertices, heads, weights):
    """(V, 2): position along the arm and along the leg, 0 at the joint with the trunk, 1 at wrist or ankle.

    -1 elsewhere; +2 for hands, head and neck, which no sleeve covers.
    """
    owner = weights.argmax(1)
    out = np.full((len(vertices), 2), -1.0)
    for side in (".L", ".R"):
        for column, chain in (
            (0, ("upperarm01", "lowerarm01", "wrist")),
            (1, ("upperleg01", "lowerleg01", "foot")),
        ):
            a, b, c = (heads[BONES.index(name + side)] for name in chain)
            for start, end, base, names in (
                (a, b, 0.0, (chain[0][:-2] + "01", chain[0][:-2] + "02")),
                (b, c, 0.5, (chain[1][:-2] + "01", chain[1][:-2] + "02")),
            ):
                mine = np.isin(owner, [BONES.index(n + side) for n in names])
                t = (vertices - start) @ (end - start) / np.sum((end - start) ** 2)
                out[mine, column] = base + 0.5 * np.clip(t, 0 if base == 0 else -0.3, 1.1)[mine]
        hand = [
            k for k, b in enumerate(BONES) if b.endswith(side) and b.startswith(("wrist", "meta", "finger"))
        ]
        out[np.isin(owner, hand), 0] = 2
        out[owner == BONES.index("foot" + side), 1] = 1.2
    below = (vertices[:, 1] < WAIST) & (out[:, 0] < 0) & (out[:, 1] < 0)
    out[below, 1] = 0  # the lower trunk wears what the legs wear
    out[np.isin(owner, [BONES.index(b) for b in ("neck01", "neck02", "neck03", "head")]), 0] = 2.5
    return out


def over_face(vertices, quads, groups):
    """(Q,) bool: the part of the hair shell that hangs over the face and the chest."""
    x, y, z = vertices[quads].mean(1).T
    return (groups == 3) & (((z > 0.75) & (np.abs(x) < 0.8) & (y < 8.0)) | ((z > 0.6) & (y < 6.9)))


def on_scalp(vertices, quads):
    """(Q,) bool: skin of the head behind the hair line, without the ears."""
    x, y, z = vertices[quads].mean(1).T
    return (y > 6.95 + 0.8 * (z + 0.1)) & (y > 6.6) & (np.abs(x) < 0.77)


def finger_weights(skin, part):
    """(V, 33) weights per mask id less one: what a vertex belongs to, as something that can be blended."""
    table = np.zeros((len(part), 33), np.float32)
    table[np.arange(len(part)), part - 1] = 1
    ids = {
        BONES.index(f"{b}{s}"): f0 + 3 * (k // 3) + 2 - k % 3
        for s, f0 in ((".L", 2), (".R", 18))
        for k, b in enumerate(FINGER_BONES)
    }
    inside = part > 1
    blend = np.zeros_like(table)
    palm_left = part <= 17
    for bone in range(len(BONES)):
        if bone in ids:
            blend[:, ids[bone] - 1] += skin[:, bone]
        elif BONES[bone].startswith(("wrist", "metacarpal")):
            blend[:, 16] += skin[:, bone] * palm_left
            blend[:, 32] += skin[:, bone] * ~palm_left
    palm_only = (part == 17) | (part == 33)
    blend[palm_only & (blend.sum(1) < 0.5)] = table[palm_only & (blend.sum(1) < 0.5)]
    table[inside] = blend[inside]
    return table
