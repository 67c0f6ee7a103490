"""Training losses as pure functions of tensors; all return a float32 scalar unless said otherwise.

Mean squared errors of the lifting networks also come from `compile(loss=...)`: the model's outputs bear the
names in `LIFTING_TARGETS`.
"""

from keras import ops

from hand3d import crops

# what each lifting variant is trained on: names of the model's outputs and of the targets (PAPER.md 1.6)
LIFTING_TARGETS = {
    "direct": ("xyz_relative",),
    "bottleneck": ("xyz_relative",),
    "local": ("xyz_local",),
    "local_w_xyz_loss": ("xyz_relative",),
    "proposed": ("xyz_canonical", "rotation"),
}


def rmse_per_map(target, prediction, grid="legacy"):
    """Root of the mean squared difference of each score map (PAPER.md 4, PoseNet).

    Args:
        target: (B, H, W, 21) linear maps.
        prediction: (B, h, w, 21); resized to H x W where it differs.
        grid: "legacy" for TensorFlow 1's grid as in the paper, "half_pixel" for one without shift.

    Returns:
        (B, 21) float32.
    """
    if grid not in ("legacy", "half_pixel"):
        raise ValueError(f'grid: "legacy" or "half_pixel" expected, got {grid!r}')
    target, prediction = ops.cast(target, "float32"), ops.cast(prediction, "float32")
    if tuple(target.shape[1:3]) != tuple(prediction.shape[1:3]):
        enlarge = crops.legacy_resize if grid == "legacy" else crops.resize
        prediction = enlarge(prediction, tuple(ops.shape(target)[1:3]))
    # the small number keeps the square root's gradient finite where a map is hit exactly
    return ops.sqrt(ops.mean(ops.square(prediction - target), axis=(1, 2)) + 1e-12)


def posenet_loss(target, predictions, visible, grid="legacy"):
    """The paper's PoseNet loss: over stages, the sum of the visible maps' mean RMSE (PAPER.md 4).

    Args:
        target: (B, H, W, 21) linear maps.
        predictions: list of (B, h, w, 21), one per stage.
        visible: (B, 21), 1 for keypoints that count.
        grid: see `rmse_per_map`.
    """
    visible = ops.cast(visible, "float32")
    stages = [ops.sum(visible * rmse_per_map(target, maps, grid)) for maps in predictions]
    return sum(stages) / (ops.sum(visible) + 0.001)


def segmentation_cross_entropy(mask, logits):
    """Mean softmax cross-entropy over all pixels (PAPER.md 4, HandSegNet).

    Args:
        mask: (B, H, W), 1 (or True) where there is a hand; values between are soft labels.
        logits: (B, H, W, 2), background and hand.
    """
    log_probability = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    mask = ops.cast(mask, "float32")
    return -ops.mean((1.0 - mask) * log_probability[..., 0] + mask * log_probability[..., 1])


def position_cross_entropy(logits, target, weight):
    """Softmax cross-entropy over the positions of each map, averaged with weights.

    Args:
        logits: (B, h, w, 21).
        target: (B, h, w, 21), see `hand3d.scoremaps.target_distribution`.
        weight: (B, 21), 0 for keypoints that do not count.
    """
    logits, target = ops.cast(logits, "float32"), ops.cast(target, "float32")
    weight = ops.cast(weight, "float32")
    log_total = ops.logsumexp(logits, axis=(1, 2))
    # -sum target * (logits - log_total), with the target's own sum in place of 1
    entropy = log_total * ops.sum(target, axis=(1, 2)) - ops.sum(target * logits, axis=(1, 2))
    return ops.sum(weight * entropy) / (ops.sum(weight) + 0.001)


def mean_squared(target, prediction):
    """Mean over all elements of the squared difference."""
    return ops.mean(ops.square(ops.cast(prediction, "float32") - ops.cast(target, "float32")))


def lifting_loss(variant, targets, outputs):
    """Loss of one lifting variant (PAPER.md 1.6).

    Args:
        variant: a key of `LIFTING_TARGETS`.
        targets, outputs: dicts with at least the variant's names: `xyz_relative` (B, 21, 3) normalised,
            `xyz_local` (B, 21, 3), `xyz_canonical` (B, 21, 3), `rotation` (B, 3, 3).
    """
    if variant not in LIFTING_TARGETS:
        raise ValueError(f"variant: one of {tuple(LIFTING_TARGETS)} expected, got {variant!r}")
    return sum(mean_squared(targets[name], outputs[name]) for name in LIFTING_TARGETS[variant])
