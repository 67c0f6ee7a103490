"""Models of `hand3d export --to tflite|onnx|openvino`, run without TensorFlow or Keras.

from hand3d.exported import ExportedEstimator

hands = ExportedEstimator("models/hand3d-openvino")("hand.jpg")
"""

import json
import os

import numpy as np

from hand3d.canvas import box_around, canvas_to_image, fit_into, stretch
from hand3d.cores import cores
from hand3d.export.formats import CARD
from hand3d.hand import Hand
from hand3d.images import PICTURE_SIDE, LoadedImage, load_image

PACKAGES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime", "openvino": "openvino"}


class ExportedError(ValueError):
    """A folder that is no exported model, or one whose runtime is missing."""


class ExportedEstimator:
    """Finds the hands in an image with an exported model.

    folder: what `hand3d export` wrote.  threads: of the runtime; None takes all cores.  min_score: hands
    below it are left out; None takes the model's own.

    Raises ExportedError for a folder that cannot be used.
    """

    def __init__(self, folder, threads=None, min_score=None):
        try:
            with open(os.path.join(folder, CARD), encoding="utf-8") as file:
                self.card = json.load(file)
            self.size = tuple(self.card["input"]["shape"][1:3])
            load = {"tflite": _tflite, "onnx": _onnx, "openvino": _openvino}[self.card["format"]]
            path = os.path.join(folder, self.card["file"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExportedError(
                f"{folder}: not a model of hand3d export --to tflite|onnx|openvino ({error})"
            ) from error
        self.min_score = self.card["min_score"] if min_score is None else min_score
        try:
            self._run = load(path, threads or cores(), self.card)
        except ImportError as error:
            package = PACKAGES[self.card["format"]]
            raise ExportedError(f"{folder}: {package} is not installed; pip install {package}") from error
        except Exception as error:  # each runtime has errors of its own
            raise ExportedError(f"{path}: cannot be loaded: {error}") from error

    def run(self, canvas):
        """The model itself: canvas (1, h, w, 3), RGB 0..255 -> {name: (1, M, ...) float32}, see its card."""
        return self._run(np.ascontiguousarray(canvas, np.float32))

    def fit(self, picture):
        """An image as `canvas.fit` takes it, as the model takes it: canvas (h, w, 3) uint8 and its area."""
        return (fit_into if self.card["keep_shape"] else stretch)(picture, self.size)

    def __call__(self, image):
        """Hands in one image or in each of a list, as `hand3d.HandPoseEstimator` has them.

        Raises `images.ImageError`, TypeError or ValueError for an image that cannot be used.
        """
        if isinstance(image, list | tuple):
            return [self(each) for each in image]
        if not isinstance(image, LoadedImage):
            seen_side = max(self.size) if self.card["keep_shape"] else None
            max_side = PICTURE_SIDE if isinstance(image, str | os.PathLike) else None
            image = load_image(image, max_side=max_side, seen_side=seen_side)
        canvas, area = self.fit(image.seen)
        found = {name: value[0] for name, value in self.run(canvas[None]).items()}
        size = np.array([image.width, image.height], np.float32)
        return [
            self._hand({name: value[number] for name, value in found.items()}, area, size)
            for number, score in enumerate(found["score"])
            if score >= self.min_score and score > 0
        ]

    def _corners(self, box):
        """Corners (2, 2) of a box that the model clipped to its pixels' centres.

        At the border they move on to the pixels' edges: those of the image may be smaller than the model's.
        """
        low, high = box.reshape(2, 2)
        last = np.array(self.size[::-1]) - 1
        return np.stack([np.where(low <= 0, -0.5, low), np.where(high >= last, last + 0.5, high)])

    def _hand(self, one, area, size):
        side = int(np.argmax(one["side"]))
        visible = one.get("keypoint_visible")
        return Hand(
            side=self.card["sides"][side],
            score=float(one["score"]),
            box=box_around(canvas_to_image(self._corners(one["box"]), area, size), size),
            keypoints_uv=canvas_to_image(one["keypoints_uv"], area, size),
            keypoint_scores=one["keypoint_scores"],
            keypoints_xyz=one["keypoints_xyz"],
            side_score=float(one["side"][side]),
            confidence=float(one["confidence"]),
            visible=None if visible is None else visible >= self.card["visible_from"],
        )


def _tflite(path, threads, card):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    (name,) = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(name)
    return lambda image: runner(**{card["input"]["name"]: image})


def _onnx(path, threads, card):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # by itself its threads go on waiting in loops when it is done, and take the cores from whatever runs then
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(names, {card["input"]["name"]: image}), strict=True))


def _openvino(path, threads, card):
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads} | card.get("run", {})
    model = openvino.Core().compile_model(path, "CPU", options)
    names = {
        name: output for output in model.outputs for name in output.get_names() if name in card["outputs"]
    }
    request = model.create_infer_request()

    def run(image):
        found = request.infer({0: image})
        return {name: found[output].copy() for name, output in names.items()}

    return run
