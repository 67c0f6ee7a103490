"""Hands described in numbers and pictures, for `pipelines.inspect`."""

import io

import numpy as np
from PIL import Image, ImageDraw

from hand3d.drawing import KEYPOINT_COLOURS
from hand3d.skeleton import BONES, CHAINS, FINGERS, HAND_SLICES, INDEX, ROOT, SIDES
from pipelines.anatomy import bone_lengths
from pipelines.rules import HAND_IDS

TILE = 256  # pixels of a sample on the sheet
TINTS = np.array([[70, 130, 255], [255, 120, 60]], np.float32)  # of the left and the right hand's mask
VIEWS = ("palm", "back", "fingertips", "wrist", "thumb side", "little side")
SIZES = (0, 20, 40, 60, 80, 120, 160, 250, 400, 10_000)  # pixels
SEEN = (0, 1, 6, 11, 16, 21, 22)  # keypoints
STRAIGHT = 0.88  # of a finger: from base to tip in units of its bones' sum


def describe(sample):
    """One dict for each hand with a keypoint on the image: side, visible, size, view, extended."""
    height, width = sample["image"].shape[:2]
    described = []
    for side, part in enumerate(HAND_SLICES.values()):
        present = np.asarray(sample["present"], bool)[part]
        uv = np.asarray(sample["uv"], float)[part][present]
        on_image = ((uv > -0.5) & (uv < (width - 0.5, height - 0.5))).all(-1)
        if not on_image.any():
            continue
        hand = {"side": SIDES[side], "visible": int(np.asarray(sample["visible"], bool)[part].sum())}
        hand["size"] = float(np.ptp(uv[on_image], axis=0).max())
        if np.asarray(sample["present_xyz"], bool)[part].all():
            xyz = np.asarray(sample["xyz"], float)[part]
            hand["view"] = seen_from(xyz, side)
            hand["extended"] = len(extended(xyz))
        described.append(hand)
    return described


def seen_from(xyz, side):
    """The side of a hand that the camera sees most of, one of `VIEWS`.  xyz: (21, 3) metres, camera axes."""
    along = xyz[INDEX["middle_mcp"]] - xyz[ROOT]
    across = xyz[INDEX["little_mcp"]] - xyz[INDEX["index_mcp"]]
    across = across - along * (across @ along) / max(along @ along, 1e-12)
    palm = np.cross(across, along) * (1 if SIDES[side] == "left" else -1)
    axes = np.stack([palm, along, -across])
    axes = axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
    towards = axes @ -xyz.mean(0)
    best = int(np.abs(towards).argmax())
    return VIEWS[2 * best + (towards[best] < 0)]


def extended(xyz):
    """Names of the fingers that are straight.  xyz: (21, 3)."""
    lengths = bone_lengths(xyz)
    straight = []
    for finger in FINGERS:
        chain = CHAINS[finger]
        whole = sum(lengths[keypoint - 1] for keypoint in chain[:-1])
        if np.linalg.norm(xyz[chain[0]] - xyz[chain[-1]]) > STRAIGHT * whole:
            straight.append(finger)
    return straight


def histograms(hands, title):
    """({title: {label: count}}, PNG of the bars as bytes) of dicts as of `describe`."""

    def binned(values, edges, unit=""):
        counts, _ = np.histogram(values, edges)
        last = "more" if edges[-1] >= 10_000 else None
        pairs = zip(edges[:-1], edges[1:], strict=True)
        labels = [str(low) if high - low == 1 else f"{low}-{high - 1}" for low, high in pairs]
        if last:
            labels[-1] = f"{edges[-2]}+"
        return dict(zip([label + unit for label in labels], counts.tolist(), strict=True))

    known = [hand for hand in hands if "view" in hand]
    bars = {
        "side": {side: sum(hand["side"] == side for hand in hands) for side in SIDES},
        "visible keypoints": binned([hand["visible"] for hand in hands], SEEN),
        "size in pixels": binned([hand["size"] for hand in hands], SIZES),
        "seen from": {view: sum(hand["view"] == view for hand in known) for view in VIEWS},
        "fingers straight": binned([hand["extended"] for hand in known], range(len(FINGERS) + 2)),
    }
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.2), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, (name, values) in zip(figure.subplots(1, len(bars)), bars.items(), strict=True):
        axes.bar(list(values), list(values.values()), color="#4c78a8")
        axes.set_title(name, fontsize=10)
        axes.tick_params(axis="x", labelrotation=60 if len(values) > 3 else 0, labelsize=8)
    output = io.BytesIO()
    figure.savefig(output, format="png")
    return bars, output.getvalue()


def draw_hands(sample, side=TILE):
    """(side, side, 3) uint8: the image in a square, masks tinted, skeletons drawn; hidden bones are thin."""
    image = Image.fromarray(np.asarray(sample["image"]))
    factor = side / max(image.size)
    size = tuple(max(1, round(length * factor)) for length in image.size)
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0), np.float32)
    if sample.get("mask") is not None:
        mask = np.asarray(Image.fromarray(sample["mask"]).resize(size, Image.Resampling.NEAREST))
        for (low, high), tint in zip(HAND_IDS, TINTS, strict=True):
            inside = ((mask >= low) & (mask <= high))[..., None]
            pixels = np.where(inside, 0.65 * pixels + 0.35 * tint, pixels)
    picture = Image.fromarray(pixels.round().astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    uv = (np.asarray(sample["uv"], float) + 0.5) * factor - 0.5
    for part in HAND_SLICES.values():
        _draw_hand(draw, uv[part], sample["present"][part], sample["visible"][part], side)
    tile = Image.new("RGB", (side, side), (24, 24, 24))
    tile.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(tile)


def _draw_hand(draw, uv, present, visible, side):
    """What is far off the picture stays out: labels of hands outside it can lie anywhere."""
    near = np.asarray(present, bool) & (np.abs(uv - side / 2) < 2 * side).all(-1)
    for parent, child in BONES:
        if near[parent] and near[child]:
            width = 2 if visible[parent] and visible[child] else 1
            line = [tuple(uv[parent]), tuple(uv[child])]
            draw.line(line, fill=(0, 0, 0), width=width + 2)
            draw.line(line, fill=KEYPOINT_COLOURS[child], width=width)
    for keypoint in np.flatnonzero(near):
        radius = 2.5 if visible[keypoint] else 1.5
        box = [*(uv[keypoint] - radius), *(uv[keypoint] + radius)]
        draw.ellipse(box, fill=KEYPOINT_COLOURS[keypoint], outline=(0, 0, 0))


def contact_sheet(samples, columns=6):
    """(H, W, 3) uint8: the samples in rows."""
    tiles = [draw_hands(sample) for sample in samples]
    empty = np.full((TILE, TILE, 3), 24, np.uint8)
    tiles += [empty] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)]
    return np.concatenate(rows)
