"""hand3d.tracking: which hand is which, when is searched, what is steadied; the networks are stood in for."""

from types import SimpleNamespace

import numpy as np
import pytest

from hand3d import tracking
from hand3d.canvas import canvas_to_image, fit
from hand3d.estimator import HandPoseEstimator
from hand3d.hand import Hand
from hand3d.segmentation import keypoint_box

RNG = np.random.default_rng(0)
SHAPE = RNG.uniform(-20, 20, (21, 2)).astype(np.float32)  # a hand of about 40 pixels


class World:
    """Hands at known places: an estimator and a follower that see whatever is in `hands`, with noise."""

    def __init__(self, max_hands=2, noise=0.0):
        self.hands, self.noise, self.side = [], noise, "auto"
        self.max_hands, self.min_score, self.tells_side, self.mirrored = max_hands, 0.3, True, False
        self.graph_options, self.networks = {"crop_factor": 1.4}, {}
        self.rng, self.confidence, self.given = np.random.default_rng(1), 0.8, []

    def fit(self, pixels):
        return fit(pixels, 160)

    def given_side(self, count):
        return np.zeros((count, 2), np.float32)

    def seen_side(self, side):
        return side

    def hand(self, outputs, score, area, size):
        return HandPoseEstimator.hand(self, outputs, score, area, size)

    def outputs(self, place):
        uv = SHAPE + place + self.rng.normal(0, 1, SHAPE.shape) * self.noise
        xyz = np.zeros((21, 3), np.float32)
        xyz[:, :2] = SHAPE / 10
        return {
            "keypoints_uv": uv.astype(np.float32),
            "keypoint_scores": np.full(21, 0.9, np.float32),
            "keypoints_xyz": xyz,
            "side": np.array([0.02, 0.98], np.float32),
            "confidence": np.float32(self.confidence),
        }

    def __call__(self, pixels):
        size = np.array(pixels.shape[1::-1], np.float32)
        return [self.hand(self.outputs(p), 0.6, (0, 0, 160, 160), size) for p in self.hands][: self.max_hands]

    def follow(self, canvases, centre, side, given):
        """The hand nearest to each crop, if it lies in it; else an unsure answer."""
        rows = []
        self.given.append(given)
        for place, length in zip(centre, side, strict=True):
            near = [p for p in self.hands if np.abs(np.array(p) - place).max() < length / 2]
            row = self.outputs(min(near, key=lambda p: np.hypot(*(p - place))) if near else place)
            rows.append(row | {"confidence": np.float32(self.confidence if near else 0.05)})
        return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


@pytest.fixture
def track(monkeypatch):
    """Function: world -> tracker on 160 x 160 frames, called with a frame's number."""
    monkeypatch.setattr(tracking, "full_graph", lambda **options: None)

    def make(world, **options):
        monkeypatch.setattr(tracking, "traced", lambda graph: world.follow)
        tracker = tracking.HandTracker(world, **options)
        return tracker, lambda n: tracker(np.zeros((160, 160, 3), np.uint8), n / 30)

    return make


def centre(hand):
    return hand.keypoints_uv.mean(0) - SHAPE.mean(0)


def test_hands_keep_their_numbers_where_they_go(track):
    world = World()
    tracker, step = track(world, smooth=False)
    for n in range(40):
        world.hands = [(40 + n, 40), (120 - n, 110)]
        hands = step(n)
        assert [hand.track for hand in hands] == [0, 1]
        np.testing.assert_allclose([centre(hand) for hand in hands], world.hands, atol=1e-3)
    assert tracker.searches == 1 and tracker.frames == 40


def test_searches_when_a_hand_is_lost_or_may_come(track):
    world = World(max_hands=2)
    tracker, step = track(world, search_every=5)
    assert step(0) == [] and step(1) == [] and tracker.searches == 2  # nothing to follow: every frame
    world.hands = [(50, 50)]
    assert [h.track for h in step(2)] == [0]
    for n in range(3, 13):
        assert [h.track for h in step(n)] == [0]
    assert tracker.searches == 5  # two in ten frames for a second hand
    world.hands = [(50, 50), (120, 120)]
    assert len([step(n) for n in range(13, 18)][-1]) == 2
    searches = tracker.searches
    [step(n) for n in range(18, 30)]
    assert tracker.searches == searches  # all hands are followed
    world.hands = [(120, 120)]
    assert [h.track for h in step(30)] == [1]
    world.hands = []
    assert step(31) == []
    world.hands = [(60, 60)]
    assert [h.track for h in step(32)] == [2]  # a new hand, a new number


def test_one_hand_is_not_followed_twice(track):
    world = World()
    _, step = track(world)
    world.hands = [(40, 80), (120, 80)]
    assert len(step(0)) == 2
    for n in range(1, 30):  # one goes behind the other and stays there
        x = min(40 + 4 * n, 120)
        world.hands = [(120, 80)] if x == 120 else [(x, 80), (120, 80)]
        hands = step(n)
    assert len(hands) == 1


def test_trembling_falls_and_movement_is_kept(track):
    world = World(max_hands=1, noise=1.0)
    (_, plain), (_, steady) = track(world, smooth=False), track(world, smooth=True)
    world.hands = [(80, 80)]
    shaken = np.array([centre_of_all(plain(n)) for n in range(60)])
    calm = np.array([centre_of_all(steady(n)) for n in range(60)])
    assert np.diff(calm[10:], axis=0).std() < 0.3 * np.diff(shaken[10:], axis=0).std()
    world.noise = 0.0
    for n in range(60, 90):
        world.hands = [(80 + 30 * np.sin(n / 6), 80)]
        hand = steady(n)[0]
    assert np.abs(centre(hand) - world.hands[0]).max() < 2 * 5  # two frames at 5 pixels a frame


def centre_of_all(hands):
    return hands[0].keypoints_uv


def test_the_side_is_given_once_it_is_known(track):
    world = World(max_hands=1)
    _, step = track(world)
    world.hands = [(80, 80)]
    for n in range(6):
        step(n)
    given = np.concatenate(world.given)
    assert (given[0] == 0).all() and given[-1].tolist() == [0, 1]


def test_a_frame_of_another_size_starts_anew(track):
    world = World(max_hands=1)
    tracker, step = track(world)
    world.hands = [(80, 80)]
    assert [h.track for h in step(0)] == [0]
    (hand,) = tracker(np.zeros((320, 320, 3), np.uint8), 1.0)
    assert hand.track == 1 and tracker.searches == 2


def test_crops_in_the_pixels_of_the_canvas(track):
    world = World(max_hands=1)
    tracker, _ = track(world, smooth=False)
    world.hands = [(80, 80)]
    frame = np.zeros((160, 320, 3), np.uint8)  # half the size, 40 rows down on the canvas
    canvas, area = fit(frame, 160)
    hand = world.hand(world.outputs((80, 80)), 0.6, area, np.array([320, 160], np.float32))
    world.__class__ = type("Seen", (World,), {"__call__": lambda self, pixels: [hand]})
    tracker(frame, 0.0)
    (hand,) = tracker(frame, 0.1)
    expected = canvas_to_image(SHAPE + 80, area, (320, 160))
    np.testing.assert_allclose(hand.keypoints_uv, expected, atol=1e-3)


def test_crops_turn_with_the_hand(track):
    world = World(max_hands=1)
    world.graph_options = {"second_look": 1.5, "upright": True}
    seen, follow = [], world.follow

    def follow_turned(canvases, centre, side, up, given):
        seen.append((centre[0], side[0], up[0]))
        return follow(canvases, centre, side, given)

    world.follow, world.hands = follow_turned, [(80, 80)]
    _, step = track(world, smooth=False)
    step(0), step(1)
    up = SHAPE[12] - SHAPE[0]
    expected = keypoint_box(SHAPE[None] + 80, upright=True)
    np.testing.assert_allclose(seen[0][2], up / np.hypot(*up), atol=1e-5)
    np.testing.assert_allclose(seen[0][0], expected[0][0], atol=1e-3)
    np.testing.assert_allclose(seen[0][1], 1.5 * np.asarray(expected[1][0]), atol=1e-3)


def test_bad_arguments(track):
    for value in (0, 2.5, True):
        with pytest.raises(ValueError, match="search_every is"):
            track(World(), search_every=value)
    world = World()
    world.graph_options = {"grid": "legacy"}
    with pytest.raises(ValueError, match="published kind"):
        track(world)
    tracker, _ = track(World())
    with pytest.raises(TypeError, match="frame has dtype float64"):
        tracker(np.zeros((4, 4, 3)), 0.0)


def test_same_hand():
    def at(x, y, size=1.0):
        return SimpleNamespace(keypoints_uv=SHAPE * size + (x, y))

    assert tracking.same_hand(at(0, 0), at(5, 5)) and tracking.same_hand(at(0, 0), at(0, 0, 0.3))
    assert not tracking.same_hand(at(0, 0), at(30, 0)) and not tracking.same_hand(at(0, 0), at(100, 0))
    assert Hand.__dataclass_fields__["track"].default is None
