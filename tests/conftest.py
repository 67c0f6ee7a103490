"""Fixtures that several test files share."""

import numpy as np
import pytest
from PIL import Image


def tiny_networks():
    """The paper's lifting networks behind the lite image networks at their smallest width."""
    small = {"width": 0.125}
    return {
        "handsegnet": ("handsegnet_lite", small),
        "posenet": ("posenet_lite", {**small, "stages": 1}),
        "poseprior": ("poseprior", {"map_size": 16}),
        "viewpoint": ("viewpoint", {"map_size": 16}),
    }


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """Folder of a weight set with random weights in which every image has a hand of a tiny score."""
    import keras

    from hand3d import manifest

    folder = tmp_path_factory.mktemp("weights")
    keras.utils.set_random_seed(7)
    entries = {}
    for role, (builder, config) in tiny_networks().items():
        model = manifest.build_network(builder, config)
        if role == "handsegnet":  # every pixel slightly more hand than background
            model.get_layer("logits").bias.assign([0.0, 3.0])
        entries[role] = manifest.save_network(model, str(folder), f"{role}.h5", builder, config)
    graph = {"segment_size": 64, "crop_size": 64, "map_mode": "probability", "reencode": True}
    entry = {"networks": entries, "graph": graph, "min_score": 0.0, "canvas": [64, 96]}
    manifest.write_manifest(str(folder), {"tiny": entry})
    return folder


@pytest.fixture(scope="session")
def estimator(tiny_weights):
    """`HandPoseEstimator` on `tiny_weights`."""
    from hand3d import HandPoseEstimator

    return HandPoseEstimator(tiny_weights)


@pytest.fixture
def photo():
    """(60, 80, 3) uint8: a bright disc on a gradient, different at every edge."""
    v, u = np.mgrid[:60, :80]
    image = np.stack([u * 3, v * 4, 255 - u - v], -1).astype(np.uint8)
    image[(u - 50) ** 2 + (v - 25) ** 2 < 150] = (230, 180, 150)
    return image


@pytest.fixture
def photo_file(photo, tmp_path):
    """Path of `photo` as a PNG file, str."""
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    return str(path)
