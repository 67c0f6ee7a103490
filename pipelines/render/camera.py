"""Cameras around a hand, the projection of points, and the matrices that make OpenGL do the same.

Camera axes: x right, y down, z away.  Pixels (u, v) = (column, row), centres at integers.
"""

from dataclasses import dataclass

import numpy as np

WORLD_TO_DOWN = np.diag([1.0, -1.0, -1.0])  # world: y up, the person faces +z
NEAR, FAR = 0.05, 8.0  # metres: what OpenGL draws


@dataclass(frozen=True)
class Camera:
    """rotation (3, 3) and translation (3,): x_camera = rotation @ x_world + translation; matrix: K (3, 3)."""

    rotation: np.ndarray
    translation: np.ndarray
    matrix: np.ndarray
    view: str

    def to_camera(self, points):
        """(N, 3) world -> (N, 3) camera axes, metres."""
        return points @ self.rotation.T + self.translation


def project(points, matrix):
    """(N, 3) camera axes -> (N, 2) pixels."""
    p = points @ matrix.T
    return p[:, :2] / np.where(np.abs(p[:, 2:]) < 1e-6, 1e-6, p[:, 2:])


def projection_matrix(camera_matrix, size):
    """K (3, 3) and a square image of `size` pixels -> (4, 4) float32 clip matrix.

    Pixel centres are integers: column u sits at (u + 0.5) / size of the width.
    """
    fx, fy, cx, cy = camera_matrix[0, 0], camera_matrix[1, 1], camera_matrix[0, 2], camera_matrix[1, 2]
    matrix = np.zeros((4, 4))
    matrix[0, 0], matrix[0, 2] = 2 * fx / size, 2 * (cx + 0.5) / size - 1
    matrix[1, 1], matrix[1, 2] = 2 * fy / size, 2 * (cy + 0.5) / size - 1
    matrix[2, 2], matrix[2, 3] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    matrix[3, 2] = 1
    return matrix.astype(np.float32)


def shadow_matrix(direction, centre, radius, depth=1.6):
    """Orthographic clip matrix of a light that looks at `centre`, (4, 4) float32."""
    z = -np.asarray(direction, np.float64)
    z /= np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x / radius, np.cross(z, x) / radius, z / depth])
    matrix[:3, 3] = -matrix[:3, :3] @ np.asarray(centre, np.float64)
    return matrix.astype(np.float32)


def turn(axis, angle):
    """Rotation about an axis 0, 1 or 2 by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = [k for k in range(3) if k != axis]
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def between(a, b):
    """The smallest rotation that takes unit vector a to unit vector b."""
    v, c = np.cross(a, b), a @ b
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + c)


def sample_direction(rng, view, hand, eyes):
    """Unit vector from the hand towards the camera, world axes."""
    if view == "front":  # a webcam or a selfie: before the person, at about the height of the chest
        azimuth, elevation = rng.normal(0, 0.45), rng.normal(0.05, 0.25)
        return np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
    if view == "eyes":  # a camera worn on the head
        direction = eyes - hand
        direction = direction / np.linalg.norm(direction) + rng.normal(0, 0.25, 3)
        return direction / np.linalg.norm(direction)
    direction = rng.normal(size=3)
    return direction / np.linalg.norm(direction)


def sample_camera(rng, hand, eyes, size):
    """A camera that looks at a hand.

    Args:
        hand: (21, 3) keypoints, world axes.  eyes: (3,) between the eyes.  size: pixels of the picture.
    """
    view = str(rng.choice(["front", "eyes", "sphere"], p=[0.55, 0.15, 0.30]))
    centre = (hand.min(0) + hand.max(0)) / 2
    direction = sample_direction(rng, view, centre, eyes)
    forward = -direction
    up = np.array([0.0, 1.0, 0.0])
    if abs(forward[1]) > 0.97:
        up = np.array([0.0, 0.0, 1.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    roll = rng.normal(0, 0.15) if rng.random() < 0.72 else rng.normal(0, 0.5)
    if rng.random() < 0.14:
        roll = rng.uniform(-np.pi, np.pi)
    rotation = turn(2, roll) @ rotation

    band = rng.choice(3, p=[0.76, 0.14, 0.10])
    extent_px = size / 320 * (rng.uniform(90, 215), rng.uniform(42, 90), rng.uniform(215, 255))[band]
    focal = size * np.exp(rng.uniform(np.log(0.75), np.log(1.9)))
    seen = (hand - centre) @ rotation.T
    extent = max(np.ptp(seen[:, 0]), np.ptp(seen[:, 1]), 0.07) * 1.08
    distance = max(focal * extent / extent_px, 0.16) + max(0.0, -seen[:, 2].min()) * 0.6

    # somewhere in the picture; at times cut by its border
    room = np.maximum(size / 2 - extent_px * (0.5 if rng.random() < 0.85 else 0.2), size * 0.04)
    middle = (size - 1) / 2
    principal = middle + rng.normal(0, 0.012 * size, 2)
    target = middle + np.clip(rng.normal(0, 0.55, 2), -1, 1) * room
    matrix = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1.0]])
    ray = np.array([(target[0] - principal[0]) / focal, (target[1] - principal[1]) / focal, 1.0])
    rotation = between(np.array([0, 0, 1.0]), ray / np.linalg.norm(ray)) @ rotation
    position = centre + direction * distance
    return Camera(rotation, -rotation @ position, matrix, view)
