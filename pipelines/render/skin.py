"""Skin: colours of people, and the textures and vertex attributes that give hands and faces their detail."""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from hand3d.skeleton import FINGERS, JOINTS
from pipelines.render import skin_shaders
from pipelines.render.body import KINDS, MATERIALS, load_body
from pipelines.render.hand_rig import fit_hand_rig

DETAIL_SIZE = 1024  # texels across one hand
DETAIL_VARIANTS = 12
FIRST_HAND_PART = (2, 18)  # mask ids of the left and the right hand
PARTS_PER_HAND = 16

# sRGB of the back of the hand, pale to dark, and of the palm that goes with it
TONES = np.array(
    [
        (0.0, 240, 203, 186),
        (0.15, 233, 188, 165),
        (0.3, 224, 172, 143),
        (0.45, 204, 147, 112),
        (0.6, 172, 116, 83),
        (0.75, 132, 86, 60),
        (0.88, 96, 62, 45),
        (1.0, 66, 43, 34),
    ]
)
PALMS = np.array(
    [
        (0.0, 242, 196, 178),
        (0.15, 238, 184, 163),
        (0.3, 231, 174, 150),
        (0.45, 220, 162, 136),
        (0.6, 206, 150, 122),
        (0.75, 190, 136, 110),
        (0.88, 174, 122, 100),
        (1.0, 156, 108, 90),
    ]
)
BLOOD = np.array([0.06, 0.34, 0.27])  # absorption of blood in the skin, per unit, linear RGB
PIGMENT = np.array([0.22, 0.34, 0.50])


def to_linear(srgb):
    """sRGB 0..1 -> linear."""
    srgb = np.asarray(srgb, np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _tone(table, value):
    return to_linear(np.array([np.interp(value, table[:, 0], table[:, k]) for k in (1, 2, 3)]) / 255)


def skin_uniforms(tone, age, rng):
    """Uniforms of the skin program for a tone 0 (pale) .. 1 (dark), with this person's own tint."""
    redness = rng.normal(0.30, 0.40) + (0.25 + 0.5 * (rng.random() < 0.35)) * (1 - tone)
    warmth = rng.normal(0.0, 0.12)
    tint = np.exp(-redness * BLOOD * (1 - 0.5 * tone) - warmth * np.array([-0.1, 0.1, 0.5]))
    dorsal, palm = _tone(TONES, tone) * tint, _tone(PALMS, tone) * tint
    contrast = rng.uniform(0.7, 2.2)
    varnish = rng.random() < 0.08
    pale = 1 - tone
    return {
        "u_dorsal": dorsal,
        "u_palm": palm,
        "u_blood": BLOOD * (1.1 - 0.55 * tone) * contrast,
        "u_pigment": PIGMENT * (0.4 + 1.2 * tone) * contrast,
        "u_lips": dorsal * np.exp(-BLOOD * rng.uniform(1.2, 3.0)) * rng.uniform(0.75, 1.0),
        "u_bump": float(rng.uniform(0.0008, 0.0032) * (1 + 0.5 * (age > 50))),
        "u_roughness": float(rng.uniform(0.38, 0.62)),
        "u_gloss": float(rng.uniform(0.4, 1.3)),
        "u_mottling": float(rng.uniform(0.15, 0.9)),
        "u_nail_colour": _nail(dorsal, palm, varnish, rng),
        "u_varnish": float(varnish),
        "u_wrap": np.array([0.32, 0.14, 0.09]) * rng.uniform(0.2, 1.3) * (0.5 + 0.5 * pale),
    }


def _nail(dorsal, palm, varnish, rng):
    if varnish:
        return to_linear(np.array([rng.uniform(0.1, 0.9), rng.uniform(0.0, 0.5), rng.uniform(0.0, 0.6)]))
    base = 0.4 * dorsal + 0.6 * palm
    return np.clip(base * np.array([1.08, 1.0, 1.03]) * rng.uniform(0.95, 1.15), 0, 0.9)


@dataclass
class SkinMap:
    """Per render vertex: uv (R, 2) in the detail texture, rest (R, 3) metres, skin (R, 4): lips or pupil
    angle, blood, pigment, 1 on hands; weld (R,) int: vertices at one place share a number.

    hands: input of the bake.
    """

    uv: np.ndarray
    rest: np.ndarray
    skin: np.ndarray
    weld: np.ndarray
    hands: tuple


@functools.lru_cache(maxsize=1)
def skin_map():
    """`SkinMap` of the average person; the same for everyone, since it sticks to the mesh."""
    body = load_body()
    count, bones = body.num_control, len(body.bones)
    control = body.base[:count].astype(np.float64)
    rest = (body.refine @ control).astype(np.float32)
    _, weld = np.unique(np.round(rest, 5), axis=0, return_inverse=True)
    # shells that touch the skin must not share normals with it
    kind = np.zeros(len(rest), int)
    kind[body.faces] = body.kind[:, None]
    _, weld = np.unique(weld.ravel() * len(KINDS) + kind, return_inverse=True)
    uv = np.zeros((len(rest), 2), np.float32)
    skin = np.zeros((len(rest), 4), np.float32)
    hands = []
    for side in (0, 1):
        heads, tails = (
            body.base[count + k * bones : count + (k + 1) * bones].astype(np.float64) for k in (0, 1)
        )
        rig = fit_hand_rig(body, control, heads, tails, side)
        hand = _hand_features(body, rest, rig, side)
        uv[hand["vertices"]] = hand["uv"] * (0.5, 1.0) + (0.5 * side, 0.0)
        skin[hand["vertices"], 3] = 1
        hands.append(hand)
    _face_features(body, rest, skin)
    return SkinMap(uv, rest, skin, weld.ravel(), tuple(hands))


def _hand_features(body, rest, rig, side):
    """What the bake needs to know about one hand: dict of vertices (V,), faces, uv, local, finger, rest."""
    first = FIRST_HAND_PART[side]
    chosen = (body.part >= first) & (body.part < first + PARTS_PER_HAND)
    faces = body.faces[chosen]
    vertices = np.unique(faces)
    uv = body.uv[vertices]
    island = uv[:, 1] < 0.5  # a strip of the wrist lies on the arm's island
    vertices, uv = vertices[island], uv[island]
    low, high = uv.min(0), uv.max(0)
    uv = (uv - low) / (high - low) * 0.98 + 0.01
    number = np.full(len(rest), -1)
    number[vertices] = np.arange(len(vertices))
    keep = (number[faces] >= 0).all(1)
    faces, part = number[faces[keep]], body.part[chosen][keep] - first
    points = rest[vertices].astype(np.float64)
    wrist, mcps = rig.pivots[0], rig.pivots[5::3]
    unit = np.linalg.norm(mcps[2] - wrist)
    y = (mcps[2] - wrist) / unit
    x = mcps[1] - mcps[4]
    x = x - y * (x @ y)
    x /= np.linalg.norm(x)
    z = np.cross(x, y) * (1 if side == 0 else -1)
    if z @ rig.frames[1][:, 2] < 0:
        z = -z
    local = (points - wrist) @ np.stack([x, y, z], 1) / unit
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros_like(points)
    for k in range(3):
        np.add.at(total, faces[:, k], normal)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    finger = np.stack([np.zeros(len(points)), total @ z, np.full(len(points), -1.0)], 1)
    on_finger = np.zeros(len(points), bool)
    per_finger = len(JOINTS) - 1
    for k in range(len(FINGERS)):
        mine = np.unique(faces[(part >= per_finger * k) & (part < per_finger * (k + 1))])
        joints = np.concatenate([rig.pivots[5 + 3 * k : 8 + 3 * k], rig.tips[k : k + 1]])
        dorsal = rig.frames[6 + 3 * k][:, 2]
        finger[mine, 0] = _along(points[mine], joints)
        finger[mine, 1] = total[mine] @ dorsal
        finger[mine, 2] = k
        on_finger[mine] = True
    nails = body.faces[body.material == MATERIALS.index("nail")]
    nail = np.isin(vertices, nails).astype(np.float32)
    nail[np.isin(vertices, body.faces[chosen & (body.material != MATERIALS.index("nail"))])] *= 0.5
    return {
        "vertices": vertices,
        "nail": nail[:, None],
        "faces": faces.astype(np.int32),
        "uv": uv.astype(np.float32),
        "local": local.astype(np.float32),
        "finger": finger.astype(np.float32),
        "rest": rest[vertices],
    }


def _along(points, joints):
    """(V, 3) and the four joints of a finger -> (V,) position in phalanges, 0 at the base, 3 at the tip."""
    best, value = np.full(len(points), np.inf), np.zeros(len(points))
    for k in range(len(joints) - 1):
        axis = joints[k + 1] - joints[k]
        share = (points - joints[k]) @ axis / (axis @ axis)
        inside = np.clip(share, 0, 1)
        distance = np.linalg.norm(points - joints[k] - inside[:, None] * axis, axis=1)
        closer = distance < best
        best[closer], value[closer] = distance[closer], (k + inside)[closer]
    return value


def _face_features(body, rest, skin):
    """Fill columns 0 to 2 of `skin` on the head: lips, cheeks, brows; the pupil's angle on the eyes."""

    def of_kind(name):
        return np.unique(body.faces[body.kind == KINDS.index(name)])

    teeth, eyes = of_kind("teeth"), of_kind("eye")
    skin[teeth, 0] = -1
    mouth = rest[teeth].mean(0)
    front = rest[teeth, 2].max()
    head = (rest[:, 1] > mouth[1] - 0.10) & (np.abs(rest[:, 0]) < 0.12) & (rest[:, 2] > front - 0.06)
    head &= skin[:, 3] == 0
    head[np.concatenate([teeth, eyes])] = False
    p = rest[head] - [0, mouth[1], 0]
    lips = np.exp(-(((p[:, 0] / 0.024) ** 2 + (p[:, 1] / 0.0095) ** 2) ** 2)) * (p[:, 2] > front - 0.02)
    blood, pigment = np.zeros(len(p)), np.zeros(len(p))
    for side in (-1, 1):
        eye = eyes[np.sign(rest[eyes, 0]) == side]
        centre = (rest[eye].min(0) + rest[eye].max(0)) / 2
        direction = rest[eye] - centre
        skin[eye, 0] = np.arccos(direction[:, 2] / np.linalg.norm(direction, axis=1)) / (np.pi / 2)
        e = centre - [0, mouth[1], 0]
        brow = ((p[:, 0] - e[0]) / 0.022) ** 2 + (
            (p[:, 1] - e[1] - 0.024 + 0.15 * abs(p[:, 0] - e[0])) / 0.0055
        ) ** 2
        pigment += 3.0 * np.exp(-brow) * (p[:, 2] > front - 0.03)
        cheek = ((p[:, 0] - e[0] * 1.15) ** 2 + (p[:, 1] - e[1] + 0.04) ** 2) / 0.02**2
        blood += 0.6 * np.exp(-cheek)
    nose = (p[:, 0] / 0.015) ** 2 + ((p[:, 1] - 0.035) / 0.015) ** 2
    blood += 0.6 * np.exp(-nose)
    skin[head, 0], skin[head, 1], skin[head, 2] = lips, blood, pigment


def bake_detail(ctx, noise, variant):
    """Paint variant 0..DETAIL_VARIANTS-1 of the detail of both hands -> (H, 2 H, 4) uint8: height, blood,
    pigment (0.5 is neutral), and kind: 0 palm .. 0.5 back of the hand .. 1 nail."""
    rng = np.random.default_rng([variant, 311])
    program = ctx.program(vertex_shader=skin_shaders.BAKE_VERTEX, fragment_shader=skin_shaders.BAKE_FRAGMENT)
    program["u_age"].value = float(np.linspace(0.05, 0.9, DETAIL_VARIANTS)[variant])
    program["u_veins"].value = float(rng.uniform(0.0, 1.0))
    program["u_tendons"].value = float(rng.uniform(0.1, 2.0))
    program["u_creases"].value = float(rng.uniform(0.35, 1.2))
    program["u_seed"].value = tuple(rng.random(3))
    program["u_noise"].value = 0
    noise.use(0)
    size = (DETAIL_SIZE, DETAIL_SIZE)
    frame = ctx.framebuffer(ctx.renderbuffer(size, 4))
    halves = []
    for hand in skin_map().hands:
        data = [hand[name] for name in ("uv", "local", "finger", "rest", "nail")]
        data = np.concatenate(data, 1).astype(np.float32)
        buffer, index = ctx.buffer(data.tobytes()), ctx.buffer(hand["faces"].tobytes())
        names = ("a_uv", "a_local", "a_finger", "a_rest", "a_nail")
        array = ctx.vertex_array(program, [(buffer, "2f 3f 3f 3f 1f", *names)], index, index_element_size=4)
        frame.use()
        ctx.enable_only(0)
        frame.clear()
        array.render()
        pixels = np.frombuffer(frame.read(components=4), np.uint8).reshape(DETAIL_SIZE, DETAIL_SIZE, 4)
        empty = (pixels == 0).all(-1)
        nearest = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
        halves.append(_trim_nails(pixels[tuple(nearest)]))
    return np.concatenate(halves, 1)


def _trim_nails(pixels):
    """Detail (H, W, 4) uint8 whose nails end at triangles -> the same with round nails in a groove."""
    rough = np.clip(pixels[..., 3] / 127.5 - 1, 0, 1)
    nail = np.clip((ndimage.gaussian_filter(rough, 6) - 0.5) * 5 + 0.5, 0, 1)
    groove = ndimage.gaussian_filter(nail * (1 - nail), 1.5)
    out = pixels.astype(np.float32)
    out[..., 0] += 14 * nail - 120 * groove
    out[..., 1] += 40 * groove
    out[..., 3] = np.where(nail > 0, 127.5 * (1 + nail), np.minimum(out[..., 3], 127))
    return np.clip(out, 0, 255).astype(np.uint8)
