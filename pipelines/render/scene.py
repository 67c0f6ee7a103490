"""One labelled sample from a seed: person, pose, camera, light, background, picture."""

import dataclasses

import numpy as np

from hand3d.skeleton import FINGERS, HAND_SLICES, JOINTS, NUM_KEYPOINTS, SIDES
from pipelines.records import HAND_IDS
from pipelines.render.actions import sample_actions
from pipelines.render.backgrounds import SPLITS, Backgrounds
from pipelines.render.body import MATERIALS, load_body
from pipelines.render.camera import project, sample_camera
from pipelines.render.character import CHARACTERS_EVALUATION, CHARACTERS_TRAINING, make_character
from pipelines.render.gl import Rasteriser
from pipelines.render.hand_samples import INDEPENDENT
from pipelines.render.mesh import vertex_normals
from pipelines.render.photograph import photograph
from pipelines.render.posing import pose_person
from pipelines.render.skin import bake_detail
from pipelines.render.surface import drawn_surface

CHARACTERS = {"training": CHARACTERS_TRAINING, "evaluation": CHARACTERS_EVALUATION}
# metres between a joint and the skin over it: the palm is thicker than the fingers
TOLERANCE = np.tile([0.030] + [0.018, 0.018, 0.018, 0.030] * 5, len(SIDES))
BESIDE = 0.010  # ... where the skin is another finger's
MIN_VISIBLE = 9  # keypoints of one hand
CLEARANCE = 0.10  # metres around the camera without geometry
CAMERA_TRIES, POSE_TRIES = 6, 8


@dataclasses.dataclass(frozen=True)
class Given:
    """A hand that is wanted, in place of one by chance.

    side: 0 left, 1 right.  angles: (22,) radians, `hand_pose.ANGLES`.  look: a function of the hand's
    keypoints (21, 3) metres, world axes, that returns the `camera.Camera`.
    """

    side: int
    angles: np.ndarray
    look: object


class Renderer:
    """What is made once per process: OpenGL context, body, characters, backgrounds, skin textures.

    Args:
        size: pixels of the square picture.  backgrounds: folder of photographs, or None for made-up rooms.
        device: to draw with, as of `context.find_device`.  independent: share of the hands whose fingers are
        bent each on its own, see `hand_samples.sample_hand`.
    """

    def __init__(self, size=320, backgrounds=None, device="auto", independent=INDEPENDENT):
        self.size = size
        self.body = load_body()
        self.rasteriser = Rasteriser(size, device)
        self.folder = backgrounds
        self.independent = independent
        self.characters, self.splits = {}, {}
        self.drawn = None  # the vertices that the rasteriser holds, with their labels

    def character(self, seed):
        if seed not in self.characters:
            self.characters[seed] = make_character(self.body, seed)
        return self.characters[seed]

    def backgrounds(self, split):
        if split not in self.splits:
            self.splits[split] = Backgrounds(self.folder, split)
        return self.splits[split]

    def detail(self, variant):
        raster = self.rasteriser
        return raster.detail_texture(variant, lambda: bake_detail(raster.ctx, raster.noise, variant))


def render_sample(renderer, seed, split, size=320, given=None):
    """Sample number `seed` of a split; given: None, or the `Given` hand that it is to show.

    Returns the dict of `pipelines.records`: image (H, W, 3) uint8; mask (H, W) uint8; depth (H, W) float32
    metres, 0 in the background; uv (42, 2) float32 pixels, centres at integers; xyz (42, 3) float32 metres,
    camera axes; visible and present (42,) bool; K (3, 3) float32; meta dict.
    The same arguments give the same sample.
    Raises ValueError for an unknown split or a size other than the renderer's.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if size != renderer.size:
        raise ValueError(f"size is {size}, but the renderer was made with size={renderer.size}")
    rng = np.random.default_rng([int(seed), SPLITS.index(split), 20170])
    side = int(rng.integers(2))
    side = side if given is None else given.side
    actions = sample_actions(rng, split)  # before the tries, which would prefer open hands
    best = None
    for _ in range(POSE_TRIES):
        shot = _shoot(renderer, rng, split, side, actions, given)
        if best is None or shot["count"] > best["count"]:
            best = shot
        if best["count"] >= MIN_VISIBLE:
            break
    shot = best
    if renderer.drawn is not shot["vertices"]:
        _upload(renderer, shot)
    normals = vertex_normals(shot["vertices"], shot["surface"]["faces"], shot["surface"]["weld"])
    renderer.rasteriser.upload_normals(normals)
    picture, name = renderer.backgrounds(split).sample(rng, size)
    image = photograph(renderer, shot, picture, rng)
    return {
        "image": image,
        "mask": shot["mask"],
        "depth": shot["depth"],
        "uv": shot["uv"].astype(np.float32),
        "xyz": shot["xyz"].astype(np.float32),
        "visible": shot["visible"],
        "present": np.ones(len(shot["uv"]), bool),
        "K": shot["camera"].matrix.astype(np.float32),
        "meta": {
            "character": shot["character"].seed,
            "action_left": shot["actions"][0],
            "action_right": shot["actions"][1],
            "side": SIDES[side],
            "view": shot["camera"].view,
            "background": name,
            "seed": int(seed),
            "split": split,
        },
    }


def _shoot(renderer, rng, split, side, actions, given=None):
    """A posed person and the camera that sees most of the wanted hand, with labels: dict."""
    seeds = CHARACTERS[split]
    character = renderer.character(int(seeds[rng.integers(len(seeds))]))
    angles = given and {side: given.angles}
    posed = pose_person(character, *actions, rng, renderer.independent, angles)
    hand = posed.keypoints[HAND_SLICES[SIDES[side]]].astype(np.float64)
    eye = _vertices_of(posed.faces[posed.material == MATERIALS.index("eye")], len(posed.vertices))
    eyes = posed.vertices[eye].mean(0) if len(eye) else np.array([0, 1.6, 0.1])
    surface = drawn_surface(posed)
    used = _vertices_of(surface["faces"], len(surface["vertices"]))
    shot = {"character": character, "actions": actions, "posed": posed, "side": side, "count": -1}
    shot["surface"] = surface
    for _ in range(CAMERA_TRIES):
        camera = given.look(hand) if given else sample_camera(rng, hand, eyes, renderer.size)
        vertices = camera.to_camera(surface["vertices"])
        near = np.linalg.norm(vertices[used], axis=1).min()
        if near < CLEARANCE:
            continue
        trial = shot | {"camera": camera, "vertices": vertices}
        trial |= _label(renderer, trial)
        if trial["count"] > shot["count"]:
            shot = trial
        if shot["count"] >= MIN_VISIBLE:
            break
    if "camera" not in shot:
        shot |= {"camera": camera, "vertices": vertices}
        shot |= _label(renderer, shot) | {"count": -1}
    return shot


def _vertices_of(faces, count):
    """The vertices, out of `count`, that faces (F, 3) use, in order."""
    used = np.zeros(count, bool)
    used[faces] = True
    return np.flatnonzero(used)


def _upload(renderer, shot):
    """Mesh and camera to the rasteriser -> part (H, W) uint8, depth (H, W)."""
    arrays = (shot["surface"][name] for name in ("uv", "rest", "skin", "faces", "part", "material"))
    renderer.rasteriser.upload(shot["vertices"], *arrays)
    renderer.drawn = shot["vertices"]
    return renderer.rasteriser.draw_labels(shot["camera"].matrix)


def _label(renderer, shot):
    mask, depth = _upload(renderer, shot)
    camera = shot["camera"]
    xyz = camera.to_camera(shot["posed"].keypoints.astype(np.float64))
    uv = project(xyz, camera.matrix)
    visible = visibility(uv, xyz, mask, depth)
    return {
        "mask": mask,
        "depth": depth,
        "xyz": xyz,
        "uv": uv,
        "visible": visible,
        "count": int(visible[HAND_SLICES[SIDES[shot["side"]]]].sum()),
    }


def visibility(uv, xyz, mask, depth):
    """(42,) bool: in the picture, and the nearest surface there is the joint's own skin.

    That is its own finger's or palm's, within TOLERANCE of the joint; or another finger's that touches it.
    """
    size = mask.shape[0]
    at = np.rint(np.clip(uv, -2, size + 2)).astype(int)
    inside = ((at >= 0) & (at < size)).all(1) & (xyz[:, 2] > 0.05)
    column, row = np.clip(at, 0, size - 1).T
    part = mask[row, column]
    first, last = np.repeat(HAND_IDS, NUM_KEYPOINTS, axis=0).T
    finger = np.tile(np.r_[-1, np.repeat(np.arange(len(FINGERS)), len(JOINTS))], len(SIDES))
    own = (part == last) | ((part - first) // (len(JOINTS) - 1) == finger)
    near = np.abs(depth[row, column] - xyz[:, 2]) < np.where(own, TOLERANCE, BESIDE)
    return inside & (part >= first) & (part <= last) & near
