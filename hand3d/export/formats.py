"""`hand3d export --to tflite|onnx|openvino`: a folder with model, description and licence."""

import contextlib
import importlib
import importlib.util
import json
import os
import shutil
import tempfile

PRECISIONS = {
    "savedmodel": ("float32", "bfloat16", "float16"),
    "tflite": ("float32", "float16", "int8"),
    "onnx": ("float32", "float16", "int8"),
    "openvino": ("float32", "bfloat16", "float16", "int8"),
}
FORMATS = tuple(PRECISIONS)
ALL_PRECISIONS = ("float32", "bfloat16", "float16", "int8")
# what each format needs beside TensorFlow, by precision; the extras have the formats' names
MODULES = {
    "savedmodel": {},
    "tflite": {"any": ("ai_edge_litert",), "int8": ("ai_edge_quantizer",)},
    "onnx": {"any": ("onnx", "onnxruntime", "tf2onnx")},
    "openvino": {"any": ("openvino",), "int8": ("nncf",)},
}
WHY_NOT = {
    ("savedmodel", "int8"): "TensorFlow's own kernels have no int8 convolutions",
    ("tflite", "bfloat16"): "LiteRT has no bfloat16 kernels",
    ("onnx", "bfloat16"): "ONNX Runtime has no bfloat16 kernels for processors",
}
# Networks that int8 reaches in every format.  The lifting networks' dense layers do not bear it: 55 mm
# instead of 24 in the median.  Their convolutions do in OpenVINO, but cost LiteRT 4 mm, ONNX Runtime 0.7.
QUANTISED = ("handsegnet", "posenet")
CARD, LICENCE = "hand3d.json", "LICENSE"
MEANING = {
    "score": "0..1, best hand first; hands below min_score, or 0, are none",
    "side": "probabilities of left and right",
    "box": "x0, y0, x1, y1 around the hand, pixels of the input",
    "keypoints_uv": "column and row, pixels of the input, pixel centres at integers",
    "keypoint_scores": "0..1",
    "keypoint_visible": "0..1",
    "keypoints_xyz": "relative to keypoint 0, in units of scale_bone; x right, y down, z away",
    "confidence": "0..1, mean of PoseNet's own",
}


class ExportError(Exception):
    """The model could not be converted; the message says by what and why."""


def check(to, precision, calibrate=None):
    """ValueError, with a remedy, for a format, precision and calibration that do not go together or lack a
    package."""
    if to not in FORMATS:
        raise ValueError(f"--to is {to!r}; expected one of {', '.join(FORMATS)}")
    known = PRECISIONS[to]
    if precision not in known:
        why = WHY_NOT.get((to, precision), "it is not known")
        raise ValueError(f"--precision {precision} with --to {to}: {why}; take {' or '.join(known)}")
    if precision == "int8" and calibrate is None:
        raise ValueError(
            "--precision int8 needs --calibrate DIR, a folder of pictures with hands or of records: "
            "the ranges of the values are measured on them"
        )
    if precision != "int8" and calibrate is not None:
        raise ValueError(f"--calibrate goes with --precision int8 alone, not with {precision}")
    needed = MODULES[to]
    missing = [
        name
        for name in (*needed.get("any", ()), *needed.get(precision, ()))
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise ValueError(f"--to {to}: {', '.join(missing)} not installed; pip install 'hand3d-keras[{to}]'")


def export(estimator, to, precision, out, *, weights="lite", side=None, samples=None):
    """Write the estimator's whole chain for one image as a model of another runtime.

    estimator: `HandPoseEstimator`, built within `savedmodel.computing_in` the precision "bfloat16" for that,
    otherwise in float32.  to, precision: see `check`.  out: folder that does not exist; it appears complete
    or not at all.  side: pixels of the image, see `chain.image_size`.  samples: for int8, list of
    (1, h, w, 3) float32 images of that size.  weights: name for the description.

    Returns `out`.  Raises ValueError for a bad argument, ExportError where the converter fails, OSError where
    nothing can be written.
    """
    from hand3d.export.chain import image_size
    from hand3d.files import current_umask

    check(to, precision, samples)
    out = os.path.abspath(out)
    if os.path.lexists(out):
        raise ValueError(f"--out {out} exists; give a folder that does not, or remove it")
    size = image_size(estimator, side)
    os.makedirs(os.path.dirname(out), exist_ok=True)
    writer = importlib.import_module(f"hand3d.export.to_{to}")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out), prefix=".hand3d-") as scratch:
        folder = os.path.join(scratch, "model")
        os.mkdir(folder)
        with _converting(to):
            about = writer.write(estimator, size, precision, folder, samples, scratch)
        _describe(estimator, folder, weights, {"format": to, "precision": precision} | about, size)
        for name in os.listdir(folder):
            os.chmod(os.path.join(folder, name), 0o666 & ~current_umask())
        os.chmod(folder, 0o777 & ~current_umask())
        os.rename(folder, out)
    return out


@contextlib.contextmanager
def _converting(to):
    """What a converter raises as an ExportError; they raise anything."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        raise ExportError(f"the converter to {to} failed: {type(error).__name__}: {reason}") from error


def _describe(estimator, folder, weights, about, size):
    import hand3d
    from hand3d.export.chain import INPUT, OUTPUTS
    from hand3d.export.savedmodel import model_card
    from hand3d.skeleton import NUM_KEYPOINTS

    hands = estimator.max_hands
    shapes = {
        "side": (2,),
        "box": (4,),
        "keypoints_uv": (NUM_KEYPOINTS, 2),
        "keypoints_xyz": (NUM_KEYPOINTS, 3),
    }
    shapes |= {name: (NUM_KEYPOINTS,) for name in ("keypoint_scores", "keypoint_visible")}
    card = model_card(estimator, weights)
    del card["status"], card["max_pixels"]  # of files, which this model does not take
    known = [name for name in OUTPUTS if name != "keypoint_visible" or name in estimator.model.output]
    card |= about | {
        "input": {
            "name": INPUT,
            "shape": [1, *size, 3],
            "dtype": "float32",
            "meaning": "RGB, 0..255; the picture in its middle, its shape kept, 128 beside it"
            if not estimator.frame
            else "RGB, 0..255; the picture stretched to this size",
        },
        "keep_shape": not estimator.frame,
        "visible_from": estimator.visible_from,
        "outputs": {
            name: {"shape": [1, hands, *shapes.get(name, ())], "dtype": "float32", "meaning": MEANING[name]}
            for name in known
        },
    }
    with open(os.path.join(folder, CARD), "w", encoding="utf-8") as file:
        json.dump(card, file, indent=1)
        file.write("\n")
    shutil.copyfile(os.path.join(os.path.dirname(hand3d.__file__), LICENCE), os.path.join(folder, LICENCE))
