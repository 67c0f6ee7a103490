"""Models that train the networks: they augment on the device, run the network and compute its loss.

Each takes whole batches as `pipelines.inputs` makes them, so plain `fit` works on every backend:

    model = PoseNetTraining(posenet_lite(folded=False), Augment(128, reach=1.6))
    model.compile(optimizer="adamw")
    model.fit(posenet_batches(...), steps_per_epoch=500, epochs=20)

The network is the attribute `network`; that is what gets saved and shipped.
"""

import keras
from keras import ops

from hand3d import geometry, losses, scoremaps
from hand3d.networks.common import score_maps_and_side
from hand3d.skeleton import NUM_KEYPOINTS, SIDES

PCK_SHARE = 0.05  # of the crop's side: the distance up to which a keypoint counts as right


class KeypointMedian(keras.metrics.Metric):
    """Median error of each keypoint over all batches, averaged over keypoints: the paper's "average median".

    Errors are counted in classes of 1/8 of their unit; the last class takes all that are larger.
    """

    STEP, CLASSES = 0.125, 2000  # up to 250 mm

    def __init__(self, name, **kwargs):
        super().__init__(name=name, **kwargs)
        shape = (NUM_KEYPOINTS, self.CLASSES)
        self.counts = self.add_variable(shape, initializer="zeros", name="counts")

    def update_state(self, errors, sample_weight=None):
        """errors: (B, 21), >= 0."""
        chosen = ops.cast(ops.minimum(errors / self.STEP, self.CLASSES - 1), "int32")
        chosen = ops.reshape(chosen + self.CLASSES * ops.arange(NUM_KEYPOINTS), (-1,))
        ones = ops.ones_like(chosen, dtype="float32")
        added = ops.segment_sum(ones, chosen, num_segments=NUM_KEYPOINTS * self.CLASSES)
        self.counts.assign_add(ops.reshape(added, self.counts.shape))

    def result(self):
        below = ops.cumsum(self.counts, axis=-1)
        middle = ops.sum(ops.cast(below < below[:, -1:] / 2, "float32"), axis=-1)  # classes under the median
        return self.STEP * (ops.mean(middle) + 0.5)


class _Training(keras.Model):
    """What the three have in common: batches pass unconverted, metrics are means under the names given."""

    def __init__(self, network, metric_names, **kwargs):
        # coordinates do not survive bfloat16: batches keep their dtypes, the network casts for itself
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.network = network
        self.means = {name: keras.metrics.Mean(name=name) for name in metric_names}
        self.replicas = 1  # devices that share a batch; their gradients are added up
        self.built = True  # the network comes built, so weights load before the first batch

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of a device's share of the batch, with what its layers add, by the number of devices."""
        return (self.loss_of(y_pred) + sum(self.losses)) / self.replicas

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Means over the batches of what `measure` returns: {name: value or (value, weight)}."""
        for name, value in self.measure(y_pred).items():
            self.means[name].update_state(*value if isinstance(value, tuple) else (value,))
        return self.get_metrics_result()


class PoseNetTraining(_Training):
    """Trains a PoseNet on hand crops.

    Args:
        network: crops -> score maps, a list of them, or a dict with "score_maps" and "side".
        augment: `hand3d.augment.Augment`; its `size` is the network's crop.
        loss: "position" (softmax cross-entropy over the positions of each map) or "paper" (visible
            keypoints' RMSE against Gaussians at the crop's resolution, PAPER.md 4).
        sigma_cells: standard deviation of the targets of "position", in map cells.
        occluded_weight: of keypoints inside the crop that something hides.
        side_weight: of the side's cross-entropy.
    """

    def __init__(
        self,
        network,
        augment,
        *,
        loss="position",
        sigma_cells=1.0,
        occluded_weight=0.5,
        side_weight=0.2,
        **kwargs,
    ):
        if loss not in ("position", "paper"):
            raise ValueError(f'loss: "position" or "paper" expected, got {loss!r}')
        super().__init__(network, ("epe_px", "pck_5", "side_right"), **kwargs)
        self.augment, self.loss_kind, self.sigma_cells = augment, loss, sigma_cells
        self.occluded_weight, self.side_weight = occluded_weight, side_weight

    def call(self, batch, training=False):
        up = geometry.up_direction(batch["uv"])
        image, _, drawn = self.augment(batch["picture"], batch["background"], up=up, training=training)
        uv_crop, weight = self.augment.move_keypoints(
            batch["uv"], ops.cast(batch["visible"], "bool"), drawn, self.occluded_weight
        )
        if "present" in batch:  # an absent keypoint is not a hidden one: it counts for nothing
            weight = weight * ops.cast(batch["present"], weight.dtype)
        score_maps, side = score_maps_and_side(self.network(image, training=training))
        side_true = ops.where(drawn["mirror"], 1 - batch["side"], batch["side"])
        return {
            "score_maps": score_maps,
            "side": side,
            "uv": uv_crop,
            "weight": weight,
            "side_true": side_true,
        }

    def loss_of(self, y_pred):
        maps, crop_size = y_pred["score_maps"], self.augment.size
        if self.loss_kind == "paper":
            visible = ops.cast(y_pred["weight"] > 0.99, "float32")
            target = scoremaps.encode(y_pred["uv"], visible, crop_size, crop_size)
            # not on the paper's grid: `decode` reads the maps by the one pixel rule
            total = losses.posenet_loss(target, maps, visible, grid="half_pixel")
        else:
            target = scoremaps.target_distribution(
                y_pred["uv"], y_pred["weight"], maps[-1].shape[1], crop_size, self.sigma_cells
            )
            stages = [losses.position_cross_entropy(stage, target, y_pred["weight"]) for stage in maps]
            total = sum(stages) / len(stages)
        if y_pred["side"] is not None:
            logits = ops.cast(y_pred["side"], "float32")
            wrong = keras.losses.sparse_categorical_crossentropy(
                y_pred["side_true"], logits, from_logits=True
            )
            total = total + self.side_weight * ops.mean(wrong)
        return total

    def measure(self, y_pred):
        """Of visible keypoints, last stage: epe_px in crop pixels, share within 5 % of the crop's side."""
        maps, crop_size = ops.cast(y_pred["score_maps"][-1], "float32"), self.augment.size
        if self.loss_kind == "position":
            uv, _ = scoremaps.decode(scoremaps.spatial_softmax(maps), crop_size, "probability")
        else:
            uv, _ = scoremaps.decode(maps, crop_size)
        error = ops.sqrt(ops.sum(ops.square(uv - y_pred["uv"]), -1))
        visible = ops.cast(y_pred["weight"] > 0.99, "float32")
        close = ops.cast(error < PCK_SHARE * crop_size, "float32")
        measured = {"epe_px": (error, visible), "pck_5": (close, visible)}
        if y_pred["side"] is not None:
            right = ops.equal(ops.argmax(y_pred["side"], -1), ops.cast(y_pred["side_true"], "int32"))
            measured["side_right"] = ops.cast(right, "float32")
        return measured


class HandSegNetTraining(_Training):
    """Trains a HandSegNet: mean softmax cross-entropy over the pixels of its logits.

    Args:
        network: images -> logits (B, h, w, 2), at the image's size or smaller.
        augment: `hand3d.augment.Augment` with reach 1 and crop_factor 1.
    """

    def __init__(self, network, augment, **kwargs):
        super().__init__(network, ("iou",), **kwargs)
        self.augment = augment

    def call(self, batch, training=False):
        image, covers, _ = self.augment(batch["picture"], batch["background"], training=training)
        logits = self.network(image, training=training)
        hand = covers[..., 1:]
        stride = hand.shape[1] // logits.shape[1]
        if stride > 1:  # the share of a cell that the hand fills
            hand = ops.average_pool(hand, stride, stride)
        return {"logits": logits, "hand": hand[..., 0]}

    def loss_of(self, y_pred):
        return losses.segmentation_cross_entropy(y_pred["hand"], y_pred["logits"])

    def measure(self, y_pred):
        """iou: intersection over union of the hand's pixels, each batch pooled."""
        found = y_pred["logits"][..., 1] > y_pred["logits"][..., 0]
        hand = y_pred["hand"] > 0.5
        both = ops.sum(ops.cast(found & hand, "float32"))
        either = ops.sum(ops.cast(found | hand, "float32"))
        return {"iou": both / ops.maximum(either, 1.0)}


class LiftingTraining(_Training):
    """Trains a lifting network on made-up views of hand poses.

    Args:
        network: one of `hand3d.networks.lifting`.
        views: `hand3d.views.Views`.
        variant: which of `hand3d.losses.LIFTING_TARGETS` it is.
    """

    def __init__(self, network, views, *, variant="proposed", **kwargs):
        super().__init__(network, ("epe_mm/root_scale",), **kwargs)
        self.means["epe_median_mm/root_scale"] = KeypointMedian(name="epe_median_mm/root_scale")
        self.views, self.variant = views, variant

    def call(self, batch, training=False):
        seen = self.views(batch["xyz"], batch["side"], ops.cast(batch["visible"], "bool"), training=training)
        side = ops.one_hot(seen["side"], len(SIDES), dtype="float32")
        outputs = self.network([seen["score_maps"], side], training=training)
        xyz_relative, scale = geometry.normalise(seen["xyz_camera"])
        xyz_canonical, rotation = geometry.to_canonical(xyz_relative, seen["side"])
        targets = {"xyz_relative": xyz_relative, "xyz_canonical": xyz_canonical, "rotation": rotation}
        if self.variant == "local":
            targets["xyz_local"] = geometry.local_bones(xyz_relative)
        return {"outputs": outputs, "targets": targets, "scale": scale}

    def loss_of(self, y_pred):
        return losses.lifting_loss(self.variant, y_pred["targets"], y_pred["outputs"])

    def measure(self, y_pred):
        """Error with the true root and scale: its mean, and its median as the paper has it."""
        off = y_pred["outputs"]["xyz_relative"] - y_pred["targets"]["xyz_relative"]
        error = ops.sqrt(ops.sum(ops.square(ops.cast(off, "float32")), -1))
        error = 1000 * error * y_pred["scale"][:, None]
        return {"epe_mm/root_scale": error, "epe_median_mm/root_scale": error}
