"""The full graph: its geometry with stand-in networks whose answer is known; the real ones save and load."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from hand3d import geometry
from hand3d.graph import full_graph
from hand3d.layers import Float32Layer
from hand3d.networks import handsegnet, posenet, poseprior, viewpoint

CROP, SEGMENT, STRIDE = 64, 64, 4
MAPS = CROP // STRIDE
RNG = np.random.default_rng(0)


def pointwise(channels, weights, bias, name):
    """1x1 convolution with fixed weights {(input channel, output channel): weight}."""
    kernel = np.zeros((1, 1, 3, channels), "float32")
    for place, weight in weights.items():
        kernel[(0, 0, *place)] = weight
    return layers.Conv2D(
        channels,
        1,
        kernel_initializer=keras.initializers.Constant(kernel),
        bias_initializer=keras.initializers.Constant(bias),
        name=name,
    )


def finds_red():
    """A HandSegNet that takes red pixels for a hand, at half the image's size."""
    image = keras.Input((None, None, 3))
    logits = pointwise(2, {(0, 1): 40.0}, [0.0, 0.0], "red")(layers.AveragePooling2D(2)(image))
    return keras.Model(image, logits, name="finds_red")


def finds_green(kind, blue=()):
    """A PoseNet whose maps all show where it is green, but for those in `blue`; x is -0.5..0.5."""
    image = keras.Input((None, None, 3))
    pooled = layers.AveragePooling2D(STRIDE)(image)
    scale = 1.0 if kind == "list" else 30.0
    weights = {(2 if k in blue else 1, k): scale for k in range(21)}
    maps = pointwise(21, weights, 0.5 * scale, "green")(pooled)
    outputs = {"list": [maps * 0.0, maps], "single": maps, "dict": {"score_maps": [maps * 0.0, maps]}}[kind]
    if kind == "dict":
        # logits of a right hand where there is any blue
        blue = layers.GlobalMaxPooling2D()(pointwise(2, {(2, 1): 20.0}, 0.0, "blue")(image))
        outputs["side"] = blue
    return keras.Model(image, outputs, name="finds_green")


@keras.saving.register_keras_serializable("hand3d_tests")
class Remember(Float32Layer):
    """[maps, side] -> 63 numbers that depend on both, as (B, 21, 3)."""

    def call(self, inputs):
        maps, side = inputs
        rows = ops.reshape(ops.max(maps, axis=(1, 2)), (-1, 21, 1)) * np.float32([[0.1, 0.2, 0.3]])
        return rows + side[:, None, 1:]


def lifters():
    maps, side = keras.Input((MAPS, MAPS, 21)), keras.Input((2,))
    prior = keras.Model([maps, side], Remember()([maps, side]), name="prior")
    return prior, viewpoint(map_size=MAPS)


def scene(height=120, width=160, blue=0.0):
    """Black image with a red hand of known place (columns 40-79, rows 30-69) and one green spot, 0..255."""
    image = np.zeros((height, width, 3), "float32")
    image[30:70, 40:80, 0] = 255
    v, u = np.mgrid[:height, :width]
    image[..., 1] = 255 * np.exp(-((u - 66.0) ** 2 + (v - 44.0) ** 2) / 6.0**2)
    image[..., 2] = blue
    return image


def run(model, images, side=None):
    side = np.zeros((len(images), 2), "float32") if side is None else np.asarray(side, "float32")
    outputs = model.predict_on_batch([np.stack(images), side])
    return {name: np.asarray(value) for name, value in outputs.items()}


@pytest.fixture(scope="module", params=["list", "single", "dict"])
def stand_ins(request):
    mode = "probability" if request.param == "dict" else "linear"
    model = full_graph(
        finds_red(),
        finds_green(request.param),
        *lifters(),
        segment_size=SEGMENT,
        crop_size=CROP,
        map_mode=mode,
        reencode=request.param != "single",
    )
    return request.param, model


def test_a_second_look_finds_a_hand_too_small_for_the_first():
    image = np.zeros((128, 128, 3), "float32")
    image[40:48, 80:88, 0] = 255  # one pixel of the mask, a fourth of one that the first look tells apart
    parts, options = (finds_red(), finds_green("list"), *lifters()), dict(crop_size=CROP)
    masks = {}
    for fine in (None, 64):
        model = full_graph(*parts, segment_size=16, segment_fine=fine, **options)
        (masks[fine],) = run(model, [image])["mask"]
    assert masks[None].shape == (16, 16) and masks[None].max() < 0.01
    assert np.unravel_index(masks[64].argmax(), (16, 16)) == (5, 10) and masks[64].max() > 0.25
    assert masks[64].sum() == pytest.approx(0.5, abs=0.01)  # the second look's pixel, softened, by two looks
    with pytest.raises(ValueError, match="segment_fine is 64; the legacy grid takes none"):
        full_graph(*parts, segment_size=16, segment_fine=64, grid="legacy", **options)


@pytest.mark.parametrize("hands", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_looks_again_at_an_upright_hand(hands):
    """The second crop is turned, the results are not."""
    image = scene()
    v, u = np.mgrid[: len(image), : len(image[0])]
    image[..., 2] = 255 * np.exp(-((u - 50.0) ** 2 + (v - 60.0) ** 2) / 6.0**2)
    options = dict(segment_size=SEGMENT, crop_size=CROP, max_hands=hands, second_look=1.5)
    options |= dict(map_mode="probability", mirror=True)
    parts = (finds_red(), finds_green("single", blue=[12]), *lifters())
    plain, turned = (full_graph(*parts, **options, upright=upright) for upright in (False, True))
    images = [image, np.zeros_like(image)]
    before, after = run(plain, images), run(turned, images)
    if hands > 1:
        before, after = (
            {name: value if name == "mask" else value[:, 0] for name, value in each.items()}
            for each in (before, after)
        )
    assert "box_up" not in before
    np.testing.assert_allclose(after["box_up"], [[-(0.5**0.5), 0.5**0.5], [0, -1]], atol=0.02)
    np.testing.assert_allclose(after["keypoints_uv"][0, [0, 12]], [[66, 44], [50, 60]], atol=0.2)
    np.testing.assert_allclose(after["keypoints_uv"][0], before["keypoints_uv"][0], atol=0.3)
    np.testing.assert_allclose(after["box_side"][0], 1.5 * 16 * 2**0.5, atol=1)
    green, blue = (np.argwhere(after["crop"][0, ..., channel] > 230).mean(0) for channel in (1, 2))
    assert abs(green[1] - blue[1]) < 1 and green[0] - blue[0] > 20  # straight above it
    # in 3D the networks say the same of both crops, each in its own axes
    across, down = np.array([-after["box_up"][0, 1], after["box_up"][0, 0]]), -after["box_up"][0]
    flat = before["keypoints_xyz"][0, :, :1] * across + before["keypoints_xyz"][0, :, 1:2] * down
    np.testing.assert_allclose(after["keypoints_xyz"][0, :, :2], flat, atol=0.03)
    np.testing.assert_allclose(after["keypoints_xyz"][0, :, 2], before["keypoints_xyz"][0, :, 2], atol=0.03)
    known = full_graph(*parts, **options, upright=True, known_crop=True)
    places = [after[name] for name in ("box_centre", "box_side", "box_up")]
    again = known.predict_on_batch([np.stack(images), *places, np.zeros((2, 2), "float32")])
    for name, value in again.items():
        np.testing.assert_allclose(np.asarray(value), after[name], atol=2e-3, err_msg=name)


@pytest.mark.parametrize("hands", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_looks_again_around_the_keypoints(hands):
    """The second crop lies around the first's keypoints, and what is seen there counts."""
    options = dict(segment_size=SEGMENT, crop_size=CROP, candidates=2, max_hands=hands)
    parts = (finds_red(), finds_green("dict"), *lifters())
    options |= dict(map_mode="probability", mirror=True)
    once, twice = (full_graph(*parts, **options, second_look=look) for look in (None, 1.5))
    images = [scene(), np.zeros_like(scene())]
    first, second = run(once, images), run(twice, images)
    if hands > 1:
        first, second = (
            {name: value if name == "mask" else value[:, 0] for name, value in each.items()}
            for each in (first, second)
        )
    # all keypoints are in one place, so the crop is the smallest there is
    np.testing.assert_allclose(second["box_side"], [CROP / 5, 160])
    np.testing.assert_allclose(second["box_centre"][0], first["keypoints_uv"][0, 0], atol=0.1)
    np.testing.assert_allclose(second["box_centre"][1], first["box_centre"][1])
    np.testing.assert_allclose(second["keypoints_uv"][0], np.tile([66.0, 44.0], (21, 1)), atol=0.1)
    assert second["score"][0] > 0 and second["score"][1] == 0
    known = full_graph(*parts, **options, second_look=1.5, known_crop=True)
    inputs = [np.stack(images), second["box_centre"], second["box_side"], np.zeros((2, 2), "float32")]
    for name, value in known.predict_on_batch(inputs).items():
        np.testing.assert_allclose(np.asarray(value), second[name], atol=2e-3, err_msg=name)


def test_finds_the_hand_and_its_keypoints(stand_ins):
    kind, model = stand_ins
    result = run(model, [scene()])
    # one pixel of the coarse mask is 2.5 x 1.9 image pixels
    np.testing.assert_allclose(result["box_centre"], [[59.5, 49.5]], atol=3)
    np.testing.assert_allclose(result["box_side"], [1.25 * 40], atol=5)
    np.testing.assert_allclose(result["keypoints_uv"][0], np.tile([66.0, 44.0], (21, 1)), atol=1)
    assert result["component"].max() == 1 and result["mask"].shape == (1, SEGMENT, SEGMENT)
    assert result["crop"].shape == (1, CROP, CROP, 3)
    assert result["crop"].min() > -1e-2 and result["crop"].max() < 255.5
    assert result["score_maps"].shape == (1, MAPS, MAPS, 21)
    assert 0.3 < result["score"][0] <= 1
    assert result["keypoints_xyz"].shape == (1, 21, 3)
    assert all(value.dtype == np.float32 for value in result.values())


def test_nothing_found_scores_zero_and_takes_the_whole_image(stand_ins):
    _, model = stand_ins
    result = run(model, [np.zeros((120, 160, 3), "float32")])
    assert result["score"][0] == 0 and result["component"].max() == 0
    np.testing.assert_allclose(result["box_centre"], [[79.5, 59.5]])
    np.testing.assert_allclose(result["box_side"], [160])
    assert all(np.isfinite(value).all() for value in result.values())


def test_a_batch_gives_what_single_images_give(stand_ins):
    _, model = stand_ins
    images = [scene(), np.zeros_like(scene()), scene()[:, ::-1].copy()]
    together = run(model, images)
    for number, image in enumerate(images):
        for name, value in run(model, [image]).items():
            np.testing.assert_allclose(together[name][number], value[0], atol=2e-3, err_msg=name)


def test_sides(stand_ins):
    kind, model = stand_ins
    images = [scene(), scene(blue=255.0), scene(blue=255.0), scene()]
    result = run(model, images, [[0, 0], [0, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(result["side"][2:], [[1, 0], [0, 1]])
    if kind == "dict":
        assert result["side"][0, 0] > 0.9 and result["side"][1, 1] > 0.9
    else:
        np.testing.assert_allclose(result["side"][:2], 0.5)


def test_right_hands_are_flipped_before_the_rotation(stand_ins):
    kind, model = stand_ins
    lifting = model.get_layer("lifter")
    prior, view = lifting.get_layer("prior"), lifting.get_layer("ViewpointNet")
    layer = model.get_layer("encode" if kind != "single" else "finds_green")
    inner = keras.Model(model.inputs, layer.output if kind != "single" else model.output["score_maps"])
    side = np.eye(2, dtype="float32")
    images = np.stack([scene(), scene()])
    maps = inner.predict_on_batch([images, side])
    canonical, rotation = prior([maps, side]), view([maps, side])
    expected = ops.convert_to_numpy(geometry.from_canonical(canonical, rotation, np.arange(2)))
    np.testing.assert_allclose(run(model, images, side)["keypoints_xyz"], expected, atol=1e-4)


def paper_networks():
    return handsegnet(width=1 / 8), posenet(width=1 / 8), poseprior(map_size=8), viewpoint(map_size=8)


@pytest.mark.parametrize("reencode", [pytest.param(False, marks=pytest.mark.slow), True])
def test_saves_and_loads_back_equal(tmp_path, reencode):
    model = full_graph(*paper_networks(), segment_size=(48, 64), crop_size=64, reencode=reencode)
    images = RNG.uniform(0, 255, (2, 50, 70, 3)).astype("float32")
    expected = run(model, images, [[1, 0], [0, 0]])
    model.save(tmp_path / "graph.keras")
    result = run(keras.models.load_model(tmp_path / "graph.keras"), images, [[1, 0], [0, 0]])
    assert set(result) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, atol=1e-5, err_msg=name)
    assert result["mask"].shape == (2, 48, 64)


def test_maps_of_another_size_are_resized_for_the_lifting():
    image_networks, lifting_networks = paper_networks()[:2], lifters()
    model = full_graph(*image_networks, *lifting_networks, segment_size=64, crop_size=64)
    assert run(model, RNG.uniform(0, 255, (1, 64, 64, 3)))["keypoints_xyz"].shape == (1, 21, 3)


def test_errors_are_plain():
    for wrong in (dict(second_look=0.0), dict(second_look=1.5, grid="legacy")):
        with pytest.raises(ValueError, match="second_look"):
            full_graph(*paper_networks(), **wrong)
    with pytest.raises(ValueError, match="map_mode"):
        full_graph(*paper_networks(), map_mode="soft")
    image = keras.Input((None, None, 3))
    wrong = keras.Model(image, {"maps": layers.Conv2D(21, 1)(image)})
    networks = paper_networks()
    with pytest.raises(ValueError, match="score_maps"):
        full_graph(networks[0], wrong, *networks[2:], segment_size=64, crop_size=64)
