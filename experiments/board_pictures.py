"""What the networks make of a few examples, as pictures for TensorBoard."""

import numpy as np
from keras import ops
from PIL import Image

from hand3d import geometry, scoremaps
from hand3d.drawing import draw_skeleton
from hand3d.images import GREY
from hand3d.training import HandSegNetTraining, LiftingTraining, PoseNetTraining

SIDE = 160  # pixels of a panel


def panels(model, batch):
    """{name: (rows * SIDE, columns * SIDE, 3) uint8}: an example a row; nothing for other kinds of models.

    model: one of `hand3d.training`.  batch: dict of arrays as `fit` gives it to the model.
    """
    kinds = {PoseNetTraining: _posenet, HandSegNetTraining: _handsegnet, LiftingTraining: _lifting}
    if type(model) not in kinds:
        return {}
    drawn = kinds[type(model)](model, batch)
    rows = [
        np.concatenate([_panel(part) for part in row], axis=1) for row in zip(*drawn.values(), strict=True)
    ]
    return {", ".join(drawn): np.concatenate(rows)}


def _panel(image):
    """(H, W) or (H, W, 3), 0..1 or uint8 -> (SIDE, SIDE, 3) uint8."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = np.round(255 * image.astype(np.float32).clip(0, 1)).astype(np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1)
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _pictures(model, batch):
    """(images (B, N, N, 3) 0..1, covers (B, N, N, 2)) as the network sees them, nothing drawn at random."""
    image, covers, _ = model.augment(batch["picture"], batch["background"], training=False)
    image, covers = (ops.convert_to_numpy(ops.cast(part, "float32")) for part in (image, covers))
    return image + 0.5, covers


def _posenet(model, batch):
    outputs = model(batch, training=False)
    image, covers = _pictures(model, batch)
    maps = ops.cast(outputs["score_maps"][-1], "float32")
    maps = scoremaps.spatial_softmax(maps) if model.loss_kind == "position" else maps
    size = model.augment.size
    mode = {"mode": "probability"} if model.loss_kind == "position" else {}
    found, _ = (ops.convert_to_numpy(part) for part in scoremaps.decode(maps, size, *mode.values()))
    heat = ops.convert_to_numpy(ops.max(maps / ops.maximum(ops.max(maps, (1, 2), keepdims=True), 1e-6), -1))
    truth = ops.convert_to_numpy(outputs["uv"])
    crops = np.round(255 * image.clip(0, 1)).astype(np.uint8)
    return {
        "crop": crops,
        "mask": covers[..., 1],
        "score maps": heat,
        "labelled": [draw_skeleton(crop, uv) for crop, uv in zip(crops, truth, strict=True)],
        "found": [draw_skeleton(crop, uv) for crop, uv in zip(crops, found, strict=True)],
    }


def _handsegnet(model, batch):
    outputs = model(batch, training=False)
    image, covers = _pictures(model, batch)
    share = ops.convert_to_numpy(ops.softmax(ops.cast(outputs["logits"], "float32"), -1))[..., 1]
    larger = np.stack([_panel(part)[..., 0] for part in share]) > 127
    pictures = np.stack([_panel(part) for part in image])
    found = np.where(larger[..., None], pictures, pictures // 4)
    return {"image": image, "mask": covers[..., 1], "share": share, "found": found}


def _lifting(model, batch):
    outputs = model(batch, training=False)
    seen = model.views(batch["xyz"], batch["side"], batch["visible"], training=False)
    heat = ops.convert_to_numpy(ops.max(seen["score_maps"], -1))
    truth, _ = geometry.normalise(seen["xyz_camera"])
    truth = ops.convert_to_numpy(truth)
    found = ops.convert_to_numpy(ops.cast(outputs["outputs"]["xyz_relative"], "float32"))
    reach = 1.1 * np.abs(truth - truth.mean(1, keepdims=True)).max((1, 2))
    centre = truth.mean(1, keepdims=True)
    names = (("in front", (0, 1)), ("from the right", (2, 1)))
    drawn = {"score maps": heat}
    for name, axes in names:
        for kind, xyz in (("labelled", truth), ("found", found)):
            parts = zip(xyz - centre, reach, strict=True)
            drawn[f"{kind} {name}"] = [_flat(hand[:, axes], far) for hand, far in parts]
    return drawn


def _flat(points, reach):
    """A 3D hand seen along an axis: (21, 2), in units of `reach` from the middle."""
    canvas = np.full((SIDE, SIDE, 3), round(GREY), np.uint8)
    return draw_skeleton(canvas, (points / reach + 1) * SIDE / 2 - 0.5)
