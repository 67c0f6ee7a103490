"""How fast data sets are converted and records are read, beside loops that only do what cannot be avoided.

    python -m experiments.benchmark_data convert --source RHD --out DIR [--split training] [--workers 2]
    python -m experiments.benchmark_data read --data RECORDS [--split evaluation] [--limit 1000]

convert: images/s and CPU seconds of `pipelines.convert.run`, verification included, for a folder in RHD's
layout, and of a loop that decodes the same pictures and encodes them again, both with as many processes.
read: samples/s of each step from records to augmented batches for PoseNet, one after the other.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import time


def cpu_seconds():
    """Of this process and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def recode(names):
    """Decodes and encodes the pictures of some samples; names: (folder, file name) each."""
    import io

    import numpy as np
    from PIL import Image

    from pipelines.pictures import encode_jpeg, encode_png

    size = 0
    for folder, name in names:
        for kind in ("color", "mask", "depth"):
            with open(os.path.join(folder, kind, name), "rb") as file:
                picture = np.asarray(Image.open(io.BytesIO(file.read())))
            if kind == "depth":
                picture = (picture[..., 0].astype(np.uint16) << 8) + picture[..., 1]
            size += len((encode_jpeg if kind == "color" else encode_png)(picture))
    return size


def timed(name, count, call):
    started, used = time.time(), cpu_seconds()
    call()
    seconds, used = time.time() - started, cpu_seconds() - used
    print(f"{name:34s} {count / seconds:8.1f}/s {seconds:8.1f} s {used:8.1f} CPU s", flush=True)
    return count / seconds, count / used


def convert(arguments):
    from pipelines.convert.run import run

    folder = os.path.join(arguments.source, arguments.split)
    names = [(folder, name) for name in sorted(os.listdir(os.path.join(folder, "color")))]
    parts = [names[start : start + 250] for start in range(0, len(names), 250)]

    def loop():
        with multiprocessing.get_context("spawn").Pool(arguments.workers) as pool:
            for _ in pool.imap_unordered(recode, parts):
                pass
            pool.close()
            pool.join()

    def whole():
        run("rhd", arguments.source, arguments.out, arguments.split, workers=arguments.workers)

    loop_rate = timed("decode and encode", len(names), loop)
    rate = timed("convert and verify", len(names), whole)
    print(f"ratio: {rate[0] / loop_rate[0]:.2f} by the clock, {rate[1] / loop_rate[1]:.2f} by CPU time")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"largest worker: {peak:.0f} MiB")


def read(arguments):
    import tensorflow as tf

    from experiments import common
    from experiments.posenet import RECIPES
    from pipelines import inputs, records

    auto, limit, split = tf.data.AUTOTUNE, arguments.limit, arguments.split

    def drain(data):
        for _ in data:
            pass

    parsed = records.read_records(arguments.data, split, check=False).take(limit)
    jpeg = parsed.map(lambda sample: tf.io.decode_image(sample["image"], 3), num_parallel_calls=auto)
    decoded = parsed.map(records.decode_pictures, num_parallel_calls=auto)
    timed("records parsed", limit, lambda: drain(parsed))
    timed("and image decoded", limit, lambda: drain(jpeg))
    timed("and image and mask decoded", limit, lambda: drain(decoded))
    recipe = RECIPES["lite"]
    options = dict(batch=64, side=recipe.cut, crop_size=recipe.crop_size, check=False)
    hands = sum(
        int(batch["side"].shape[0])
        for batch in inputs.posenet_batches(arguments.data, split, training=False, limit=limit, **options)
    )
    once = inputs.posenet_batches(arguments.data, split, training=False, limit=limit, **options)
    timed("hands cut out, first pass", hands, lambda: drain(once))
    endless = inputs.posenet_batches(
        arguments.data, split, training=True, limit=limit, background_count=64, **options
    )
    steps = max(1, hands // 64)
    drain(endless.take(2 * steps))  # fills the cache
    timed("hands from the cache", 4 * steps * 64, lambda: drain(endless.take(4 * steps)))
    augment = common.augmentation(recipe, recipe.reach)

    @tf.function
    def change(batch):
        return augment(batch["picture"], batch["background"], training=True)[0]

    drain(change(batch) for batch in endless.take(1))

    def augmented():
        for batch in endless.take(2 * steps):
            change(batch)

    timed("and augmented", 2 * steps * 64, augmented)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    one = parts.add_parser("convert")
    one.add_argument("--source", required=True, help="folder in RHD's layout")
    one.add_argument("--out", required=True, help="new folder for the records")
    one.add_argument("--split", default="training")
    one.add_argument("--workers", type=int, default=2)
    one = parts.add_parser("read")
    one.add_argument("--data", required=True, help="records")
    one.add_argument("--split", default="evaluation")
    one.add_argument("--limit", type=int, default=1000, help="samples")
    arguments = parser.parse_args(argv)
    try:
        {"convert": convert, "read": read}[arguments.part](arguments)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
