"""Whether the pictures of records are those that their labels were made for.

Called at the end of `pipelines.convert`, and for records that are there already:

    python -m pipelines.inspect DIR --check-pictures all

Every picture is looked at by PoseNet at its labelled hand (`pipelines.fits`).  Labels that fit badly are
tried on the pictures before and after theirs, and on each other's; what is proven by that is an exchange or a
shift (`pipelines.exchanges`), the rest are suspects.  Pictures that occur twice are found by their bytes.

Measured with `lite`: of exchanged pairs among 60 photographs of one person's left hand, much alike, 79 % are
found (1 pair in the set, 400 random ones), with 3 pairs at once 78 %, and 5 of 1,200 with the wrong partner;
of the 21 pairs among 7 frames of RHD all, of 24 among 300 rendered hands 23.  No sample that was in its place
was taken for exchanged.  Missed are hands in nearly the same place and pose, and in films a shift by one.  A
look takes 21 ms of a core.
"""

import hashlib
import sys
import time

import numpy as np

from pipelines import pictures
from pipelines.convert.verify import parse
from pipelines.exchanges import SUSPECT, TRY, candidates, exchanges, fits_better, shift
from pipelines.fits import Judge, label_of
from pipelines.progress import Progress
from pipelines.tfrecord_io import read_tfrecord

LIMIT = 5000  # samples looked at by default; of more, so many, evenly spread
MOST_TRIED = 600  # labels, the worst first, that are tried on each other's pictures
MOST_SHIFTED = 200  # labels, evenly spread, that are tried on the pictures around theirs
OFFSETS = (1, -1, 2, -2)
LOOKS = 4000  # about a minute: so many pairs are tried; of more, the likeliest by the hands that are found
FEWEST = 4  # pictures that a label is tried on at least


def check_pictures(paths, total, limit=LIMIT, judge=None, stream=None):
    """What the pictures of a split say about their labels; a dict that JSON can hold.

    paths: shards in order.  total: samples in them.  limit: samples to look at, None for all.  judge: as
    `fits.Judge`.  stream: of the progress, standard error by default.

    samples, looked_at, judged: numbers; judged are those with a hand large enough.
    exchanged: list of rings, {"ids": [...], "fits": own, "fits_exchanged": each on the next one's picture}.
    shifted: list of {"by": places, "first": id, "last": id}: these labels fit the pictures so many places on.
    suspects: list of {"id", "fit"}, worst first, without those in `exchanged`.
    copies: list of {"ids": [...]}: one picture, different labels.  doubles: the same with equal labels.
    """
    judge, started = judge or Judge(), time.time()
    wanted = np.unique(np.linspace(0, total - 1, min(limit or total, total)).astype(int))
    own, names, labels = np.full(total, np.nan), {}, {}
    files = {}

    def looks():
        for index, payload in _payloads(paths):
            sample = parse(payload)
            _remember(files, index, sample)
            if index not in chosen:
                continue
            label = label_of(sample)
            progress.show(int(np.searchsorted(wanted, index)) + 1)
            if label is not None:
                names[index], labels[index] = sample["id"].decode(), label
                yield index, judge.crop(pictures.decode(sample["image"]), label), label

    chosen = set(wanted.tolist())
    with Progress(len(wanted), stream or sys.stderr, unit="pictures") as progress:
        for index, fit in judge.look(looks()):
            own[index] = fit
            if fit >= TRY:  # nothing more to ask of it
                del labels[index], names[index]
    found = _tried(paths, judge, own, labels, total, stream)
    in_rings = {index for ring in found["rings"] for index in ring["indices"]}
    suspects = [index for index in np.argsort(own) if own[index] < SUSPECT and index not in in_rings]
    rings = [{"ids": [names[index] for index in ring.pop("indices")]} | ring for ring in found["rings"]]
    shifted = [
        {"by": by, "first": names.get(first), "last": names.get(last)} for by, first, last in found["shifts"]
    ]
    copies, doubles = _doubles(files)
    return {
        "samples": total,
        "looked_at": len(wanted),
        "judged": int(np.isfinite(own).sum()),
        "median_fit": round(float(np.nanmedian(own)), 2) if np.isfinite(own).any() else None,
        "exchanged": rings,
        "shifted": shifted,
        "suspects": [{"id": names[index], "fit": round(float(own[index]), 2)} for index in suspects],
        "copies": copies,
        "doubles": doubles,
        "seconds": round(time.time() - started, 1),
    }


def _payloads(paths):
    index = 0
    for path in paths:
        for payload in read_tfrecord(path):
            yield index, payload
            index += 1


def _tried(paths, judge, own, labels, total, stream):
    """{"rings": [...], "shifts": [(by, first, last)]} of the labels that fit badly, by index."""
    bad = np.array(sorted(labels), int)
    if not len(bad):
        return {"rings": [], "shifts": []}
    spread = bad[np.unique(np.linspace(0, len(bad) - 1, min(len(bad), MOST_SHIFTED)).astype(int))]
    around = {(int(i), int(i) + by) for i in spread for by in OFFSETS if 0 <= i + by < total}
    pool = np.sort(bad[np.argsort(own[bad])][:MOST_TRIED])
    each = max(FEWEST, LOOKS // len(pool))
    if each >= len(pool) - 1:
        pairs = {(int(i), int(j)) for i in pool for j in pool if i != j}
    else:
        distance = _distances(paths, judge, [labels[index] for index in pool], pool)
        pairs = {(int(pool[i]), int(pool[j])) for i, j in candidates(distance, each)}
        pairs |= {(j, i) for i, j in pairs}
    fit, looks = {}, {(i, j) for i, j in pairs if i < j} | around
    while looks:  # one direction of a pair says enough, unless it fits: then where does that picture's label?
        new = _look_at(paths, judge, labels, looks, stream)
        fit |= new
        fitting = {j for (i, j), value in new.items() if fits_better(own[i], value)}
        looks = {(j, k) for j, k in pairs if j in fitting} - fit.keys()
    place = {int(index): number for number, index in enumerate(pool)}
    matrix = np.full((len(pool), len(pool)), np.nan)
    for (i, j), value in fit.items():
        if i in place and j in place:
            matrix[place[i], place[j]] = value
    rings = []
    for ring in exchanges(own[pool], matrix):
        after = np.roll(ring, -1)
        rings.append(
            {
                "indices": [int(pool[number]) for number in ring],
                "fits": own[pool[list(ring)]].round(2).tolist(),
                "fits_exchanged": matrix[list(ring), after].round(2).tolist(),
            }
        )
    shifts = []
    for by in OFFSETS:
        moved = np.full(total, np.nan)
        for i in spread:
            moved[i] = fit.get((int(i), int(i) + by), np.nan)
        run = shift(own, moved)
        if run:
            shifts.append((by, *run))
    return {"rings": rings, "shifts": shifts}


def _look_at(paths, judge, labels, pairs, stream):
    """{(i, j): fit of label i with picture j}; the pictures are read one after another."""
    for_picture = {}
    for i, j in sorted(pairs):
        for_picture.setdefault(j, []).append(i)

    def looks():
        for j, payload in _payloads(paths):
            if j in for_picture:
                image = pictures.decode(parse(payload)["image"])
                for i in for_picture[j]:
                    yield (i, j), judge.crop(image, labels[i]), labels[i]

    fit = {}
    with Progress(len(pairs), stream or sys.stderr, unit="pairs") as progress:
        for pair, value in judge.look(looks()):
            fit[pair] = value
            progress.show(len(fit))
    return fit


def _distances(paths, judge, labels, pool):
    """(N, N) mean distance of each label from the nearest hand found in each picture, by its extent."""
    from hand3d import HandPoseEstimator

    estimator = HandPoseEstimator(judge.weight_set, min_score=0.0)
    wanted = set(pool.tolist())
    images = (pictures.decode(parse(payload)["image"]) for j, payload in _payloads(paths) if j in wanted)
    distance = np.full((len(pool), len(pool)), np.inf)
    for j, prediction in enumerate(estimator.stream(images)):
        for hand in prediction.hands:
            for i, label in enumerate(labels):
                away = np.linalg.norm(hand.keypoints_uv - label.uv, axis=-1)[label.seen]
                distance[i, j] = min(distance[i, j], float(away.mean()) / label.extent)
    return distance


def _remember(files, index, sample):
    """Enters the picture of a sample into {digest: [(id, digest of the labels)]}."""
    picture = hashlib.blake2b(sample["image"], digest_size=12).digest()
    placed = np.where(sample["present"][:, None], sample["uv"], 0)
    label = hashlib.blake2b(placed.tobytes(), digest_size=6).digest()
    files.setdefault(picture, []).append((sample["id"].decode(), label))


def _doubles(files):
    """(copies, doubles) of `check_pictures`.  Hands of one file, `name` and `name#1`, are none of both."""
    copies, doubles = [], []
    for entries in files.values():
        if len({name.split("#")[0] for name, _ in entries}) > 1:
            same = len({label for _, label in entries}) == 1
            (doubles if same else copies).append({"ids": [name for name, _ in entries]})
    return copies, doubles
