"""`--init`: training starts from a weight set, an initialisation that `weights.convert` made, or nothing."""

import keras
import numpy as np
import pytest

from hand3d import manifest, networks
from hand3d.networks.lite import handsegnet_lite

pytest.importorskip("tensorflow")
if keras.config.backend() != "tensorflow":
    pytest.skip("experiments run on TensorFlow", allow_module_level=True)
from experiments import common, handsegnet, lifting, posenet, recipes  # noqa: E402

CONFIG = {"width": 0.125}
LEFT_OUT = ["conv5_2", "conv6_1", "conv6_2"]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Folder of an initialisation of HandSegNet without three layers, and the network it was made from."""
    folder = tmp_path_factory.mktemp("start")
    model = manifest.build_network("handsegnet", CONFIG)
    entry = manifest.save_network(
        model, str(folder), "a.h5", "handsegnet", CONFIG, precision="float32", random=LEFT_OUT
    )
    manifest.write_manifest(str(folder), {"cpm": {"networks": {"handsegnet": entry}}})
    return str(folder), model


def weights(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_an_initialisation(start, capsys):
    folder, source = start
    network = networks.handsegnet(width=0.125)
    before = weights(network)
    common.start_from(network, folder, "handsegnet")
    for name, values in weights(network).items():
        expected = before[name] if name in LEFT_OUT else source.get_layer(name).get_weights()
        for ours, theirs in zip(values, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert "trained from scratch: conv5_2, conv6_1, conv6_2" in capsys.readouterr().out
    common.start_from(network, "none", "handsegnet")
    with pytest.raises(manifest.WeightsError, match="only an initialisation"):
        manifest.load(manifest.find(folder))


def test_lifting_starts_from_the_two_networks_of_a_set():
    weight_set, network = manifest.find("lite"), networks.lifting()
    common.start_from(network, "lite", "lifting")
    for role, name in (("poseprior", "PosePrior"), ("viewpoint", "ViewpointNet")):
        entry = manifest.network_entries(weight_set)[role]
        shipped = manifest.load_network(entry, manifest.verify(weight_set, role))
        for ours, theirs in zip(network.get_layer(name).get_weights(), shipped.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_fit_is_told(start):
    folder, _ = start
    with pytest.raises(ValueError, match="no weights for PoseNet2D; the set has handsegnet"):
        common.start_from(networks.posenet(width=0.125), folder, "posenet")
    with pytest.raises(ValueError, match="no weights for lifting_direct"):
        common.start_from(networks.lifting("direct"), folder, "lifting")
    for network in (networks.handsegnet(width=0.25), handsegnet_lite(width=0.125)):
        with pytest.raises(ValueError, match=f"--init .*: handsegnet does not fit {network.name}"):
            common.start_from(network, folder, "handsegnet")
    with pytest.raises(manifest.WeightsError, match="make it with: python -m weights.convert cpm SOURCE"):
        manifest.find("cpm")


@pytest.mark.parametrize("program", [handsegnet, posenet])
def test_a_network_with_a_typing_error(program, tmp_path):
    arguments = ["--data", str(tmp_path), "--run", str(tmp_path / "run"), "--set", "precision=float32"]
    with pytest.raises(SystemExit, match="--set network=typo: .*_lite or .* expected"):
        program.main([*arguments, "--set", "network=typo"])
    with pytest.raises(SystemExit, match="error: variant"):
        lifting.main([*arguments, "--set", "variant=typo"])


def test_every_program_takes_init(capsys):
    for program in (handsegnet, posenet, lifting):
        with pytest.raises(SystemExit):
            recipes.start(program.RECIPES, "", ["--help"])
        assert "--init" in capsys.readouterr().out


def test_a_posenet_goes_on_with_a_third_level_and_a_frozen_stem(tmp_path, capsys):
    settings = ["width=0.25", "stages=1", "crop_size=64", "frozen=stem,trunk"]
    two = recipes.change(posenet.Recipe(), settings)
    folded = posenet.build(two, folded=True)
    for weight in folded.weights:  # what was folded has kernels of zero mean
        values = np.random.default_rng(0).standard_normal(weight.shape).astype("float32")
        weight.assign(0.1 * (values - values.mean(tuple(range(values.ndim - 1)), keepdims=True)))
    entry = manifest.save_network(
        folded,
        str(tmp_path),
        "a.h5",
        "posenet_lite",
        {"width": 0.25, "stages": 1, "levels": 2},
        precision="float32",
    )
    manifest.write_manifest(str(tmp_path), {"two": {"networks": {"posenet": entry}}})
    three = posenet.training_model(recipes.change(two, ["levels=3"]))
    common.start_from(three.network, str(tmp_path), "posenet")
    assert "stage1_down3" in capsys.readouterr().out
    crop = np.random.default_rng(1).random((1, 64, 64, 3), "float32") - 0.5
    before, after = (np.asarray(network(crop)["score_maps"][-1]) for network in (folded, three.network))
    np.testing.assert_allclose(after, before, atol=1e-3 * np.abs(before).max())
    trained = {weight.path.split("/")[0] for weight in three.trainable_weights}
    assert trained and not any(name.startswith(("stem", "trunk")) for name in trained)
    with pytest.raises(ValueError, match="frozen=neck: no such layers in posenet_lite; there are .*stem"):
        posenet.training_model(recipes.change(two, ["frozen=neck"]))
