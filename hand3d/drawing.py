"""Pictures of predictions: a skeleton over a photograph, and one page with everything about an image."""

import io

import numpy as np
from PIL import Image, ImageDraw

from hand3d import skeleton

OVERSAMPLING = 3  # lines are drawn this much larger and reduced, for smooth edges
DPI = 110
ROOT_COLOUR = (255, 255, 255)
KEYPOINT_COLOURS = tuple(
    ROOT_COLOUR
    if keypoint == skeleton.ROOT
    else next(
        skeleton.FINGER_COLOURS[finger] for finger, chain in skeleton.CHAINS.items() if keypoint in chain
    )
    for keypoint in range(skeleton.NUM_KEYPOINTS)
)


def draw_skeleton(image, keypoints_uv, keypoint_scores=None, width=None):
    """Copy of an image with a hand's bones and keypoints over it, one colour a finger.

    image: (H, W, 3) uint8 RGB.
    keypoints_uv: (21, 2) pixels of the image, pixel centres at integers.
    keypoint_scores: (21,) 0..1 or None; keypoints the network is unsure of are drawn fainter.
    width: of a bone, pixels; None chooses it by the size of hand and image.
    Returns (H, W, 3) uint8.
    """
    image = np.asarray(image)
    uv = np.asarray(keypoints_uv, np.float64)
    if uv.shape != (skeleton.NUM_KEYPOINTS, 2):
        raise ValueError(f"keypoints_uv has shape {uv.shape}; expected ({skeleton.NUM_KEYPOINTS}, 2)")
    scores = np.ones(len(uv)) if keypoint_scores is None else np.asarray(keypoint_scores, np.float64)
    result = image.copy()
    if not np.isfinite(uv).all():
        return result
    if width is None:
        width = np.clip(np.ptp(uv, axis=0).max() / 45, 1.5, max(image.shape[:2]) / 80 + 1.5)
    low = np.floor(uv.min(0) - 3 * width - 2).clip(0).astype(int)
    high = np.ceil(uv.max(0) + 3 * width + 3).astype(int).clip(0, image.shape[1::-1])
    if (high <= low).any():
        return result  # the hand lies outside the image
    layer = _skeleton_layer(uv - low, scores, width, tuple(high - low))
    region = result[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    layer = np.asarray(layer, np.float32)
    alpha = layer[..., 3:] / 255
    blended = region * (1 - alpha) + layer[..., :3] * alpha
    result[low[1] : high[1], low[0] : high[0]] = np.round(blended).astype(np.uint8)
    return result


def _skeleton_layer(uv, scores, width, size):
    """RGBA PIL image of `size` (w, h) with the skeleton alone, outlined in the transparent parts' colour."""
    factor = OVERSAMPLING if max(size) * OVERSAMPLING <= 8192 else 1
    layer = Image.new("RGBA", (size[0] * factor, size[1] * factor), (20, 20, 20, 0))
    draw = ImageDraw.Draw(layer)
    at = (uv + 0.5) * factor - 0.5
    opacity = np.interp(scores, (0.0, 0.4), (90, 255)).round().astype(int)
    for parent, child in skeleton.BONES:
        alpha = int(min(opacity[parent], opacity[child]))
        for colour, wide in (((20, 20, 20), 1.7), (KEYPOINT_COLOURS[child], 1.0)):
            _capsule(draw, at[parent], at[child], wide * width * factor, (*colour, alpha))
    for keypoint, centre in enumerate(at):
        for colour, wide in (((20, 20, 20), 1.25), (KEYPOINT_COLOURS[keypoint], 0.9)):
            _disc(draw, centre, wide * width * factor, (*colour, int(opacity[keypoint])))
    return layer.resize(size, Image.Resampling.BOX) if factor > 1 else layer


def _capsule(draw, start, end, width, fill):
    draw.line([tuple(start), tuple(end)], fill=fill, width=max(1, round(width)))
    for centre in (start, end):
        _disc(draw, centre, width / 2, fill)


def _disc(draw, centre, radius, fill):
    draw.ellipse([*(centre - radius), *(centre + radius)], fill=fill)


def draw_prediction(prediction):
    """PNG file, as bytes, of one `Prediction`.

    It has the photograph with skeletons and boxes, the found mask, and of the best hand the crop, the score
    maps, and it in 3D, seen from the camera, from the right, and from above; or instead of this last the
    second hand, if there is one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    photo_width, side = _layout(prediction)
    figure = Figure(figsize=(photo_width + 3 * side, 2 * side + 0.5), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2,
        4,
        width_ratios=(photo_width, side, side, side),
        left=0.012,
        right=0.988,
        bottom=0.015,
        top=0.92,
        wspace=0.035,
        hspace=0.13,
    )
    _photo(figure.add_subplot(grid[:, 0]), prediction)
    _image_panel(figure.add_subplot(grid[0, 1]), _masked(prediction), "mask")
    if prediction.hands:
        hand = prediction.hands[0]
        crop, scale = _enlarged(prediction.crop, side)
        crop = draw_skeleton(crop, _scaled(prediction.crop_uv, scale), hand.keypoint_scores)
        _image_panel(figure.add_subplot(grid[1, 1]), crop, "crop")
        _image_panel(figure.add_subplot(grid[0, 2]), _score_maps(prediction, side), "score maps")
        xyz = np.asarray(hand.keypoints_xyz, np.float64)
        _view(figure.add_subplot(grid[0, 3]), xyz, 0.0, "3D, from the camera", ("x", "y"))
        _view(figure.add_subplot(grid[1, 3]), xyz, 90.0, "3D, from the right", ("z", "y"))
        last = figure.add_subplot(grid[1, 2])
        if len(prediction.hands) > 1:
            second = np.asarray(prediction.hands[1].keypoints_xyz, np.float64)
            _view(last, second, 0.0, f"{prediction.hands[1].side} hand, from the camera", ("x", "y"))
        else:
            _view(last, xyz[:, [0, 2, 1]] * (1, -1, 1), 0.0, "3D, from above", ("x", "-z"))
    else:
        _image_panel(figure.add_subplot(grid[1, 1]), prediction.crop, "crop of the best candidate")
    output = io.BytesIO()
    figure.savefig(output, format="png")
    return output.getvalue()


def _layout(prediction):
    """Width of the photograph's panel and side of the square ones, inches."""
    aspect = prediction.width / prediction.height
    height = float(np.clip(9.0 / aspect, 4.4, 6.2))
    return float(np.clip(aspect * height, 2.2, 9.0)), height / 2


def _photo(axes, prediction):
    picture, scale = _enlarged(prediction.pixels, 6.2)
    scale = scale * prediction.pixels.shape[1::-1] / np.array([prediction.width, prediction.height])
    boxes = []
    for hand in reversed(prediction.hands):  # the best on top
        picture = draw_skeleton(picture, _scaled(hand.keypoints_uv, scale), hand.keypoint_scores)
        boxes.append(_scaled(np.reshape(hand.box, (2, 2)), scale))
    title = ", ".join(f"{hand.side} hand {hand.score:.2f}" for hand in prediction.hands)
    _image_panel(axes, picture, title or f"no hand found (best candidate {prediction.score:.2f})")
    for (x0, y0), (x1, y1) in boxes:
        outline = ([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0])
        axes.plot(*outline, color="black", linewidth=2.0, alpha=0.35)
        axes.plot(*outline, color="white", linewidth=1.2)


def _enlarged(image, inches):
    """A small image at the resolution of a panel, so that lines over it are fine; and the factor (2,)."""
    height, width = image.shape[:2]
    factor = inches * DPI / max(height, width)
    if factor <= 1:
        return image, np.ones(2)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    larger = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return larger, np.array(size) / (width, height)


def _scaled(uv, scale):
    """(N, 2) pixels in an image resized by `scale` (2,): the one pixel rule."""
    return (np.asarray(uv, np.float64) + 0.5) * scale - 0.5


def _image_panel(axes, image, title):
    axes.imshow(image, interpolation="antialiased")
    axes.set_autoscale_on(False)
    axes.set_title(title, fontsize=10, pad=5)
    axes.set_axis_off()


def _masked(prediction):
    """The photograph, darkened and grey outside the found mask."""
    height, width = prediction.pixels.shape[:2]
    factor = min(1.0, 480 / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    photo = np.asarray(Image.fromarray(prediction.pixels).resize(size, Image.Resampling.BILINEAR), np.float32)
    mask = prediction.mask if prediction.mask_of_all is None else prediction.mask_of_all
    mask = Image.fromarray(np.asarray(mask, np.float32))
    mask = np.asarray(mask.resize(size, Image.Resampling.BILINEAR))[..., None].clip(0, 1)
    grey = photo.mean(-1, keepdims=True) * 0.35
    return np.round(grey * (1 - mask) + photo * mask).astype(np.uint8)


def _score_maps(prediction, inches):
    """The crop in grey, and over it every score map in the colour of its finger, all equally bright."""
    crop = prediction.crop.astype(np.float32).mean(-1, keepdims=True) * 0.35
    glow = np.zeros((1, 1, 3), np.float32)
    if prediction.score_maps is not None:
        maps = np.maximum(np.asarray(prediction.score_maps, np.float32), 0)
        maps = maps / np.maximum(maps.max((0, 1)), 1e-6)
        glow = (maps[..., None] * np.array(KEYPOINT_COLOURS, np.float32)).max(2)
    glow = Image.fromarray(glow.round().astype(np.uint8)).resize(crop.shape[1::-1], Image.Resampling.BILINEAR)
    both = np.clip(crop + np.asarray(glow, np.float32), 0, 255).astype(np.uint8)
    return _enlarged(both, inches)[0]


def _middle(xyz):
    return (xyz.min(0) + xyz.max(0)) / 2


def _view(axes, xyz, degrees, title, names):
    """Orthographic view of a 3D hand, turned about the vertical axis; nearer bones cover farther ones."""
    reach = 1.12 * np.abs(xyz - _middle(xyz)).max() + 1e-6
    turn = np.radians(degrees)
    centred = xyz - _middle(xyz)
    across = np.cos(turn) * centred[:, 0] + np.sin(turn) * centred[:, 2]
    depth = np.cos(turn) * centred[:, 2] - np.sin(turn) * centred[:, 0]
    down = centred[:, 1]
    nearness = 0.5 - 0.5 * depth / reach  # 1 nearest, 0 farthest
    for parent, child in sorted(skeleton.BONES, key=lambda bone: -(depth[bone[0]] + depth[bone[1]])):
        near = (nearness[parent] + nearness[child]) / 2
        colour = np.array(KEYPOINT_COLOURS[child]) / 255
        colour = colour * (0.35 + 0.65 * near) + 0.75 * (0.65 - 0.65 * near)  # farther bones fade to grey
        ends = ([across[parent], across[child]], [down[parent], down[child]])
        order = 2 + near
        width = 3.2 + 3.2 * near
        axes.plot(*ends, color="white", linewidth=width + 2.4, solid_capstyle="round", zorder=order)
        axes.plot(
            *ends, color=colour.clip(0, 1), linewidth=width, solid_capstyle="round", zorder=order + 1e-4
        )
    axes.scatter(across[0], down[0], s=52, color="white", edgecolors="black", linewidths=1.1, zorder=4)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(reach, -reach)  # y points down
    axes.set_aspect("equal")
    axes.set_facecolor("#f4f4f2")
    axes.grid(color="white", linewidth=1.2)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=10, pad=5)
    start = np.array([-0.93, -0.93]) * reach
    for direction, name in (((0.24, 0.0), names[0]), ((0.0, 0.24), names[1])):
        tip = start + np.array(direction) * reach
        axes.annotate("", tip, start, arrowprops={"arrowstyle": "-|>", "color": "#555555", "linewidth": 1})
        axes.text(*(tip + 0.35 * (tip - start)), name, color="#555555", fontsize=9, ha="center", va="center")
