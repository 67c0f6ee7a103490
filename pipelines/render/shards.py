"""Write rendered samples to a folder, with several processes, going on where an earlier run stopped.

The samples of a split are written in parts of SAMPLES_PER_SHARD: one TFRecord shard, and with the layout of
RHD one file of `rhd_layout`.  A part appears under its name when it is whole, so what is there after any kind
of interruption is either whole, or damaged by something else and found out by its checksums.
"""

import concurrent.futures
import dataclasses
import json
import os
import sys

from hand3d.files import write_atomic
from pipelines.lock import locked
from pipelines.progress import Progress
from pipelines.render import provenance, rhd_layout, workers

SAMPLES_PER_SHARD = 250
EVALUATION_SHARE = 16  # --split both renders one evaluation sample for so many training samples
SEED_STRIDE = 10_000_000
FORMATS = {"tfrecord": ("tfrecord",), "rhd": ("rhd",), "both": ("tfrecord", "rhd")}
RHD_INFO = "rhd.json"  # what the folder's RHD layout was made with, as info.json for the records
LICENCE = "CC0-1.0 geometry (MakeHuman); the background photographs keep their own licences"


@dataclasses.dataclass(frozen=True)
class Part:
    """Samples first .. first + count - 1 of a split; paths: {layout: file that tells that it is whole}."""

    split: str
    first: int
    count: int
    seed: int
    paths: dict


def plan(out, split, count, seed, layouts):
    """The parts of a split, in order."""
    from pipelines.records import shard_name

    number = -(-count // SAMPLES_PER_SHARD)
    parts = []
    for k in range(number):
        first = k * SAMPLES_PER_SHARD
        paths = {
            "tfrecord": os.path.join(out, shard_name(split, k, number)),
            "rhd": rhd_layout.part_path(out, split, k, number),
        }
        paths = {layout: paths[layout] for layout in layouts}
        size = min(SAMPLES_PER_SHARD, count - first)
        parts.append(Part(split, first, size, seed * SEED_STRIDE + first, paths))
    return parts


def check(out, part, layout):
    """FileNotFoundError if a part is not there in a layout, ValueError naming what is damaged in it."""
    from pipelines.tfrecord_io import read_tfrecord

    path = part.paths[layout]
    if layout == "rhd":
        rhd_layout.check_part(out, part.split, path, part.first, part.count)
        return
    found = sum(1 for _ in read_tfrecord(path))
    if found != part.count:
        raise ValueError(f"{path} holds {found} samples instead of {part.count}")


def missing(out, part):
    """The part with those layouts only that have to be written, and notes on what was damaged."""
    wanted, notes = {}, []
    for layout, path in part.paths.items():
        try:
            check(out, part, layout)
        except FileNotFoundError:
            wanted[layout] = path
        except ValueError as error:
            wanted[layout] = path
            notes.append(str(error))
    return dataclasses.replace(part, paths=wanted), notes


def write_part(out, part):
    """Render a part and write it in its layouts; runs in a worker."""
    from pipelines.records import write_shard

    pictures = rhd_layout.PartWriter(out, part.split, part.first) if "rhd" in part.paths else None

    def samples():
        for seed in range(part.seed, part.seed + part.count):
            sample = workers.render(seed, part.split)
            if pictures:
                pictures.add(sample)
            yield sample

    if "tfrecord" in part.paths:
        write_shard(part.paths["tfrecord"], samples())
    else:
        for _ in samples():
            pass
    if pictures:
        pictures.finish(part.paths["rhd"])


def read_generators(out, layouts):
    """{(layout, split): how it was made} of what the folder holds; ValueError where it cannot be told."""
    from pipelines.records import INFO, read_info

    found = {}
    for layout in layouts:
        path = os.path.join(out, INFO if layout == "tfrecord" else RHD_INFO)
        if os.path.exists(path):
            info = read_info(out) if layout == "tfrecord" else _read_json(path)
            found |= {(layout, split): entry["generator"] for split, entry in info["splits"].items()}
        else:
            inside = os.path.join(out, rhd_layout.PARTS) if layout == "rhd" else out
            suffix = ".labels" if layout == "rhd" else ".tfrecord"
            names = os.listdir(inside) if os.path.isdir(inside) else []
            strays = sorted(name for name in names if name.endswith(suffix))
            if strays:
                raise ValueError(
                    f"{inside} holds {strays[0]} but {path} is missing, so nothing tells how it was made; "
                    "delete it or give another --out"
                )
    return found


def _read_json(path):
    try:
        with open(path) as file:
            return json.load(file)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); give another --out") from None


def check_generators(out, found, generators):
    """ValueError if the folder has one of the splits and it was made otherwise."""
    for (_, split), made in found.items():
        wanted = generators.get(split, {})
        for key in wanted:
            if made.get(key) != wanted[key]:
                raise ValueError(
                    f"{out} has a split {split!r} made with {key} {made.get(key)!r}, not {wanted[key]!r}; "
                    "give the same arguments to go on with it, or another --out"
                )


def sweep(out, splits):
    """Remove what a killed run left of files that it was writing."""
    folders = [out, os.path.join(out, rhd_layout.PARTS)]
    folders += [os.path.join(out, split, kind) for split in splits for kind in ("", *rhd_layout.KINDS)]
    for folder in filter(os.path.isdir, folders):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith((".partial", ".part")) and entry.is_file():
                    os.unlink(entry.path)


class Ledger:
    """Enters finished parts into info.json, rhd.json and the annotations of RHD."""

    def __init__(self, out, plans, generators):
        self.out, self.plans, self.generators = out, plans, generators
        self.whole = {(split, layout): {} for split, parts in plans.items() for layout in parts[0].paths}
        for split, layout in self.whole:
            self._write(split, layout)

    def enter(self, part, layouts):
        for layout in layouts:
            path = self.plan_path(part, layout)
            self.whole[part.split, layout][os.path.basename(path)] = part.count
            self._write(part.split, layout)

    def plan_path(self, part, layout):
        return self.plans[part.split][part.first // SAMPLES_PER_SHARD].paths[layout]

    def _write(self, split, layout):
        from pipelines.records import write_info

        shards, generator = self.whole[split, layout], self.generators[split]
        complete = len(shards) == len(self.plans[split])
        if layout == "tfrecord":
            further = {"complete": complete}
            write_info(self.out, split, shards, licence=LICENCE, generator=generator, further=further)
            return
        path = os.path.join(self.out, RHD_INFO)
        info = _read_json(path) if os.path.exists(path) else {"splits": {}}
        info["licence"] = LICENCE
        entry = {"samples": sum(shards.values()), "complete": complete, "generator": generator}
        info["splits"][split] = entry
        if complete:
            paths = [part.paths["rhd"] for part in self.plans[split]]
            rhd_layout.write_annotations(self.out, split, paths)
        write_atomic(path, (json.dumps(info, indent=1) + "\n").encode())


def run(arguments):
    """What `python -m pipelines.render` does.  Raises OSError, ValueError and RuntimeError for users."""
    layouts = FORMATS[arguments.format]
    counts = {arguments.split: arguments.count}
    if arguments.split == "both":
        counts = {"training": arguments.count, "evaluation": max(1, arguments.count // EVALUATION_SHARE)}
    device, generators = provenance.prepare(arguments, counts)
    out = arguments.out
    with locked(out):
        sweep(out, counts)
        check_generators(out, read_generators(out, layouts), generators)
        if "rhd" in layouts:
            for split in counts:
                rhd_layout.make_folders(out, split)
        plans = {split: plan(out, split, count, arguments.seed, layouts) for split, count in counts.items()}
        ledger = Ledger(out, plans, generators)
        jobs = []
        for part in [part for parts in reversed(plans.values()) for part in parts]:
            job, notes = missing(out, part)
            for note in notes:
                print(f"{note}; rendering it again", file=sys.stderr)
            ledger.enter(part, part.paths.keys() - job.paths.keys())
            jobs += [job] if job.paths else []
        total = sum(job.count for job in jobs)
        if not jobs:
            print("all samples are there already")
            return
        kept = sum(counts.values()) - total
        if kept:
            print(f"{kept} samples are there already, {total} to go", flush=True)
        settings = provenance.renderer_settings(arguments, device)
        with workers.Pool(min(arguments.workers, len(jobs)), settings) as pool, Progress(total) as progress:
            waiting = {pool.submit(write_part, out, job): job for job in jobs}
            while waiting:
                ready, _ = concurrent.futures.wait(
                    waiting, timeout=0.5, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ready:
                    job = waiting.pop(future)
                    workers.result(future)
                    ledger.enter(job, job.paths)
                progress.show(pool.done)
