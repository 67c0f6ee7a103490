"""Rendered hand poses beside recorded ones: nearest neighbours and principal components, a plot and numbers.

    python -m pipelines.poses --out poses.npz --split training --count 41258
    python -m experiments.pose_diversity --rendered poses.npz --recorded POSES --out FOLDER

POSES is a folder of free recordings: hot3d/ (joint angles and hand profiles, Apache-2.0), leap_bvh/ (BVH,
MIT) and dex_right/joints_m.npy (joints, MIT). Skeletons differ, so only the bones' directions are
compared: a pose is where the joints of an average hand would be, in millimetres from the bases of the
fingers, in the palm's frame.  The distance of two poses is the mean over joints.  Poses of different
people differ by the median, over all recorded poses, of the distance to the nearest pose of anybody else;
`covered` is the share of the recorded poses with a rendered pose at most that far away.  Recordings
hold tracking errors, thumbs behind the hand or up the arm and knuckles bent back; `covered/possible` leaves
them out (`possible`).  About a minute.
"""

import argparse
import json
import os
import re
import sys

import numpy as np
from scipy.spatial import cKDTree

from hand3d.files import write_atomic
from hand3d.skeleton import CHAINS, INDEX, ROOT
from pipelines.poses import read_poses

# millimetres from MCP to PIP to DIP to tip, thumb first: the renderer's average hand
LENGTHS = np.array([[42, 33, 27], [47, 24, 26], [53, 29, 26], [48, 26, 25], [38, 17, 19]], float)
CHAIN = np.array(list(CHAINS.values()))[:, ::-1]  # base to tip
NUM_JOINTS = LENGTHS.size
EVERY = 5  # frames of an animation
BEHIND = 30.0  # millimetres that a thumb's tip gets behind the palm's plane or up the arm at most
BENT_BACK = 40.0  # degrees that a knuckle bends back at most
_TURNS = {"X": 0, "Y": 1, "Z": 2}


def pose_vectors(xyz, side):
    """Joints of an average hand in these poses, relative to the bases of their fingers, in the palm's frame.

    xyz: (N, 21, 3), any unit, root = wrist.  side: (N,) 0 left, 1 right; right hands are mirrored.
    Returns (N, 45) float64 millimetres.
    """
    xyz = np.asarray(xyz, np.float64)
    along = _unit(xyz[:, INDEX["middle_mcp"]] - xyz[:, ROOT])
    across = xyz[:, INDEX["little_mcp"]] - xyz[:, INDEX["index_mcp"]]
    across = _unit(across - (across * along).sum(-1, keepdims=True) * along)
    axes = np.stack([across, along, np.cross(across, along)], -1)
    axes[..., 2] *= np.where(np.asarray(side) == 1, -1.0, 1.0)[:, None]
    bones = _unit(np.diff(xyz[:, CHAIN], axis=2)) @ axes[:, None]
    joints = np.cumsum(bones * LENGTHS[..., None], axis=2)
    return joints.reshape(len(xyz), -1)


def possible(poses):
    """(N,) bool: neither a thumb's tip far behind the palm or up the arm nor a knuckle bent far back.

    poses: (N, 45) as of `pose_vectors`; the second coordinate grows towards the fingers, the third towards
    where they bend.
    """
    joints = np.reshape(poses, (len(poses), *LENGTHS.shape, 3))
    back = -joints[:, 1:, 0, 2] / LENGTHS[1:, 0]
    return (joints[:, 0, -1, 1:] > -BEHIND).all(-1) & (back < np.sin(np.radians(BENT_BACK))).all(1)


def _unit(v):
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


# ---------------------------------------------------------------- recordings


def read_recordings(folder):
    """{person: (N, 45) pose vectors} of all recordings in a folder; ValueError if there are none."""
    people = {}
    hot3d = os.path.join(folder, "hot3d")
    for name in sorted(os.listdir(hot3d)) if os.path.isdir(hot3d) else ():
        if name.endswith("_profile.json"):
            person = name.removesuffix("_profile.json")
            people[f"hot3d {person}"] = _hot3d(hot3d, person)
    leap = os.path.join(folder, "leap_bvh")
    if os.path.isdir(leap):
        files = sorted(name for name in os.listdir(leap) if name.endswith(".bvh"))
        hands = np.concatenate([read_bvh(os.path.join(leap, name))[::EVERY] for name in files])
        people["leap"] = pose_vectors(hands, np.ones(len(hands), int))
    dex = os.path.join(folder, "dex_right", "joints_m.npy")
    if os.path.exists(dex):
        joints = np.load(dex)  # wrist, then each finger from base to tip
        order = [0] + [4 * finger + joint for finger in range(5) for joint in (4, 3, 2, 1)]
        people["dex"] = pose_vectors(joints[:, order], np.ones(len(joints), int))
    if len(people) < 2:
        raise ValueError(f"{folder} holds recordings of {len(people)} people; at least two are needed")
    return people


def _hot3d(folder, person):
    """(N, 45) pose vectors of one person, both hands: forward kinematics of the profile's joints."""
    with open(os.path.join(folder, f"{person}_profile.json")) as file:
        model = {key: np.array(value) for key, value in json.load(file)["hand_model"].items()}
    with open(os.path.join(folder, f"{person}_trajectory.jsonl")) as file:
        instants = [json.loads(line) for line in file if line.strip()]
    angles = np.array([hand["joint_angles"] for i in instants for hand in i["hand_poses"].values()])
    angles[:, -2:] = 0  # of the wrist
    hands = np.stack([_landmarks(model, each) for each in angles])
    return pose_vectors(hands, np.zeros(len(hands), int))  # a left hand; the right one's angles are mirrored


def _landmarks(model, angles):
    """(21, 3) landmarks in hand3d's order at 22 joint angles, radians."""
    moves, count = {}, len(angles)
    parents, frames = model["joint_parent"].astype(int), model["joint_frame_index"].astype(int)
    bones = {}
    for joint in range(count):
        pivot = model["joint_rest_positions"][joint]
        turn = rotation_about(model["joint_rotation_axes"][joint], angles[joint])
        rotation, shift = moves.get(parents[joint], (np.eye(3), np.zeros(3)))
        moves[joint] = rotation @ turn, rotation @ (pivot - turn @ pivot) + shift
        bones[frames[joint]] = moves[joint]
    points = np.array(
        [
            bones[bone][0] @ rest + bones[bone][1] if bone in bones else rest
            for rest, bone in zip(
                model["landmark_rest_positions"],
                model["landmark_rest_bone_indices"][:, 0].astype(int),
                strict=True,
            )
        ]
    )
    # tips, wrist, the thumb's two joints, each finger's three from the base; the thumb's base is joint 1
    base = moves[0][0] @ model["joint_rest_positions"][1] + moves[0][1]
    hand = [points[5], points[0], points[7], points[6], base]
    for finger in range(4):
        hand += [points[1 + finger], *points[[10 + 3 * finger, 9 + 3 * finger, 8 + 3 * finger]]]
    return np.array(hand)


def rotation_about(axis, angle):
    """(3, 3) rotation about a unit vector by `angle` radians."""
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def read_bvh(path):
    """(frames, 21, 3) keypoints of a right hand out of a BVH file with joints rHand, rThumb1 .. rPinky3.

    Raises ValueError naming the file if it is none.
    """
    with open(path) as file:
        head, _, motion = file.read().partition("MOTION")
    nodes, stack = [], []  # [name, parent, offset, channels]
    for word in re.finditer(r"(ROOT|JOINT) (\S+)|(End Site)|OFFSET (.+)|CHANNELS \d+ (.+)|(\})", head):
        _, name, end, offset, channels, close = word.groups()
        if name or end:
            parent = stack[-1] if stack else None
            nodes.append([name or f"{nodes[parent][0]} end", parent, None, []])
            stack.append(len(nodes) - 1)
        elif offset:
            nodes[stack[-1]][2] = np.array(offset.split(), float)
        elif channels:
            nodes[stack[-1]][3] = channels.split()
        elif close and stack:
            stack.pop()
    values = motion.split("\n", 3)[-1] if motion else ""
    width = sum(len(node[3]) for node in nodes)
    numbers = np.array(values.split(), float)
    if not width or not len(numbers) or len(numbers) % width:
        raise ValueError(f"{path} is no BVH file: {len(numbers)} numbers for {width} channels")
    frames = numbers.reshape(-1, width)
    places, turns, column = {}, {}, 0
    for name, parent, offset, channels in nodes:
        above = turns[nodes[parent][0]] if parent is not None else np.tile(np.eye(3), (len(frames), 1, 1))
        start = places[nodes[parent][0]] if parent is not None else np.zeros((len(frames), 3))
        places[name] = start + above @ offset
        for channel in channels:
            if channel.endswith("rotation"):
                axis = np.eye(3)[_TURNS[channel[0]]]
                angle = np.radians(frames[:, column])
                above = above @ np.stack([rotation_about(axis, a) for a in angle])
            column += 1
        turns[name] = above
    try:
        hand = [places["rHand"]]
        for finger in ("Thumb", "Index", "Mid", "Ring", "Pinky"):
            hand += [places[f"r{finger}{joint}"] for joint in ("3 end", "3", "2", "1")]
    except KeyError as error:
        raise ValueError(f"{path} has no joint {error}") from None
    return np.stack(hand, 1)


# ---------------------------------------------------------------- numbers


def nearest(poses, others):
    """(N,) millimetres, mean over joints, to the nearest of `others` (of the 20 nearest in squared sum)."""
    count = min(20, len(others))
    _, index = cKDTree(others).query(poses, k=count)
    gaps = (poses[:, None] - others[index.reshape(len(poses), count)]).reshape(
        len(poses), count, NUM_JOINTS, 3
    )
    return np.linalg.norm(gaps, axis=-1).mean(-1).min(1)


def compare(people, rendered):
    """Numbers and curves.  people: {person: (N, 45)}; rendered: (M, 45).  Returns (dict of numbers, dict)."""
    to_rendered = {person: nearest(poses, rendered) for person, poses in people.items()}
    to_others = {
        person: nearest(poses, np.concatenate([p for other, p in people.items() if other != person]))
        for person, poses in people.items()
    }
    limit = float(np.median(np.concatenate(list(to_others.values()))))
    recorded = np.concatenate(list(people.values()))
    gaps = np.concatenate(list(to_rendered.values()))
    human = possible(recorded)
    _, _, components = np.linalg.svd(rendered - rendered.mean(0), full_matrices=False)
    numbers = {
        "recorded": len(recorded),
        "rendered": len(rendered),
        "between_people_mm": limit,
        "to_rendered_median_mm": float(np.median(gaps)),
        "covered": float((gaps <= limit).mean()),
        "possible": int(human.sum()),
        "covered/possible": float((gaps[human] <= limit).mean()),
        "covered/person": {p: float((g <= limit).mean()) for p, g in to_rendered.items()},
        "components_for_95%": {"rendered": _components(rendered), "recorded": _components(recorded)},
    }
    curves = {"to_rendered": gaps, "to_others": np.concatenate(list(to_others.values()))}
    axes = {person: (poses - rendered.mean(0)) @ components[:2].T for person, poses in people.items()}
    return numbers, curves | {"axes": axes, "rendered": (rendered - rendered.mean(0)) @ components[:2].T}


def _components(poses):
    """How many principal components hold 95 % of the variance."""
    variance = np.linalg.svd(poses - poses.mean(0), compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.95) + 1)


def plot(numbers, curves, path):
    """PNG: how far recorded poses are from rendered ones, and both along the first two components."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2))
    for name, label in (
        ("to_rendered", "nearest rendered pose"),
        ("to_others", "nearest pose of other people"),
    ):
        values = np.sort(curves[name])
        left.plot(values, np.arange(1, len(values) + 1) / len(values), label=label)
    left.axvline(numbers["between_people_mm"], color="grey", linestyle=":")
    left.set(xlabel="distance, mm", ylabel="share of the recorded poses", xlim=(0, 40), ylim=(0, 1))
    left.legend(loc="lower right")
    right.scatter(*curves["rendered"].T, s=2, color="0.8", label="rendered")
    for person, points in curves["axes"].items():
        right.scatter(*points.T, s=4, label=person)
    right.set(xlabel="first component of the rendered poses, mm", ylabel="second")
    right.legend(loc="upper right", markerscale=2, fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.pose_diversity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rendered", nargs="+", required=True, help="files of python -m pipelines.poses")
    parser.add_argument("--recorded", required=True, help="folder of recordings")
    parser.add_argument("--out", required=True, help="folder for pose_diversity.png and .json")
    arguments = parser.parse_args(argv)
    try:
        drawn = [read_poses(path) for path in arguments.rendered]
        vectors = [pose_vectors(poses["xyz"], poses["side"]) for poses in drawn]
        numbers, curves = compare(read_recordings(arguments.recorded), np.concatenate(vectors))
        os.makedirs(arguments.out, exist_ok=True)
        plot(numbers, curves, os.path.join(arguments.out, "pose_diversity.png"))
        text = json.dumps(numbers, indent=1) + "\n"
        write_atomic(os.path.join(arguments.out, "pose_diversity.json"), text.encode())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
