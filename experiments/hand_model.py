"""Learns the hand model of `hand3d.hand_model` from poses, in seconds."""

import numpy as np

from hand3d import geometry
from hand3d.hand_model import HandModel
from hand3d.networks.hand_fit import POSE, SHAPE, hand_fit
from hand3d.pictorial import PEAKS
from hand3d.skeleton import BONES

MOST = 200_000  # poses: the covariance of more is the same


def learn(poses, pose=POSE, shape=SHAPE):
    """`HandModel` of NumPy arrays, with `pose` and `shape` principal components.

    poses: dict of xyz_relative (M, 21, 3) in scale bones, root (M, 3), where the palm is before the camera in
    scale bones, and side (M,) int.
    """
    canonical = np.asarray(geometry.to_canonical(poses["xyz_relative"][:MOST], poses["side"][:MOST])[0])
    parents, children = np.array(BONES).T
    bones = canonical[:, children] - canonical[:, parents]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    directions, pose = _principal((bones / length).reshape(len(canonical), -1), pose)
    lengths, shape = _principal(np.log(length[..., 0]), shape)
    distance = np.log(np.maximum(poses["root"][:MOST, 2], 1))
    spread = np.array([distance.mean(), distance.std() + 1e-3], np.float32)
    return HandModel(directions, pose, lengths, shape, spread)


def network(model, crop_size, peaks=PEAKS):
    """`hand3d.networks.hand_fit` with a learnt model; returns it and its config."""
    config = {"crop_size": crop_size, "peaks": peaks, "pose": len(model.pose), "shape": len(model.shape)}
    made = hand_fit(**config)
    layer = made.get_layer("hand_model")
    for name, values in vars(model).items():
        getattr(layer.model, name).assign(values)
    return made, config


def _principal(rows, count):
    """Mean (D,) and the first components (count, D), each as long as its standard deviation."""
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh(np.cov(rows - mean, rowvar=False))
    best = np.argsort(values)[::-1][:count]
    return mean.astype(np.float32), (np.sqrt(np.maximum(values[best], 1e-9)) * vectors[:, best]).T.astype(
        np.float32
    )
