"""What every earlier system of this package looks like, so that one table holds them all.

A system is a module with one class derived from `Baseline`, named in `BASELINES`:

    class Matching(Baseline):
        name = "Chen & Ramanan 2017"                  # the table's row
        reference = "[4] C.-H. Chen, D. Ramanan, 3D human pose estimation = 2D pose estimation + matching"
        simplifications = "..."                       # what differs from the paper, in a sentence or two

        def train(self, training, run): ...           # learns; leaves in the folder `run` what `load` needs
        def load(self, run): ...                      # takes up what `train` left there
        def predict(self, hands): ...                 # -> Prediction
        @property
        def parameters(self): ...                     # numbers learnt or stored

`experiments.baselines.__main__` makes the folder, calls `train` once (again, in the same folder, if it was
interrupted: long trainings resume there), then and whenever that is done already `load`, and `predict`; it
measures the time of both.  Modules are imported when their row is wanted: none costs the others anything.

The hand's side is given to every system, as in the paper.  Coordinates: `uv_crop` are pixels of the crop,
pixel centres at integers, (u, v) = (column, row); `xyz_relative` has the root (palm) at the origin, camera
axes, and is in units of the bone `hand3d.skeleton.SCALE_BONE`.
"""

import abc
import dataclasses
import importlib

import numpy as np

from hand3d.skeleton import NUM_KEYPOINTS

FRAME = 320  # pixels: the picture that 2D errors are given for
LEFT, RIGHT = 0, 1

BASELINES = {  # key of --only: module and class
    "mean": ("experiments.baselines.mean_pose", "MeanPose"),
    "deeppose": ("experiments.baselines.deeppose", "DeepPose"),
    "cpm": ("experiments.baselines.cpm", "ConvolutionalPoseMachine"),
    "matching": ("experiments.baselines.matching", "Matching"),
    "fitting": ("experiments.baselines.fitting", "Fitting"),
    "chamfer": ("experiments.baselines.chamfer", "ChamferSearch"),
    "deepmodel": ("experiments.baselines.deepmodel", "DeepModel"),
    "ours": ("experiments.baselines.ours", "Ours"),
}


@dataclasses.dataclass(frozen=True)
class Hands:
    """N hands cut out of pictures around their true pixels, with their labels.

    image (N, S, S, 3) uint8, mid-grey outside the picture; cover (N, S, S) uint8, how much of a pixel the
    hand fills, 0..255; uv_crop (N, 21, 2) and xyz_relative (N, 21, 3) float32; scale_mm (N,) float32, the
    length of the scale bone; side (N,) int32, 0 left, 1 right; visible (N, 21) bool; in_3d (N,) bool, whether
    xyz_relative is known; window (N, 3) float32, centre u, v and side of the crop in a picture of `FRAME`
    pixels.  detected_uv (N, 21, 2), detected_score (N, 21) 0..1 and detected_xyz (N, 21, 3) float32: what the
    project's own networks say of the same crop, in the same units, or None where they were not asked.
    """

    image: np.ndarray
    cover: np.ndarray
    uv_crop: np.ndarray
    xyz_relative: np.ndarray
    scale_mm: np.ndarray
    side: np.ndarray
    visible: np.ndarray
    in_3d: np.ndarray
    window: np.ndarray
    detected_uv: np.ndarray | None = None
    detected_score: np.ndarray | None = None
    detected_xyz: np.ndarray | None = None

    def __len__(self):
        return len(self.side)

    @property
    def size(self):
        """S, pixels a side of the crops."""
        return self.image.shape[1]

    def take(self, index):
        """The hands at `index`: an array of numbers, a boolean mask or a slice."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Hands(**{name: None if value is None else value[index] for name, value in fields.items()})

    def to_frame(self, uv_crop):
        """Pixels of the crops -> pixels of pictures of `FRAME` a side, (N, 21, 2) -> (N, 21, 2)."""
        factor = (self.window[:, 2] / self.size)[:, None, None]
        return (uv_crop - (self.size - 1) / 2) * factor + self.window[:, None, :2]

    def as_left(self):
        """The same hands with the right ones seen in a mirror, so that all are left ones."""
        right = self.side == RIGHT
        flipped = {"side": np.zeros_like(self.side)}
        for name in ("image", "cover"):
            flipped[name] = _where(right, getattr(self, name)[:, :, ::-1], getattr(self, name))
        for name in ("uv_crop", "detected_uv"):
            flipped[name] = mirror_uv(getattr(self, name), right, self.size)
        for name in ("xyz_relative", "detected_xyz"):
            flipped[name] = mirror_xyz(getattr(self, name), right)
        window = self.window.copy()
        window[right, 0] = FRAME - 1 - window[right, 0]
        return dataclasses.replace(self, window=window, **flipped)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a system says of N hands; None for what it does not predict, NaN for single hands or keypoints.

    uv_crop (N, 21, 2) pixels of the crop; xyz_relative (N, 21, 3) as in `Hands`, in units of the scale bone
    (the table aligns root and scale, so only its shape and rotation count).
    """

    uv_crop: np.ndarray | None = None
    xyz_relative: np.ndarray | None = None

    def mirrored_back(self, side, size):
        """The prediction for `Hands.as_left` -> that for the hands themselves.  side (N,), size: S."""
        right = np.asarray(side) == RIGHT
        return Prediction(mirror_uv(self.uv_crop, right, size), mirror_xyz(self.xyz_relative, right))


@dataclasses.dataclass(frozen=True)
class Training:
    """What systems learn from.

    hands: `Hands` of the training split.  poses: dict of xyz_relative (M, 21, 3) float32, root (M, 3)
    float32, where the palm is before the camera in units of the scale bone, and side (M,) int32: many more
    hands, without pictures.  weights: name or folder of the project's weight set, for systems that take a
    part from it.  seed: of everything random.  effort: factor on steps and sizes of databases, 1 for
    the table, less for a try.
    """

    hands: Hands
    poses: dict
    weights: str = "lite"
    seed: int = 0
    effort: float = 1.0


class Baseline(abc.ABC):
    """One system: see the module's docstring."""

    name: str
    reference: str
    simplifications: str
    learns_from = ("hands", "poses", "weights")  # the parts of `Training` that `train` looks at
    sees_detections = False  # whether `predict` starts from the detections of the project's networks

    @abc.abstractmethod
    def train(self, training, run):
        """Learns from a `Training`; writes to the existing folder `run` what `load` reads, atomically."""

    @abc.abstractmethod
    def load(self, run):
        """Takes up what `train` wrote."""

    @abc.abstractmethod
    def predict(self, hands):
        """`Hands` -> `Prediction`.  Labels in `hands` other than the side are not to be looked at."""

    @property
    @abc.abstractmethod
    def parameters(self):
        """int: numbers learnt or stored."""

    def variants(self, hands):
        """{suffix of a row's name: Prediction}: further rows, where parts of a method are to be compared."""
        return {}

    def by_size(self, hands):
        """{number of entries: Prediction} for systems that search a database, with parts of it; else {}."""
        return {}

    def notes(self, hands):
        """[text]: what else a reader of the table should know, measured on these hands."""
        return []


def make(key):
    """The system of a key of `BASELINES`; KeyError naming the keys, ImportError where it cannot be used."""
    if key not in BASELINES:
        raise KeyError(f"{key!r} is none of {', '.join(BASELINES)}")
    module, name = BASELINES[key]
    return getattr(importlib.import_module(module), name)()


def mirror_uv(uv_crop, where, size):
    """Crop pixels of the mirrored crop for the hands `where` (N,) bool; None stays None."""
    if uv_crop is None:
        return None
    mirrored = np.stack([size - 1 - uv_crop[..., 0], uv_crop[..., 1]], -1)
    return _where(where, mirrored, uv_crop)


def mirror_xyz(xyz, where):
    """x negated for the hands `where` (N,) bool; None stays None."""
    return None if xyz is None else _where(where, xyz * np.array([-1, 1, 1], xyz.dtype), xyz)


def nowhere(count, dimensions):
    """(count, 21, dimensions) float32 NaN, to be filled in."""
    return np.full((count, NUM_KEYPOINTS, dimensions), np.nan, np.float32)


def _where(condition, one, other):
    return np.where(condition.reshape((-1,) + (1,) * (one.ndim - 1)), one, other)
