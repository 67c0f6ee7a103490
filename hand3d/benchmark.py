"""Speed of a weight set on this machine: its stages, batches and precisions, and a peer beside it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile

import keras
import numpy as np
from PIL import Image

from hand3d.estimator import HandPoseEstimator
from hand3d.images import load_image
from hand3d.measuring import Compiled, in_turns, machine, matmul_gflops, milliseconds, timer

PEERS = ("mediapipe",)


class PeerError(Exception):
    """The peer could not be run; the message says why."""


def stages(model, networks):
    """{stage: keras.Model} of the full graph, in the order in which they run."""
    layer = model.get_layer
    names = {each.name for each in model.layers}
    maps = layer("probability_maps" if "probability_maps" in names else "decode").input
    decoded = layer("decode").output
    image = model.inputs[0]
    cut = [*keras.tree.flatten(layer("mask").input), image]
    fit = {"hand fit": networks["hand_fit"]} if "hand_fit" in networks else {}
    return {
        "resize": keras.Model(image, layer("segment_pixels").output),
        "handsegnet": networks["handsegnet"],
        "component, box, crop": keras.Model(cut, layer("crop").output),
        "posenet": networks["posenet"],
        "decode score maps": keras.Model(maps, decoded),
        "lifting": layer("lifter"),
        **fit,
        "whole graph": model,
    }


def crops_a_picture(model):
    """How many crops of one picture go through PoseNet, mirror images among them if the set says so."""
    layers = {layer.name: layer for layer in model.layers}
    views, candidates = 2 if "mirrored" in layers else 1, layers["regions"].count
    if "second_box" not in layers:
        return views * candidates
    hands = layers["second_images"].count if "second_images" in layers else 1
    return candidates + views * hands


def made_up_photo(folder):
    """Path of a JPEG of 1280 x 960 pixels with detail and noise, as from a telephone."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize((1280, 960))
    pixels = np.asarray(coarse, np.int16) + rng.normal(0, 6, (960, 1280, 3)).astype(np.int16)
    path = os.path.join(folder, "photo.jpg")
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def stage_times(estimator, photo, runs, peak):
    """Milliseconds of every stage for one image, and the networks' operations a second by `peak`.

    photo: path.  peak: as of `matmul_gflops`.  Returns (canvas side, {stage: times}, {network: dict}).
    """
    canvas = estimator.prepared(photo)[1].shape[:2]
    crop = estimator.model.get_layer("crop").crop_size
    sizes = {"handsegnet": estimator.model.get_layer("mask").size, "posenet": (crop, crop)}

    taken = {"read and fit photo": milliseconds(lambda: estimator.prepared(photo), runs)}
    counted = {}
    for name, model in stages(estimator.model, estimator.networks).items():
        looks = crops_a_picture(estimator.model) if name == "posenet" else 1
        compiled = Compiled(model, sizes.get(name, canvas), looks)
        taken[name] = milliseconds(compiled, runs)
        if name in ("handsegnet", "posenet", "lifting"):
            counted[name] = compiled.gflop()
    taken["estimator"] = milliseconds(lambda: estimator(photo), runs)
    counted["whole graph"] = sum(counted.values())  # the networks alone, without resizing and the like
    return (
        canvas,
        taken,
        {name: _network(gflop, taken[name]["median"], peak) for name, gflop in counted.items()},
    )


def throughput(estimator, photo, batches, runs):
    """{"batch N": {"graph": images/s, "estimator": images/s}}; the estimator's includes reading the files."""
    canvas = estimator.prepared(photo)[1].shape[:2]
    result = {}
    for batch in batches:
        several = max(3, runs // batch)
        functions = {
            "graph": Compiled(estimator.model, canvas, batch),
            "estimator": lambda batch=batch: estimator([photo] * batch),
        }
        result[f"batch {batch}"] = {
            name: round(1000 * batch / milliseconds(function, several)["median"], 1)
            for name, function in functions.items()
        }
    return result


def bench(weights, photo, *, runs=15, batches=(1, 8), precisions=("float32", "bfloat16"), **options):
    """All measurements as a dict that JSON can hold.

    weights: `manifest.WeightSet`.  photo: path.  options: of `HandPoseEstimator`.
    """
    from hand3d.export.savedmodel import computing_in

    picture = load_image(photo)
    result = {
        "weights": weights.name,
        "machine": machine(),
        "photo": [picture.width, picture.height],
        "runs": runs,
        "matmul_gflops": matmul_gflops(runs),
        "images_per_s": {},
    }
    for precision in precisions:
        with computing_in(precision):
            estimator = HandPoseEstimator(weights, **options)
        if "ms" not in result:
            canvas, taken, networks = stage_times(estimator, photo, runs, result["matmul_gflops"])
            result |= {"canvas": list(canvas), "precision": precision, "ms": taken, "networks": networks}
        result["images_per_s"][precision] = throughput(estimator, photo, batches, runs)
    return result


class Peer:
    """A peer on one photograph, in a process of its own: call it to run it once, for milliseconds.

    python: interpreter that has it, since its packages may not go together with ours; None is this one.
    max_hands: how many hands it looks for.
    The attribute `about` has "hands" and "version".  Raises PeerError where it cannot be run.
    """

    def __init__(self, name, photo, python=None, max_hands=1):
        if name not in PEERS:
            raise PeerError(f"{name!r} is not known; expected one of {PEERS}")
        self.name, self.python, self.about = name, python or sys.executable, {}
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers", f"{name}_hands.py")
        self._elsewhere = tempfile.TemporaryDirectory()  # so that no file of ours shadows theirs
        self._messages = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                [self.python, script, os.path.abspath(photo), str(max_hands)],
                cwd=self._elsewhere.name,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                text=True,
            )
        except OSError as error:
            raise PeerError(f"{name} could not be run with {self.python}: {error}") from error

    def __call__(self):
        try:
            self._process.stdin.write("1\n")
            self._process.stdin.flush()
            self.about = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            self._process.kill()
            self._process.wait()
            self._messages.seek(0)
            lines = self._messages.read().strip().splitlines()
            reason = lines[-1] if lines else f"exit status {self._process.returncode}"
            raise PeerError(f"{self.name} failed under {self.python}: {reason}") from error
        return self.about.pop("ms")[0]

    def close(self):
        """End its process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._messages.close()
        self._elsewhere.cleanup()


def image_to_hands(estimator, exported, photo, rounds, peer=None):
    """Times from decoded pixels to hands of the estimator, exported models and a peer, which take turns.

    exported: {name: `exported.ExportedEstimator`}.  peer: `Peer`.  Returns {name: times as of
    `measuring.in_turns`}, ratios to the peer, or else to the estimator.
    """
    pixels = load_image(photo).pixels
    programs = {"estimator": estimator} | exported
    timers = {name: timer(lambda run=run: run(pixels)) for name, run in programs.items()}
    if peer:
        timers[peer.name] = peer
    taken = in_turns(timers, rounds, peer.name if peer else "estimator")
    if peer:
        taken[peer.name] |= peer.about
    return taken


def table(result):
    """The measurements as text."""
    of, peak = result["machine"], result["matmul_gflops"]
    lines = [
        f"{result['weights']} on {of['cpu']}, {of['cores']} cores, load {of['load_average']}",
        "matrix product: " + ", ".join(f"{value:.0f} GFLOP/s {dtype}" for dtype, value in peak.items()),
        f"{result['precision']:22s}{'ms':>9s}{'GFLOP':>9s}{'GFLOP/s':>9s}{'by f32':>8s}{'by bf16':>8s}",
    ]
    for name, value in result["ms"].items():
        line = f"{name:22s}{value['median']:9.2f}"
        if name in result["networks"]:
            network = result["networks"][name]
            line += f"{network['gflop']:9.3f}{network['gflops']:9.1f}"
            line += f"{network['ratio/float32']:8.3f}{network['ratio/bfloat16']:8.3f}"
        lines.append(line)
    for precision, by_batch in result["images_per_s"].items():
        for batch, speeds in by_batch.items():
            each = ", ".join(f"{name} {value:.1f} images/s" for name, value in speeds.items())
            lines.append(f"{precision}, {batch}: {each}")
    turns = result.get("image_to_hands", {})
    if turns:
        lines.append("decoded image to hands, in turns")
    for name, found in turns.items():
        more = f", {found['version']}, {found['hands']} found" if "version" in found else ""
        speeds = f"{found['median']:9.2f} ms, least {found['least']:.2f}, ratio {found['ratio']:.2f}"
        lines.append(f"{name:34s}{speeds}{more}")
    return "\n".join(lines)


def _network(gflop, ms, peak):
    speed = 1000 * gflop / ms
    ratios = {f"ratio/{dtype}": round(speed / value, 4) for dtype, value in peak.items()}
    return {"gflop": round(gflop, 3), "gflops": round(speed, 1)} | ratios
