"""Labels of evaluation samples, and the errors of predictions against them (PAPER.md 5.1)."""

import keras
import numpy as np

from hand3d import crops, geometry, metrics
from hand3d.skeleton import NUM_KEYPOINTS, ROOT, SIDES

FRAMES = ("320", "240x320", "native")  # the picture whose pixels 2D errors are given in
FRAME = 320  # pixels of its longer side
PAPER_FRAME = (240, 320)  # height and width that the released programs resize to, whatever the image's shape
ROOTS = ("palm", "wrist")
HANDS = ("large", "dominant")
MIN_VISIBLE, MIN_BOX = 9, 30  # keypoints and pixels of a hand that counts
MIN_LABELS = 3


class Truth:
    """Labels of a batch of samples; B images, 2 hands each, the left one first.

    uv (B, 2, 21, 2), xyz_mm (B, 2, 21, 3), visible (B, 2, 21), present (B, 2, 21): root = palm.  uv_wrist,
    visible_wrist: the same with the wrist, where the palm is labelled by STB's rule.  pixels (B, 2, H, W)
    bool: the visible pixels of each hand, or the rectangle around its keypoints in samples without a mask.
    counts (B, 2) bool: large enough and in view; with hands="dominant" the paper's one hand an image, if any
    of it is visible.  has_mask (B,) bool.  in_3d (B, 2) bool: all keypoints are known in 3D.  size (B, 2):
    height and width of the images, without what pads them.
    """

    def __init__(self, batch, hands="large"):
        from pipelines.records import HAND_IDS, MASK_KINDS
        from pipelines.records import ROOTS as LABELLED
        from pipelines.rules import palm_present, stb_wrist

        shape = (-1, len(SIDES), NUM_KEYPOINTS)
        uv, xyz = batch["uv"].reshape(*shape, 2), batch["xyz"].reshape(*shape, 3)
        visible, present = (batch[key].reshape(shape) for key in ("visible", "present"))
        palm = (batch["root"] == LABELLED.index("palm"))[:, None, None]
        self.uv = np.where(palm[..., None], uv, _numpy(geometry.wrist_to_palm(uv)))
        self.uv_wrist = np.where(palm[..., None], stb_wrist(uv), uv)
        self.xyz_mm = 1000 * np.where(palm[..., None], xyz, _numpy(geometry.wrist_to_palm(xyz)))
        seen = _numpy(geometry.palm_visible(visible)).copy()
        labelled = present.copy()
        labelled[..., ROOT] = palm_present(present)
        seen[..., ROOT] &= labelled[..., ROOT]
        self.visible, self.visible_wrist = np.where(palm, visible, seen), visible
        self.present = np.where(palm, present, labelled)
        self.has_mask = batch["mask_kind"] > MASK_KINDS.index("none")
        self.in_3d = batch["present_xyz"].reshape(shape).all(-1)
        ids = batch["mask"][..., 0]
        whole = np.array(ids.shape[1:])
        self.size = np.stack([batch.get(key, np.full(len(ids), whole[k])) for k, key in enumerate(_SIZE)], -1)
        masks = np.stack([(ids >= low) & (ids <= high) for low, high in HAND_IDS], 1)
        around = _around(uv, present, ids.shape[1:])
        self.pixels = np.where(self.has_mask[:, None, None, None], masks, around)
        self.box = np.maximum(_extent(self.pixels.any(2)), _extent(self.pixels.any(3)))
        if hands == "dominant":
            amount = np.where(self.has_mask[:, None], masks.sum((2, 3)), visible.sum(-1))
            chosen = np.where(amount[:, 0] > amount[:, 1], 0, 1)
            self.counts = (np.arange(len(SIDES)) == chosen[:, None]) & self.visible.any(-1)
        else:
            known = present.sum(-1)  # of hands with a few labels all have to be visible
            enough = (known >= MIN_LABELS) & (self.visible.sum(-1) >= np.minimum(MIN_VISIBLE, known))
            self.counts = enough & (self.box >= MIN_BOX)


class Errors:
    """Collects predictions of hands and their labels."""

    def __init__(self):
        self.px, self.xyz, self.truth_mm, self.visible, self.found, self.side = [], [], [], [], [], []
        self.in_3d, self.present, self.uv, self.label, self.size = [], [], [], [], []
        self.wrist, self.visible_wrist = [], []

    def add(self, truth, image, hand, uv=None, xyz=None, side=None):
        """One hand (image, hand) of a `Truth`; uv (21, 2), xyz (21, 3) and side index, or None if missing."""
        self.found.append(uv is not None)
        if uv is None:
            uv, xyz, side = np.full((NUM_KEYPOINTS, 2), np.inf), np.zeros((NUM_KEYPOINTS, 3)), -1
        place = image, hand
        zoom = FRAME / max(truth.pixels.shape[2:])
        self.px.append(zoom * np.linalg.norm(uv - truth.uv[place], axis=-1))
        self.xyz.append(xyz)
        self.uv.append(uv)
        self.side.append(side == hand)
        self.size.append(truth.size[image])
        kept = (
            *((self.label, truth.uv), (self.wrist, truth.uv_wrist), (self.truth_mm, truth.xyz_mm)),
            *((self.visible, truth.visible), (self.visible_wrist, truth.visible_wrist)),
            *((self.present, truth.present), (self.in_3d, truth.in_3d)),
        )
        for values, labels in kept:
            values.append(labels[place])

    def errors_px(self, frame="320", root="palm"):
        """2D errors (N, 21) and which keypoints are visible (N, 21), by the protocol (PAPER.md 5.2, fact T4).

        frame: "320", pictures with a longer side of 320; "240x320", stretched to it as by the released
        programs; "native", the pictures as they are.  root: what the predicted palm is compared with; with
        "wrist" it is wrong by half a palm, as in the published Table 1.
        """
        if frame not in FRAMES or root not in ROOTS:
            raise ValueError(f"frame {frame!r}, root {root!r}: {FRAMES} and {ROOTS} expected")
        size = np.array(self.size, np.float64)
        zoom = {
            "320": FRAME / size.max(1, keepdims=True) * np.ones(2),
            "240x320": (np.array(PAPER_FRAME) / size)[:, ::-1],
            "native": np.ones_like(size),
        }[frame]
        label, visible = (self.label, self.visible) if root == "palm" else (self.wrist, self.visible_wrist)
        off = (np.array(self.uv) - np.array(label)) * zoom[:, None]
        return np.linalg.norm(off, axis=-1), np.array(visible)

    def errors_mm(self, alignment="root_scale"):
        """3D errors (N, 21) and which keypoints count (N, 21): visible ones of hands that are known in 3D."""
        xyz, truth, found = np.array(self.xyz), np.array(self.truth_mm), np.array(self.found)
        counted = np.array(self.visible) & np.array(self.in_3d)[:, None]
        return metrics.keypoint_errors(metrics.align(xyz, truth, alignment), truth, found), counted

    def side_right(self):
        """Share of the hands found whose side is right; NaN if none was found."""
        found = np.array(self.found, bool)
        return float(np.mean(np.array(self.side)[found])) if found.any() else float("nan")

    def summary_2d(self):
        if not self.px:
            return {}
        scores = metrics.summary_2d(np.array(self.px), np.array(self.visible))
        return scores | {"side_right": self.side_right()}

    def summary_3d(self, alignment="root_scale"):
        if not self.px:
            return {}
        errors, counted = self.errors_mm(alignment)
        return metrics.summary_3d(errors, alignment, counted)


_SIZE = ("height", "width")


def errors_mm(xyz_relative, truth_mm, found=None):
    """Errors (N, 21) with the true root and scale; xyz_relative (N, 21, 3) is in units of the scale bone."""
    return metrics.keypoint_errors(metrics.align(xyz_relative, truth_mm, "root_scale"), truth_mm, found)


def _extent(line):
    """(..., L) bool -> (...,) int: from the first to the last True, 0 without any."""
    last = line.shape[-1] - line[..., ::-1].argmax(-1)
    return np.where(line.any(-1), last - line.argmax(-1), 0)


def _around(uv, present, size):
    """(B, 2, 21, 2), (B, 2, 21) -> (B, 2, H, W) bool: the rectangles around the labelled keypoints."""
    inside = True
    for axis, length in ((1, size[0]), (0, size[1])):
        low = np.where(present, uv[..., axis], np.inf).min(-1)[..., None]
        high = np.where(present, uv[..., axis], -np.inf).max(-1)[..., None]
        line = (np.arange(length) >= low) & (np.arange(length) <= high)
        inside = inside & (line[..., None] if axis else line[..., None, :])
    return inside


def shrink(masks, size):
    """(B, H, W) bool -> (B, *size) bool: more than half of the pixel's area."""
    return _numpy(crops.resize(masks[..., None].astype(np.float32), tuple(size)))[..., 0] > 0.5


def enlarge(mask, size):
    """(h, w) -> (*size), the nearest pixels."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)
