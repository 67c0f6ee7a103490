"""Miniature data sets in the original formats, made of the rendered samples in `fixtures/renders`.

Images and labels belong together: what a format wants - another size and camera, a left hand, other axes - is
done to both alike.
"""

import csv
import json
import os
import pickle

import numpy as np
from PIL import Image
from scipy.io import savemat
from scipy.spatial.transform import Rotation

from hand3d.skeleton import CHAINS, HAND_SLICES, KEYPOINT_NAMES, SIDES, TIPS
from pipelines import pictures
from pipelines.convert.verify import parse
from pipelines.records import shard_paths
from pipelines.tfrecord_io import read_tfrecord

RENDERS = os.path.join(os.path.dirname(__file__), "fixtures", "renders")
COUNT = 24
OUTWARDS = [0] + [keypoint for chain in CHAINS.values() for keypoint in reversed(chain)]
PALM_INWARDS = [0] + [k for finger in reversed(CHAINS.values()) for k in reversed(finger)]  # STB's order
BB_K = np.array([[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]])
SK_K = np.array([[607.92271, 0, 314.78337], [0, 607.88192, 236.42484], [0, 0, 1]])
DEXTER_K = np.array([[587.45209, 0, 325], [0, 600.67456, 249], [0, 0, 1]])


def renders():
    """The fixture's samples: dicts as of `verify.parse` with image and mask decoded."""
    (path,) = shard_paths(RENDERS, "evaluation")
    samples = [parse(payload) for payload in read_tfrecord(path)]
    return [sample | {key: pictures.decode(sample[key]) for key in ("image", "mask")} for sample in samples]


def one_hand(sample, side):
    """(image, mask of the hand, xyz (21, 3), K) of the better visible hand, mirrored if it has to be."""
    seen = [sample["visible"][part].sum() for part in HAND_SLICES.values()]
    best = int(np.argmax(seen))
    low = 2 + 16 * best
    image, hand = sample["image"], (sample["mask"] >= low) & (sample["mask"] < low + 16)
    xyz, K = sample["xyz"][HAND_SLICES[SIDES[best]]].astype(float), sample["K"].astype(float)
    if SIDES[best] != side:
        image, hand, xyz = image[:, ::-1], hand[:, ::-1], xyz * (-1, 1, 1)
        K = K.copy()
        K[0, 2] = image.shape[1] - 1 - K[0, 2]
    return np.ascontiguousarray(image), np.ascontiguousarray(hand), xyz, K


def turned_to(image, xyz, K, new_K, size):
    """The picture that a camera `new_K` of `size` (width, height) takes from the same place of the hand.

    Returns image and xyz in its axes.
    """
    aim = xyz.mean(0) / np.linalg.norm(xyz.mean(0))
    turn = Rotation.align_vectors([[0, 0, 1]], [aim])[0].as_matrix()
    back = K @ turn.T @ np.linalg.inv(new_K)  # pixel of the new picture -> pixel of the old one
    back = back / back[2, 2]
    # Pillow counts from the corner, we from the centre of the first pixel
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = shift @ back @ np.linalg.inv(shift)
    coefficients = (back / back[2, 2]).ravel()[:8]
    picture = Image.fromarray(image)
    method, sampling = Image.Transform.PERSPECTIVE, Image.Resampling.BILINEAR
    return np.asarray(picture.transform(size, method, coefficients, sampling)), xyz @ turn.T


def project(xyz, K):
    points = xyz @ K.T
    return points[..., :2] / points[..., 2:]


def write_rhd(folder, split="training", samples=None, protocol=2):
    """RHD's layout; returns the samples."""
    samples = renders() if samples is None else samples
    labels = {}
    for kind in ("color", "mask", "depth"):
        os.makedirs(os.path.join(folder, split, kind), exist_ok=True)
    for number, sample in enumerate(samples):
        name = f"{number:05d}.png"
        Image.fromarray(sample["image"]).save(os.path.join(folder, split, "color", name))
        Image.fromarray(sample["mask"]).save(os.path.join(folder, split, "mask", name))
        depth = np.where(sample["mask"] > 0, sample["xyz"][:, 2].max(), 5.0)
        levels = np.rint(depth / 5 * 65535).astype(int)
        coded = np.stack([levels >> 8, levels & 255, 0 * levels], -1).astype(np.uint8)
        Image.fromarray(coded).save(os.path.join(folder, split, "depth", name))
        uv_vis = np.concatenate([sample["uv"], sample["visible"][:, None]], 1)
        labels[number] = {"uv_vis": uv_vis, "xyz": sample["xyz"], "K": sample["K"]}
    with open(os.path.join(folder, split, f"anno_{split}.pickle"), "wb") as file:
        pickle.dump(labels, file, protocol)
    return samples


def write_stb(
    folder,
    sequences=("B1Counting", "B1Random"),
    order=PALM_INWARDS,
    palm=True,
    frames=COUNT // 2,
    cameras=("BB", "SK"),
):
    """STB's layout; returns {(sequence, view): xyz (N, 21, 3) metres in the view's axes, our order}."""
    samples = renders()
    os.makedirs(os.path.join(folder, "labels"), exist_ok=True)
    sk_turn = Rotation.from_rotvec([0.00531, -0.01196, 0.00301]).as_matrix()
    sk_shift = np.array([-0.0240381, -0.0004563, -0.0012326])
    truth = {}
    for index, sequence in enumerate(sequences):
        images = os.path.join(folder, "images", sequence)
        os.makedirs(images, exist_ok=True)
        for camera in cameras:
            K, views = {"BB": (BB_K, ("BB_left", "BB_right")), "SK": (SK_K, ("SK_color",))}[camera]
            labels = []
            for frame in range(frames):
                image, _, xyz, old = one_hand(samples[(index * frames + frame) % len(samples)], "left")
                if palm:
                    xyz[0] = (xyz[0] + xyz[12]) / 2
                picture, xyz = turned_to(image, xyz, old, K, (640, 480))
                for view in views:
                    placed = xyz
                    if view == "BB_right":  # the parallax of the hand for the whole picture
                        placed = xyz - (0.120054, 0, 0)
                        parallax = K[0, 0] * 0.120054 / xyz[:, 2].mean()
                        picture = np.roll(picture, -round(parallax), 1)
                    Image.fromarray(picture).save(
                        os.path.join(images, f"{view}_{frame}.png"), compress_level=1
                    )
                    truth.setdefault((sequence, view), []).append(placed)
                labels.append(xyz if camera == "BB" else xyz @ sk_turn.T + sk_shift)
            array = 1000 * np.array(labels)[:, order].transpose(2, 1, 0)
            savemat(os.path.join(folder, "labels", f"{sequence}_{camera}.mat"), {"handPara": array})
    return {key: np.array(value) for key, value in truth.items()}


def write_freihand(folder, split="training", variants=1, masks=True):
    """FreiHAND's layout; returns xyz (N, 21, 3) in our order."""
    truth, K_list = [], []
    for kind in ("rgb", "mask"):
        os.makedirs(os.path.join(folder, split, kind), exist_ok=True)
    samples = renders()
    for number in range(COUNT * variants):
        image, hand, xyz, K = one_hand(samples[number % COUNT], "right")
        Image.fromarray(image).save(os.path.join(folder, split, "rgb", f"{number:08d}.jpg"), quality=92)
        if number < COUNT:
            if masks:
                mask = Image.fromarray(np.where(hand, 255, 0).astype(np.uint8))
                mask.save(os.path.join(folder, split, "mask", f"{number:08d}.jpg"), quality=95)
            truth.append(xyz)
            K_list.append(K)
    for key, values in (("xyz", np.array(truth)[:, OUTWARDS]), ("K", np.array(K_list))):
        with open(os.path.join(folder, f"{split}_{key}.json"), "w") as file:
            json.dump(values.tolist(), file)
    return np.array(truth)


def write_dexter(folder, sequences=("Grasp1", "Rotate"), signs=(-1, -1, 1)):
    """Dexter+Object's layout; returns fingertips (N, 5, 3) in the colour camera's axes, metres."""
    turn = np.array([[0.9999, 0.0034, 0.0161], [-0.0033, 1.0, -0.0079], [-0.0162, 0.0079, 0.9998]])
    shift = np.array([0.0190473, -0.0018514, -0.0047501])
    depth_K = np.array([[224.502, 0, 160], [0, 230.494, 120], [0, 0, 1]])
    samples, truth, frames = renders(), [], COUNT // len(sequences)
    for index, sequence in enumerate(sequences):
        home = os.path.join(folder, "data", sequence)
        for kind in ("color", "annotations"):
            os.makedirs(os.path.join(home, kind), exist_ok=True)
        lines = {"2D": [], "3D": []}
        for frame in range(frames):
            image, _, xyz, K = one_hand(samples[index * frames + frame], "left")
            picture, xyz = turned_to(image, xyz, K, DEXTER_K, (640, 480))
            Image.fromarray(picture).save(os.path.join(home, "color", f"image_{frame:05d}_color.bmp"))
            corners = xyz[[0, 12, 20]] + (0, 0, 0.05)
            tips = xyz[list(TIPS)]
            truth.append(tips)
            points = (np.concatenate([tips, corners]) - shift) @ np.linalg.inv(turn).T
            pixels = project(points, depth_K)
            millimetres = 1000 * points * signs
            if frame == 0:
                millimetres[1] = (0, 0, 32001)  # no depth there
            for kind, values in (("2D", pixels), ("3D", millimetres)):
                lines[kind].append("; ".join(", ".join(f"{v:.2f}" for v in point) for point in values))
        for kind, text in lines.items():
            with open(os.path.join(home, "annotations", f"{sequence}{kind}.txt"), "w") as file:
                file.write("\n".join(text) + "\n")
    return np.array(truth)


def write_coco(folder, names=None, masks=True, boxes=True):
    """A COCO file with images; returns the samples."""
    samples = renders()
    os.makedirs(os.path.join(folder, "images"), exist_ok=True)
    names = names or ["wrist"] + [f"{finger}{joint}" for finger in CHAINS for joint in (1, 2, 3, 4)]
    content = {"images": [], "annotations": [], "categories": []}
    for side in SIDES:
        content["categories"].append(
            {"id": SIDES.index(side) + 1, "name": f"{side}_hand", "keypoints": names}
        )
    for number, sample in enumerate(samples):
        height, width = sample["mask"].shape
        entry = {"id": 100 + number, "file_name": f"{number}.jpg", "width": width, "height": height}
        content["images"].append(entry)
        Image.fromarray(sample["image"]).save(os.path.join(folder, "images", entry["file_name"]), quality=95)
        for index, part in enumerate(HAND_SLICES.values()):
            uv, visible = sample["uv"][part], sample["visible"][part]
            hand = (sample["mask"] >= 2 + 16 * index) & (sample["mask"] < 18 + 16 * index)
            if visible.sum() < 3:
                continue
            inside = ((uv > -0.5) & (uv < width - 0.5)).all(1)
            flags = np.where(inside, 1 + visible, 0)
            points = np.concatenate([uv, flags[:, None]], 1)[OUTWARDS]
            rows, columns = np.nonzero(hand)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            annotation = {
                "id": len(content["annotations"]),
                "image_id": entry["id"],
                "category_id": index + 1,
            }
            annotation |= {"keypoints": points.astype(float).ravel().tolist(), "iscrowd": 0}
            annotation |= {"bbox": [float(value) for value in box]} if boxes else {}
            if masks:
                changes = np.flatnonzero(np.diff(hand.T.ravel(), prepend=False, append=False)).tolist()
                ends = [0, *changes, hand.size]
                counts = np.diff(ends).tolist() if hand.T.ravel()[-1] == 0 else np.diff(ends[:-1]).tolist()
                annotation["segmentation"] = {"size": [height, width], "counts": counts}
            content["annotations"].append(annotation)
    with open(os.path.join(folder, "hands.json"), "w") as file:
        json.dump(content, file)
    return samples


def write_csv(folder, with_3d=False, delimiter=",", split=True):
    """A csv table with images; returns the samples."""
    samples = renders()
    columns = ["path", "side", "name", "u", "v", "visible"] + ["x", "y", "z"] * with_3d + ["split"] * split
    with open(os.path.join(folder, "labels.csv"), "w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        for number, sample in enumerate(samples):
            path = f"{number}.jpg"
            Image.fromarray(sample["image"]).save(os.path.join(folder, path), quality=95)
            for side, part in HAND_SLICES.items():
                if sample["visible"][part].sum() < 9:
                    continue
                for k, name in enumerate(KEYPOINT_NAMES):
                    u, v = sample["uv"][part][k]
                    row = [path, side, name, f"{u:.3f}", f"{v:.3f}", int(sample["visible"][part][k])]
                    row += [f"{x:.5f}" for x in sample["xyz"][part][k]] if with_3d else []
                    writer.writerow(row + ["evaluation" if number % 4 == 0 else "training"] * split)
    return samples


def read_all(directory, split):
    """All samples of a converted split, in order, with image and mask decoded (mask None without one)."""
    samples = [parse(payload) for path in shard_paths(directory, split) for payload in read_tfrecord(path)]
    return [
        sample
        | {"image": pictures.decode(sample["image"])}
        | {"mask": pictures.decode(sample["mask"]) if sample["mask"] else None}
        for sample in samples
    ]
