"""Runs a conversion: shards in parallel, resumed where it stopped, verified, reported.

OUT/.parts/<shard>.json     one for each finished and verified shard, until the split is complete
OUT/report-<split>.json     samples left out and why, remarks, what was verified
"""

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
import time

import numpy as np

from hand3d.cores import cores
from hand3d.files import write_atomic
from pipelines import convert, records
from pipelines.convert import content
from pipelines.convert.common import Skip, check_labels
from pipelines.convert.verify import judge, verify_shard
from pipelines.lock import locked
from pipelines.progress import Progress
from pipelines.tfrecord_io import masked_crc32c, write_tfrecord

SAMPLES_PER_SHARD = 500
PARTS = ".parts"
PLACES = ("images", "annotations", "table")  # options that may change between two runs
VERIFIED = (
    "records, checksums, pictures, projection, bone lengths, order of the keypoints, "
    "masks of RHD and FreiHAND against keypoints"
)
NOT_VERIFIED = (
    "that a picture is the one its labels were made for: --check-pictures was off, so pictures of one size "
    "that were exchanged are not found; python -m pipelines.inspect draws the labels over samples"
)
_worker = {}


class Unsound(ValueError):
    """Labels that cannot be those of hands, found after everything was written."""


def digest(value, state):
    """Feeds what identifies a sample, its id and its labels, into a hashlib object; paths do not count."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            if key == "id" or not isinstance(value[key], str):
                state.update(str(key).encode())
                digest(value[key], state)
    elif isinstance(value, np.ndarray):
        state.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, list | tuple):
        for part in value:
            digest(part, state)
    else:
        state.update(repr(value).encode())


def start_worker(done):
    _worker["done"] = done


def convert_shard(job):
    """Writes and verifies one shard; returns what goes into its part file."""
    source = convert.source(job["source"])
    skipped, cleared = [], 0

    def payloads():
        nonlocal cleared
        for item in job["items"]:
            try:
                if item["id"] in job["leave_out"]:
                    raise Skip(job["leave_out"][item["id"]])
                sample, off = check_labels(source.load(item), item["id"])
                sample = {"root": job["root"]} | sample | {"source": job["source"]}
                yield records.sample_to_example(sample, item["id"], job["image_format"])
                cleared += off
            except Skip as reason:
                skipped.append((item["id"], str(reason)))
            with _worker["done"].get_lock():
                _worker["done"].value += 1

    count = write_tfrecord(job["path"], payloads())
    hands = verify_shard(job["path"], count)
    part = {"samples": count, "skipped": skipped, "cleared": cleared, "hands": hands, "key": job["key"]}
    write_atomic(job["part"], json.dumps(part).encode())
    return part


def run(name, folder, out, split, *, workers=None, options=None, image_format="jpeg", check=0, show=print):
    """Converts one split; returns its report, a dict.

    name: of `convert.SOURCES`.  folder, out: paths.  options: of the source's `add_arguments`, a dict.
    check: pictures that `content.look` looks at, None for all.  show: called with lines of text.  ValueError
    if the folder, its labels or OUT are unusable; `Unsound` if the labels turn out to be no hands', or not
    those of the pictures.  Either way what is there is marked incomplete.
    """
    source, options = convert.source(name), options or {}
    masked_crc32c(b"")  # fails early without its library
    if not os.path.exists(folder):
        raise ValueError(f"{folder} does not exist")
    listing = source.list_items(folder, split, options)
    _refuse_doubles(listing)
    if not listing.items:
        first = f"; the first of {len(listing.skipped)}: {listing.skipped[0][1]}" if listing.skipped else ""
        raise ValueError(f"{folder}: no usable sample for the split {split!r}{first}")
    state = hashlib.sha256()
    digest(listing.items, state)
    generator = {
        "program": "pipelines.convert",
        "source": name,
        "options": {key: value for key, value in options.items() if key not in PLACES},
        "image_format": image_format,
        "listed": len(listing.items),
        "labels_sha256": state.hexdigest(),
    }
    generator = json.loads(json.dumps(generator))
    with locked(out):
        for left in os.listdir(out):  # what a killed run was writing
            if left.endswith(".partial"):
                os.unlink(os.path.join(out, left))
        return _run(source, listing, generator, folder, out, split, workers, options, check, show)


def _run(source, listing, generator, folder, out, split, workers, options, check, show):
    if _complete_already(out, split, generator):
        show(f"{out}: the split {split!r} is complete")
        with open(os.path.join(out, f"report-{split}.json"), encoding="utf-8") as file:
            return json.load(file)
    root = getattr(source, "ROOT", options.get("root", "wrist"))
    os.makedirs(os.path.join(out, PARTS), exist_ok=True)
    every = _jobs(listing.items, generator, out, split, root)
    parts = {name: _finished(job) for name, job in every.items()}
    jobs = [(name, job) for name, job in every.items() if not parts[name]]
    licence = options.get("licence") or source.LICENCE
    facts = {"units": source.UNITS, "order": source.ORDER, "expected": source.EXPECTED.get(split)}
    further = {"complete": False, "root": root, "read_from": facts | listing.facts}
    describe = {"licence": licence, "generator": generator}
    records.write_info(out, split, {}, **describe, further=further)
    started = time.time()
    for name, part in _in_parallel(jobs, workers):
        parts[name] = part
    seconds = time.time() - started
    hands = {
        key: [hand for part in parts.values() for hand in part["hands"][key]] for key in ("xyz", "uv", "side")
    }
    problems, doubts = judge(hands, root)
    seen = None
    if check != 0 and not problems:
        show(f"{out}: looks whether the pictures fit their labels; --check-pictures none leaves that out")
        seen = content.look(source, listing.items, every, parts, check, folder)
        again = [(name, job) for name, job in every.items() if job["leave_out"]]
        parts |= dict(_in_parallel(again, workers))
        problems, doubts = seen.problems, doubts + seen.notes
    report = _report(listing, parts, problems, doubts, source.EXPECTED.get(split), folder)
    report |= seen.report if seen else {}
    report["rate"] = round(sum(len(job["items"]) for _, job in jobs) / max(seconds, 1e-9), 1)
    write_atomic(os.path.join(out, f"report-{split}.json"), (json.dumps(report, indent=1) + "\n").encode())
    counts = {name: part["samples"] for name, part in parts.items()}
    further |= {key: report[key] for key in ("left_out", "verified", "not_verified")}
    further["complete"] = not problems
    records.write_info(out, split, counts, **describe, further=further)
    if seen and problems:  # the pictures are to be read again once they are put right
        for job in every.values():
            os.unlink(job["part"])
    if problems:
        raise Unsound(f"{folder}, split {split!r}: {'; '.join(problems)}.  {out} is marked incomplete")
    for name in parts:
        os.unlink(os.path.join(out, PARTS, name + ".json"))
    with contextlib.suppress(OSError):
        os.rmdir(os.path.join(out, PARTS))  # another split may have its parts there
    return report


def _jobs(items, generator, out, split, root):
    """{name of a shard: job} for `convert_shard`."""
    shards, jobs = -(-len(items) // SAMPLES_PER_SHARD), {}
    for number in range(shards):
        name = records.shard_name(split, number, shards)
        jobs[name] = {
            "path": os.path.join(out, name),
            "part": os.path.join(out, PARTS, name + ".json"),
            "items": items[number * SAMPLES_PER_SHARD : (number + 1) * SAMPLES_PER_SHARD],
            "source": generator["source"],
            "root": root,
            "image_format": generator["image_format"],
            "key": generator["labels_sha256"],
            "leave_out": {},
        }
    return jobs


def _report(listing, parts, problems, doubts, expected, folder):
    skipped = listing.skipped + [tuple(entry) for part in parts.values() for entry in part["skipped"]]
    samples = sum(part["samples"] for part in parts.values())
    cleared = sum(part["cleared"] for part in parts.values())
    notes = list(listing.notes) + doubts
    if cleared:
        notes.append(f"{cleared} keypoints off the image were marked as not visible")
    if expected and samples != expected:
        notes.append(f"{samples} samples, the published set has {expected}")
    return {
        "source_folder": os.path.basename(os.path.abspath(folder)),
        "samples": samples,
        "left_out": len(skipped),
        "verified": VERIFIED,
        "not_verified": NOT_VERIFIED,
        "problems": problems,
        "notes": notes,
        "samples_left_out": [{"id": identity, "reason": reason} for identity, reason in skipped],
    }


def _in_parallel(jobs, workers):
    """Yields (name, part) of each job as it ends, with progress on standard error."""
    if not jobs:
        return
    waiting = sum(len(job["items"]) for _, job in jobs)
    workers = min(workers or cores(), len(jobs))
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    with Progress(waiting, sys.stderr) as progress:
        if workers == 1:  # here: starting a process takes longer than converting a small set
            start_worker(done)
            for name, job in jobs:
                yield name, convert_shard(job)
                progress.show(done.value)
            return
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, start_worker, (done,))
        try:
            futures = {pool.submit(convert_shard, job): name for name, job in jobs}
            while futures:
                finished, _ = concurrent.futures.wait(futures, 1.0, concurrent.futures.FIRST_COMPLETED)
                for future in finished:
                    try:
                        yield futures.pop(future), future.result()
                    except concurrent.futures.process.BrokenProcessPool:
                        reason = "a worker ended suddenly (out of memory?); run the command again"
                        raise OSError(reason) from None
                progress.show(done.value)
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(job):
    """The part file of a shard that an earlier run of the same conversion finished, or None."""
    try:
        with open(job["part"], encoding="utf-8") as file:
            part = json.load(file)
    except (OSError, ValueError):
        return None
    return part if part.get("key") == job["key"] and os.path.exists(job["path"]) else None


def _complete_already(out, split, generator):
    """Whether OUT has the split from the same input; ValueError if it has it from another."""
    if not os.path.exists(os.path.join(out, records.INFO)):
        return False
    entry = records.read_info(out)["splits"].get(split)
    if entry is None:
        return False
    for key, value in generator.items():
        if entry["generator"].get(key) != value:
            found = entry["generator"].get(key)
            raise ValueError(
                f"{out} has a split {split!r} made with {key} {found!r}, not {value!r}; "
                "give another --out, or the same input and options to go on"
            )
    return bool(entry.get("complete")) and all(
        os.path.exists(os.path.join(out, name)) for name in entry["shards"]
    )


def _refuse_doubles(listing):
    seen = set()
    for item in listing.items:
        if item["id"] in seen:
            raise ValueError(f"the sample {item['id']!r} occurs twice")
        seen.add(item["id"])
