"""hand3d: 3D hand pose from single RGB images (Zimmermann & Brox, ICCV 2017) in Keras 3.

    from hand3d import HandPoseEstimator

    hands = HandPoseEstimator("lite")("hand.jpg")

Names are looked up on first use, so that `import hand3d` stays free of Keras and its backend.
"""

__version__ = "0.1.0"
__all__ = ["Hand", "HandPoseEstimator", "Prediction"]

_MODULES = {"Hand": "hand3d.hand", "Prediction": "hand3d.hand", "HandPoseEstimator": "hand3d.estimator"}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'hand3d' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__():
    return sorted([*globals(), *_MODULES])
