"""Write rendered samples to shards, with several processes, going on where an earlier run stopped."""

import multiprocessing
import os
import sys
import time

SAMPLES_PER_SHARD = 250
EVALUATION_SHARE = 16  # --split both renders one evaluation sample for so many training samples
SEED_STRIDE = 10_000_000
LICENCE = "CC0-1.0 geometry (MakeHuman); the background photographs keep their own licences"

_worker = {}


def plan(out, split, count, seed):
    """The shards of a split: list of (path, split, seeds)."""
    from pipelines.records import shard_name

    shards = -(-count // SAMPLES_PER_SHARD)
    jobs = []
    for number in range(shards):
        low = number * SAMPLES_PER_SHARD
        seeds = [seed * SEED_STRIDE + i for i in range(low, min(low + SAMPLES_PER_SHARD, count))]
        jobs.append((os.path.join(out, shard_name(split, number, shards)), split, seeds))
    return jobs


def check_folder(out, generators):
    """ValueError if `out` has shards of one of the splits that were made otherwise.

    generators: {split: dict as in info.json}.
    """
    from pipelines.records import INFO, read_info

    if not os.path.exists(os.path.join(out, INFO)):
        return
    for split, generator in generators.items():
        found = read_info(out)["splits"].get(split, {}).get("generator", {})
        for key in found.keys() & generator.keys():
            if found[key] != generator[key]:
                raise ValueError(
                    f"{out} has a split {split!r} made with {key} {found[key]!r}, not {generator[key]!r}; "
                    "give the same arguments to go on with it, or another --out"
                )


def start_worker(size, backgrounds, done):
    _worker.update(size=size, backgrounds=backgrounds, done=done)


def render_shard(job):
    """Render one shard and write it; returns its path and its number of samples."""
    from pipelines.records import write_shard
    from pipelines.render.scene import Renderer, render_sample

    path, split, seeds = job
    if "renderer" not in _worker:  # not in `start_worker`: a pool does not pass on what fails there
        _worker["renderer"] = Renderer(_worker["size"], _worker["backgrounds"])

    def samples():
        for seed in seeds:
            yield render_sample(_worker["renderer"], seed, split, _worker["size"])
            with _worker["done"].get_lock():
                _worker["done"].value += 1

    return path, write_shard(path, samples())


def progress(done, total, started):
    rate = done / max(time.time() - started, 1e-6)
    left = (total - done) / rate if rate else float("inf")
    return f"{done}/{total} samples, {rate:.1f} samples/s, {left / 60:.0f} min left"


def run(arguments):
    from pipelines.records import write_info
    from pipelines.render.backgrounds import find_pictures
    from pipelines.render.gl import create_context
    from pipelines.tfrecord_io import masked_crc32c

    counts = {arguments.split: arguments.count}
    if arguments.split == "both":
        counts = {"training": arguments.count, "evaluation": max(1, arguments.count // EVALUATION_SHARE)}
    generator = {
        "program": "pipelines.render",
        "seed": arguments.seed,
        "size": arguments.size,
        "backgrounds": bool(arguments.backgrounds),
    }
    generators = {split: generator | {"count": count} for split, count in counts.items()}
    # fail early, with a clear message
    masked_crc32c(b"")
    create_context().release()
    for split in counts if arguments.backgrounds else ():
        find_pictures(arguments.backgrounds, split)
    os.makedirs(arguments.out, exist_ok=True)
    check_folder(arguments.out, generators)
    plans = {split: plan(arguments.out, split, count, arguments.seed) for split, count in counts.items()}
    written = {split: {} for split in counts}

    def note(split, path, number):
        written[split][os.path.basename(path)] = number
        write_info(arguments.out, split, written[split], licence=LICENCE, generator=generators[split])

    jobs = []
    for path, split, seeds in [job for shards in reversed(plans.values()) for job in shards]:
        if os.path.exists(path):
            note(split, path, len(seeds))
        else:
            jobs.append((path, split, seeds))
    total = sum(len(seeds) for _, _, seeds in jobs)
    if not jobs:
        print("every shard is there already")
        return
    context = multiprocessing.get_context("spawn")
    done = context.Value("q", 0)
    started, shown = time.time(), 0.0
    with context.Pool(arguments.workers, start_worker, (arguments.size, arguments.backgrounds, done)) as pool:
        results = {job[0]: (job[1], pool.apply_async(render_shard, (job,))) for job in jobs}
        while results:
            time.sleep(0.2)
            for path in [path for path, (_, result) in results.items() if result.ready()]:
                split, result = results.pop(path)
                note(split, *result.get())
            if time.time() - shown > (2 if sys.stdout.isatty() else 30):
                shown = time.time()
                end = "\r" if sys.stdout.isatty() else "\n"
                print(progress(done.value, total, started), end=end, flush=True)
    print(progress(done.value, total, started))
