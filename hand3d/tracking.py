"""Hands over the frames of a video: followed from frame to frame, numbered, steadied.

A hand that was found is looked for where it was a frame ago; HandSegNet runs only while fewer hands are
followed than there may be, and then not at every frame.
"""

import itertools
from dataclasses import replace

import keras
import numpy as np

from hand3d import skeleton
from hand3d.candidates import MOST_OVERLAP
from hand3d.graph import full_graph
from hand3d.images import check_array
from hand3d.segmentation import keypoint_box
from hand3d.smoothing import OneEuro, SteadyKeypoints
from hand3d.tracing import traced

SEARCH_EVERY = 5  # frames between looks for another hand while one is followed
LOST = 0.7  # of the estimator's min_score: a hand that is followed may be a little less certain
SETTLED = 4.0  # natural logarithm of the odds from which the side of a hand is taken for known
# The crop around a hand from its keypoints where the weights have no second look, as HandSegNet would cut it;
# medians over rendered pictures: the hand's extent by that of the keypoints, and its centre from theirs
# towards the wrist by half the palm's length
EXTENT, TOWARDS_WRIST = 1.25, 0.35
# One-Euro filters; beta is by hand extents a second in the image, by scale bones a second in 3D
UV_CENTRE = {"min_cutoff": 0.7, "beta": 15.0, "speed_cutoff": 2.0}
UV_AROUND = {"min_cutoff": 0.7, "beta": 3.0, "speed_cutoff": 1.0}
XYZ_FILTER = {"min_cutoff": 0.8, "beta": 0.6}


class HandTracker:
    """Call it with one frame after another; it gives each frame's hands.

    estimator: `HandPoseEstimator`; its side, min_score, max_hands and mirrored hold.
    smooth: steady the keypoints by a One-Euro filter (`hand3d.smoothing`).
    search_every: frames between looks for another hand.

        tracker = HandTracker(HandPoseEstimator("lite"))
        for pixels, time in frames:
            hands = tracker(pixels, time)

    Attributes: searches and frames, how often HandSegNet ran and of how many frames.
    Raises ValueError for search_every below 1, or weights of the published kind (grid "legacy").
    """

    def __init__(self, estimator, smooth=True, search_every=SEARCH_EVERY):
        if isinstance(search_every, bool) or not isinstance(search_every, int) or search_every < 1:
            raise ValueError(f"search_every is {search_every!r}; a whole number of at least 1 expected")
        if estimator.graph_options.get("grid") == "legacy":
            raise ValueError("the weights are of the published kind (grid legacy): they cannot follow a hand")
        self.estimator, self.smooth, self.search_every = estimator, smooth, search_every
        options = estimator.graph_options
        self._crop_factor, self._again = options.get("crop_factor", 1.25), options.get("second_look")
        self._upright = self._again is not None and options.get("upright", False)
        self._follow = traced(full_graph(**estimator.networks, **options | {"known_crop": True}))
        self._numbers = itertools.count()
        self.reset()

    def reset(self):
        """Forgets all hands, as after a cut; numbers go on."""
        self._tracks, self._size, self._since = [], None, self.search_every
        self.frames = self.searches = 0

    def __call__(self, pixels, time):
        """pixels: (H, W, 3) uint8 RGB.  time: seconds, rising from frame to frame.

        Returns list of `hand3d.Hand` with `track`, those followed longest first.  A frame of another size
        starts anew.  Raises TypeError or ValueError for a frame or time that cannot be used.
        """
        pixels = check_array(pixels, "frame")
        size = np.array(pixels.shape[1::-1], np.float32)
        if self._size is not None and (size != self._size).any():
            self._tracks, self._since = [], self.search_every
        self._size = size
        canvas, area = self.estimator.fit(pixels)
        self.frames += 1
        self._update(canvas, area, size, time)
        self._since += 1
        wanted = len(self._tracks) < self.estimator.max_hands
        if wanted and (not self._tracks or self._since >= self.search_every):
            self._search(pixels, time)
        return [track.hand for track in self._tracks]

    def _update(self, canvas, area, size, time):
        """Looks for each hand where it was."""
        if not self._tracks:
            return
        scale = float((size / np.asarray(area[2:])).mean())  # image pixels by canvas pixels
        centre, side, *up = self._boxes(np.stack([track.found.keypoints_uv for track in self._tracks]))
        centre = (centre + 0.5) * np.asarray(area[2:]) / size - 0.5 + area[:2]
        given = np.stack([track.given_side(self.estimator) for track in self._tracks])
        canvases = np.repeat(canvas[None], len(self._tracks), 0)
        outputs = self._follow(canvases, centre, side / scale, *up, given)
        kept = []
        for number, track in enumerate(self._tracks):
            one = {name: value[number] for name, value in outputs.items()}
            score = track.certainty * float(one["confidence"])
            hand = self.estimator.hand(one, score, area, size)
            inside = (hand.keypoints_uv > -0.5).all(-1) & (hand.keypoints_uv < size - 0.5).all(-1)
            enough = score >= LOST * self.estimator.min_score and inside.any()
            if enough and not any(same_hand(hand, other.found) for other in kept):
                track.update(hand, time, self.smooth)
                kept.append(track)
        self._tracks = kept

    def _boxes(self, uv):
        """Centres (N, 2), sides (N,) and, if crops are turned, ups (N, 2) of the next crops, of the image.

        uv: (N, 21, 2), the hands' last keypoints in pixels of the image.
        """
        centre, side, *up = map(keras.ops.convert_to_numpy, keypoint_box(uv, self._upright))
        side = np.maximum(side, 1.0)
        if self._again is not None:
            return centre, self._again * side, *up
        centre = centre + TOWARDS_WRIST * (uv[:, skeleton.ROOT] - uv[:, skeleton.CANONICAL_Y])
        return centre, self._crop_factor * EXTENT * side

    def _search(self, pixels, time):
        """Looks for hands in the whole frame, by HandSegNet."""
        self._since = 0
        self.searches += 1
        for hand in self.estimator(pixels):
            full = len(self._tracks) >= self.estimator.max_hands
            if not full and not any(same_hand(hand, track.found) for track in self._tracks):
                self._tracks.append(_Track(next(self._numbers), hand, time, self.smooth))


class _Track:
    """One hand over time.  found: `Hand` as the networks give it; hand: as it is handed out."""

    def __init__(self, number, hand, time, smooth):
        self.number, self.odds = number, 0.0
        self.certainty = min(1.0, hand.score / max(hand.confidence, 1e-6))
        self.uv_filter, self.xyz_filter = SteadyKeypoints(UV_CENTRE, UV_AROUND), OneEuro(**XYZ_FILTER)
        self.extent = _extent(hand.keypoints_uv)  # the mean over some frames: a unit must not tremble
        self.update(hand, time, smooth)

    def update(self, hand, time, smooth):
        self.found = hand
        sign = 1 if hand.side == skeleton.SIDES[1] else -1
        if not self.settled:
            likely = np.clip(hand.side_score, 0.5, 1 - 1e-3)
            self.odds += sign * float(np.log(likely / (1 - likely)))
        self.extent += 0.1 * (_extent(hand.keypoints_uv) - self.extent)
        uv, xyz = hand.keypoints_uv, hand.keypoints_xyz
        if smooth:
            uv, xyz = self.uv_filter(uv, time, self.extent), self.xyz_filter(xyz, time)
        self.hand = replace(
            hand,
            keypoints_uv=np.asarray(uv, np.float32),
            keypoints_xyz=np.asarray(xyz, np.float32),
            track=self.number,
        )

    @property
    def settled(self):
        return abs(self.odds) >= SETTLED

    def given_side(self, estimator):
        """(2,): the side for the networks, once it is known, so that the hand in 3D does not flip."""
        given = estimator.given_side(1)[0]
        if estimator.side == "auto" and self.settled and estimator.tells_side:
            given[estimator.seen_side(int(self.odds > 0))] = 1.0
        return given


def same_hand(hand, other):
    """Whether two `Hand`s of one frame are one hand: their keypoints' boxes overlap by more than half."""
    low = np.stack([h.keypoints_uv.min(0) for h in (hand, other)])
    high = np.stack([h.keypoints_uv.max(0) for h in (hand, other)])
    shared = np.maximum(high.min(0) - low.max(0), 0).prod()
    return bool(shared > MOST_OVERLAP * (high - low).prod(-1).min())


def _extent(uv):
    return max(float(np.ptp(uv, axis=0).max()), 1.0)
