"""The whole way from an image to a 3D hand as one functional model (PAPER.md 1.5)."""

import keras

from hand3d import layers, legacy
from hand3d.candidates import BestRegions, DistinctHands, ForEachRegion, HandRegions, SplitHands
from hand3d.crop_layers import ComponentBox, CropImages, CropToImage, KeypointBox, TurnBack
from hand3d.networks.common import score_maps_and_side
from hand3d.networks.mirrored import average_mirrored, lifter
from hand3d.pictorial import DecodeTree
from hand3d.scoremaps import GRIDS
from hand3d.skeleton import SIDES

MAP_MODES = ("linear", "probability")
PEAKS = ("peaks", "masses")  # of `pictorial.DecodeTree`
VISIBLE_FROM = "visible_from"  # of a calibration: the probability from which a keypoint is called visible
# its curves, and the output that each makes
CURVES = {"within_10_px": "keypoint_scores", "visible": "keypoint_visible"}


def full_graph(
    handsegnet,
    posenet,
    poseprior,
    viewpoint,
    *,
    hand_fit=None,
    segment_size=256,
    segment_fine=None,
    crop_size=256,
    map_mode="linear",
    reencode=False,
    mirror=False,
    peaks=1,
    candidates=1,
    max_hands=1,
    second_look=None,
    upright=False,
    calibration=None,
    crop_factor=1.25,
    component_stride=None,
    grid="half_pixel",
    known_crop=False,
    name="hand3d",
):
    """Image -> mask -> crop -> score maps -> 3D.

    Inputs:
    - `image` (B, H, W, 3) float32 RGB 0..255, of any size (grid "legacy": of segment_size); the networks are
      fed x / 255 - 0.5.
    - `hand_side` (B, 2) float32 one-hot (left, right); all zeros leave it to PoseNet's "side" output.  If it
      has none, the lifting networks get 0.5 / 0.5 and the hand is taken for a left one.

    Outputs, a dict of float32 tensors; s is segment_size, c crop_size, m the side of PoseNet's maps:
    - `mask`, `component` (B, s, s): hand probability; 0/1 map of the object that was picked.
    - `box_centre` (B, 2) as (u, v), `box_side` (B,): the crop in image pixels; if no hand, the whole image
      (grid "legacy": a fixed place).
    - `box_up` (B, 2), if crops are turned (`upright`): the direction of the image that is up in the crop.
    - `crop` (B, c, c, 3): RGB 0..255, mid-grey (127.5) outside the image.
    - `score_maps` (B, m, m, 21): linear maps, or probabilities by map_mode.
    - `keypoints_uv` (B, 21, 2) image pixels, `keypoint_scores` (B, 21) 0..1; `confidence` (B,) 0..1, their
      mean before calibration.  With a calibration also `keypoint_visible` (B, 21), probabilities.
    - `side` (B, 2): as given, or probabilities.
    - `score` (B,) 0..1, see `layers.HandScore`; 0 where no pixel is taken for a hand.
    - `keypoints_xyz` (B, 21, 3): root-relative, in units of the scale bone, camera axes; without hand_fit the
      root itself is PosePrior's and only near 0.
    With max_hands > 1 all but `mask` have the hands as a second axis, (B, max_hands, ...), best score first;
    where there are fewer the rest score 0.

    Args:
        handsegnet: image -> logits (B, h, w, 2), any stride.
        posenet: crop -> score maps (B, m, m, 21), a list of them (the last counts), or a dict with
            `score_maps` (either of these) and, if it can tell, `side` (B, 2) logits.
        poseprior, viewpoint: [score maps (B, n, n, 21), hand_side (B, 2)] -> xyz_canonical, rotation.
        hand_fit: None, or `networks.hand_fit` for this crop_size and number of peaks, more than 1: brings
            keypoints and hand into agreement (`hand3d.fitting`; not in the paper).
        segment_size: pixels a side that HandSegNet sees, or (height, width), (240, 320) in the paper;
            divisible by component_stride.
        segment_fine: None, or pixels a side that HandSegNet sees besides: the mean of both masks is taken.
            It finds small hands at the larger size, and large ones at the smaller.
        crop_size: pixels a side that PoseNet sees.
        map_mode: "linear", PoseNet puts out the paper's score maps, or "probability", logits over positions.
        reencode: feed the lifting networks with clean Gaussians of the decoded keypoints, as high as
            their confidence, instead of PoseNet's maps.
        mirror: average PoseNet over the crop and its mirror image, and the lifting networks over the score
            maps and theirs (`networks.mirrored`).
        peaks: how many peaks of each score map a keypoint may choose from, so that all make a likely skeleton
            (`hand3d.pictorial`); 1 in the paper: the highest.
        candidates: how many objects of the mask PoseNet looks at, at least max_hands; those with the best
            scores are the hands.  1 in the paper: the object that holds the mask's highest value.
        max_hands: hands of an image; objects in which PoseNet finds the same hand count once
            (`candidates.distinct`).
        second_look: None, or the side of a second crop by the extent of the keypoints found in the first:
            what PoseNet sees there counts.  With `mirror` the first crops are looked at once and the second
            ones twice, so that one hand of two candidates takes as long as without.  None with known_crop.
        upright: with a second look, turn its crop so that the hand points up, as the crops of a training
            with `Augment(upright=...)` are; with known_crop, crops are turned as an input `box_up` (B, 2),
            after `box_side`, says.
        calibration: None, or dict of curves over PoseNet's confidence, lists of [confidence, probability]
            that rise: "within_10_px" makes it `keypoint_scores`, "visible" `keypoint_visible`
            (`experiments.calibrate` measures them).  "visible_from" is for who reads that.
        crop_factor: side of the crop by the object's extent.
        component_stride: side of the cells that the object grows in (`segmentation.hand_component`), 1 in
            the paper and with grid "legacy", 4 otherwise by default.
        grid: "half_pixel", or "legacy" for the released code's glue (`hand3d.legacy`, PAPER.md 2): maps
            enlarged on TensorFlow 1's grid (fact T3), crops at whole pixels, keypoints at the highest pixel.
        known_crop: instead of looking for the hand take the inputs `box_centre` and `box_side`, between the
            two others, and leave out the outputs that need the mask: `mask`, `component` and `score`.
        name: of the model.

    Raises:
        ValueError: unknown map_mode or grid, candidates, max_hands or peaks below 1, second_look not above 0,
            peaks, segment_fine or second_look on the legacy grid, peaks 1 with hand_fit, a calibration that
            does not rise, or a posenet without score maps.
    """
    for label, value in (("candidates", candidates), ("max_hands", max_hands)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{label} is {value!r}; a whole number of at least 1 expected")
    candidates, max_hands = (1, 1) if known_crop else (max(candidates, max_hands), max_hands)
    if grid not in GRIDS:
        raise ValueError(f"grid: one of {GRIDS} expected, got {grid!r}")
    old = grid == "legacy"
    if peaks < 1 or (old and peaks > 1):
        raise ValueError(f"peaks is {peaks!r}; at least 1 expected, and 1 on the legacy grid")
    if hand_fit is not None and peaks == 1:
        raise ValueError("peaks is 1; more expected with hand_fit")
    component_stride = component_stride or (1 if old else 4)
    if map_mode not in MAP_MODES:
        raise ValueError(f"map_mode: one of {MAP_MODES} expected, got {map_mode!r}")
    if second_look is not None and (old or not 0 < second_look < float("inf")):
        raise ValueError(
            f"second_look is {second_look!r}; a number above 0 expected, none on the legacy grid"
        )
    if segment_fine is not None and old:
        raise ValueError(f"segment_fine is {segment_fine!r}; the legacy grid takes none")
    turned = upright and second_look is not None
    segment_size, segment_fine = _both_sides(segment_size), segment_fine and _both_sides(segment_fine)
    image = keras.Input((*segment_size, 3) if old else (None, None, 3), name="image", dtype="float32")
    hand_side = keras.Input((len(SIDES),), name="hand_side", dtype="float32")

    def for_each(values, label):
        return values if candidates == 1 else ForEachRegion(candidates, name=label)(values)

    # --- where is the hand
    if known_crop:
        centre = keras.Input((2,), name="box_centre", dtype="float32")
        side_length = keras.Input((), name="box_side", dtype="float32")
        up = [keras.Input((2,), name="box_up", dtype="float32")] if turned else []
        inputs = [image, centre, side_length, *up, hand_side]
    else:
        up, inputs = [], [image, hand_side]
        small = image if old else layers.ResizeImages(segment_size, name="segment_image")(image)
        logits = handsegnet(_network_range("segment_pixels")(small))
        if segment_fine:
            fine = layers.ResizeImages(segment_fine, name="fine_image")(image)
            logits = [logits, handsegnet(_network_range("fine_pixels")(fine))]
        mask = layers.HandMask(segment_size, grid=grid, name="mask")(logits)
        component = HandRegions(candidates, stride=component_stride, name="regions")(mask)
        if old:
            centre, side_length = legacy.LegacyWindow(crop_size, name="box")(component)
        else:
            centre, side_length = ComponentBox(crop_size, crop_factor, name="box")([component, image])

    # --- its keypoints; pixels are shifted before the crop, so that outside becomes mid-grey as in the paper
    image_pixels = _network_range("image_pixels")(image)
    pixels = for_each(image_pixels, "image_regions")
    cut, back = (legacy.LegacyCrop, legacy.LegacyCropToImage) if old else (CropImages, CropToImage)
    twice = second_look is not None and not known_crop
    both_ways = average_mirrored(posenet) if mirror else posenet

    def look(network, crop_pixels, before=""):
        """PoseNet's score maps of crops and its side (None if it has none), and what they are decoded to."""
        stages, side_logits = score_maps_and_side(network(crop_pixels))
        score_maps = stages[-1]
        if map_mode == "probability":
            score_maps = layers.SpatialSoftmax(name=f"{before}probability_maps")(score_maps)
        if peaks == 1:
            decode = layers.DecodeScoreMaps(crop_size, map_mode, grid, name=f"{before}decode")
        else:
            extent = crop_size / crop_factor
            decode = DecodeTree(crop_size, extent, map_mode, peaks, name=f"{before}decode")
        return score_maps, side_logits, decode(score_maps)

    crop_pixels = cut(crop_size, name="crop")([pixels, centre, side_length, *up])
    score_maps, side_logits, (uv_crop, confidence, *all_peaks) = look(
        posenet if twice else both_ways, crop_pixels
    )

    # --- which of the objects are hands
    if not known_crop:
        region_mask = for_each(mask, "mask_regions")
        scores = layers.HandScore(name="region_scores")([region_mask, component, confidence])
    keypoints_uv = back(crop_size, name="region_uv")([uv_crop, centre, side_length, *up])
    if max_hands > 1:
        scores = DistinctHands(candidates, name="distinct_scores")([scores, keypoints_uv])

    def best(values, label):
        return values if candidates == 1 else BestRegions(candidates, max_hands, name=label)([scores, values])

    centre, side_length = best(centre, "box_centre"), best(side_length, "box_side")
    if twice:
        seen = [best(keypoints_uv, "first_uv"), best(scores, "first_scores"), centre, side_length]
        second_box = KeypointBox(crop_size, second_look, upright=turned, name="second_box")
        centre, side_length, *up = second_box(seen)
        pixels = image_pixels
        if max_hands > 1:
            pixels = ForEachRegion(max_hands, name="second_images")(image_pixels)
        crop_pixels = cut(crop_size, name="second_crop")([pixels, centre, side_length, *up])
        score_maps, side_logits, (uv_crop, confidence, *all_peaks) = look(both_ways, crop_pixels, "second_")
        known_side = [] if side_logits is None else [side_logits]
    else:
        crop_pixels = best(crop_pixels, "best_crop")
        score_maps, uv_crop = best(score_maps, "score_maps"), best(uv_crop, "best_uv_crop")
        confidence = best(confidence, "best_confidence")
        all_peaks = [best(each, f"best_{name}") for each, name in zip(all_peaks, PEAKS, strict=False)]
        known_side = [] if side_logits is None else [best(side_logits, "side_logits")]

    # --- lifted to 3D
    given = hand_side if max_hands == 1 else ForEachRegion(max_hands, name="given_sides")(hand_side)
    side, side_one_hot = layers.ResolveSide(name="side")([given, *known_side])
    lifting_size = poseprior.inputs[0].shape[1]
    lifting_maps = score_maps
    if reencode:
        lifting_maps = layers.EncodeScoreMaps(lifting_size, crop_size, name="encode")([uv_crop, confidence])
    elif score_maps.shape[1] != lifting_size:
        lifting_maps = layers.ResizeImages(lifting_size, name="lifting_maps")(score_maps)
    keypoints_xyz = lifter(poseprior, viewpoint, mirror)([lifting_maps, side_one_hot])

    # --- which agree
    if hand_fit is not None:
        uv_crop, keypoints_xyz = hand_fit([uv_crop, confidence, *all_peaks, keypoints_xyz, side_one_hot])
    keypoints_uv = back(crop_size, name="keypoints_uv")([uv_crop, centre, side_length, *up])
    if up:
        keypoints_xyz = TurnBack(name="keypoints_xyz")([keypoints_xyz, *up])

    outputs = {
        "box_centre": centre,
        "box_side": side_length,
        "crop": keras.layers.Rescaling(255.0, 127.5, dtype="float32", name="crop_rgb")(crop_pixels),
        "score_maps": score_maps,
        "keypoints_uv": keypoints_uv,
        "confidence": layers.MeanOfKeypoints(name="confidence")(confidence),
        "side": side,
        "keypoints_xyz": keypoints_xyz,
    } | _calibrated(confidence, calibration)
    if up:
        outputs["box_up"] = up[0]
    if known_crop:
        return keras.Model(inputs, outputs, name=name)
    outputs |= {"component": best(component, "component"), "score": best(scores, "score")}
    if max_hands > 1:
        outputs = {
            label: SplitHands(max_hands, name=f"hands_{label}")(value) for label, value in outputs.items()
        }
    return keras.Model(inputs, {"mask": mask} | outputs, name=name)


def _calibrated(confidence, calibration):
    """The outputs `keypoint_scores` and, with a calibration, `keypoint_visible` of a confidence (B, 21)."""
    if calibration is None:
        return {"keypoint_scores": confidence}
    if not isinstance(calibration, dict) or set(calibration) - {VISIBLE_FROM} != set(CURVES):
        raise ValueError(f"calibration is {calibration!r}; an object of {sorted(CURVES)} expected")
    start = calibration.get(VISIBLE_FROM, 0.5)
    if isinstance(start, bool) or not isinstance(start, int | float) or not 0 <= start <= 1:
        raise ValueError(f"calibration: {VISIBLE_FROM} is {start!r}; a number in 0..1 expected")
    return {
        output: layers.Curve(calibration[curve], name=f"curve_{output}")(confidence)
        for curve, output in CURVES.items()
    }


def _both_sides(size):
    """(height, width) of a number of pixels a side, or of itself."""
    return (size, size) if isinstance(size, int) else size


def _network_range(name):
    """0..255 -> -0.5..0.5."""
    return keras.layers.Rescaling(1.0 / 255.0, -0.5, dtype="float32", name=name)
