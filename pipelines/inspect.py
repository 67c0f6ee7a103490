"""What is in a data set: counts, histograms, and a sheet of samples with skeletons and masks drawn.

    python -m pipelines.inspect DIR [--split training] [--limit 1000] [--out inspect-out]

DIR is a folder of records or any data set that `pipelines.convert` reads, as downloaded.  Prints the numbers
and writes OUT/<split>.json, OUT/<split>-histograms.png and OUT/<split>-samples.png.  With --check-pictures a
network looks whether the pictures of records are those of their labels (`pipelines.picture_check`); what it
finds goes to OUT/<split>-pictures.json.
"""

import argparse
import json
import os
import sys

import numpy as np

from hand3d.files import write_atomic
from pipelines import convert, pictures, records
from pipelines.convert import content
from pipelines.convert.common import Skip
from pipelines.convert.verify import parse
from pipelines.inspect_hands import contact_sheet, describe, histograms
from pipelines.picture_check import check_pictures
from pipelines.tfrecord_io import read_tfrecord


def record_samples(folder, split, limit):
    """(total, iterator of samples) of a folder of records; `limit` of them, spread evenly."""
    paths = records.shard_paths(folder, split)
    total = records.read_info(folder)["splits"][split]["samples"]
    wanted = set(np.linspace(0, total - 1, min(limit, total)).astype(int).tolist())

    def samples():
        number = 0
        for path in paths:
            for payload in read_tfrecord(path):
                if number in wanted:
                    sample = parse(payload)
                    decoded = {"image": pictures.decode(sample["image"])}
                    decoded["mask"] = pictures.decode(sample["mask"]) if sample["mask"] else None
                    yield sample | decoded | {"id": sample["id"].decode()}
                number += 1

    return total, samples()


def source_samples(name, folder, split, options, limit):
    """The same of a data set as downloaded; unusable samples are passed over and counted by the caller."""
    module = convert.source(name)
    listing = module.list_items(folder, split, options)
    items = listing.items
    picked = [items[k] for k in np.linspace(0, len(items) - 1, min(limit, len(items))).astype(int)]

    def samples():
        for item in picked:
            try:
                sample = module.load(item)
            except Skip as reason:
                print(f"left out {item['id']}: {reason}", file=sys.stderr)
                continue
            present = np.asarray(sample["present"], bool)
            kind = "none" if sample.get("mask") is None else "full"
            root = options.get("root", "wrist")
            yield {"mask": None, "mask_kind": kind, "present_xyz": present, "root": root} | sample

    return len(items) + len(listing.skipped), samples()


def splits_of(folder, name):
    """Names of the splits that are there."""
    if name is None:
        return sorted(records.read_info(folder)["splits"])
    module = convert.source(name)
    return [split for split in module.SPLITS if convert.has_split(module, folder, split)]


def inspect(folder, split, out, limit=1000, shown=24, options=None):
    """Describes one split and writes its files into `out`; returns the numbers, a dict.

    folder: records, or a data set as downloaded.  limit: samples to look at.  shown: samples on the sheet.
    options: of the converter's arguments.  ValueError if the folder is neither.
    """
    name = _kind(folder)
    if name is None:
        total, samples = record_samples(folder, split, limit)
    else:
        total, samples = source_samples(name, folder, split, options or defaults(name), limit)
    kept, hands, facts = [], [], {"mask": 0, "K": 0, "sizes": {}}
    count = min(limit, total)
    spread = set(np.linspace(0, count - 1, min(shown, max(count, 1))).astype(int).tolist())
    looked = 0
    for number, sample in enumerate(samples):
        looked += 1
        height, width = sample["image"].shape[:2]
        size = f"{width}x{height}"
        facts["sizes"][size] = facts["sizes"].get(size, 0) + 1
        facts["mask"] += sample["mask_kind"] != "none"
        facts["K"] += bool(np.any(sample["K"]))
        hands += describe(sample)
        if number in spread:
            kept.append(sample)
        if sys.stderr.isatty():
            print(f"{looked}/{count} samples", end="\r", file=sys.stderr, flush=True)
    if not looked:
        raise ValueError(f"{folder}: no usable sample in the split {split!r}")
    report = {"format": name or "records", "split": split, "samples": total, "looked_at": looked}
    report |= {"with_mask": facts["mask"], "with_K": facts["K"], "image_sizes": facts["sizes"]}
    report["hands"] = len(hands)
    report["histograms"], figure = histograms(hands, f"{os.path.basename(os.path.abspath(folder))}, {split}")
    os.makedirs(out, exist_ok=True)
    write_atomic(os.path.join(out, f"{split}-histograms.png"), figure)
    write_atomic(os.path.join(out, f"{split}-samples.png"), pictures.encode_png(contact_sheet(kept)))
    write_atomic(os.path.join(out, f"{split}.json"), (json.dumps(report, indent=1) + "\n").encode())
    return report


def check(folder, split, out, limit):
    """`picture_check.check_pictures` of a split of records, written into `out`; returns lines of text."""
    total = records.read_info(folder)["splits"][split]["samples"]
    found = check_pictures(records.shard_paths(folder, split), total, limit)
    path = os.path.join(out, f"{split}-pictures.json")
    write_atomic(path, (json.dumps(found, indent=1) + "\n").encode())
    lines = [content.ring_words(ring, {}) for ring in found["exchanged"]]
    lines += content.shift_words(found, {}) + content.notes(found, {})
    return [f"{split}: {found['judged']} pictures judged, {len(lines) or 'no'} remarks", *lines]


def _kind(folder):
    """None for records, or the name of the data set."""
    if not os.path.exists(folder):
        raise ValueError(f"{folder} does not exist")
    if os.path.isfile(os.path.join(folder, records.INFO)):
        return None
    name = convert.recognise(folder)
    if name is None:
        raise ValueError(f"{folder} holds neither records nor one of {', '.join(convert.SOURCES)}")
    return name


def defaults(name, given=()):
    """The options of a converter, a dict.  given: as on the command line."""
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.inspect DIR ({name})")
    convert.source(name).add_arguments(parser)
    return vars(parser.parse_args(list(given)))


def text(report):
    """The report as lines of text, with bars."""
    sizes = ", ".join(f"{size} ({count})" for size, count in sorted(report["image_sizes"].items())[:6])
    lines = [
        f"{report['split']}: {report['samples']} samples, {report['looked_at']} looked at, "
        f"{report['hands']} hands; {report['with_mask']} with a mask, "
        f"{report['with_K']} with a camera; {sizes}"
    ]
    for title, values in report["histograms"].items():
        lines.append(f"  {title}")
        largest = max(values.values(), default=1)
        for label, count in values.items():
            bar = "#" * round(40 * count / max(largest, 1))
            lines.append(f"    {label:>12s} {count:6d} {bar}".rstrip())
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.inspect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Further options are those of the converter of the data set, such as --order or --side.",
    )
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--split", help="one of its splits; all of them if not given")
    parser.add_argument("--limit", type=int, default=1000, help="samples to look at, spread evenly")
    parser.add_argument("--shown", type=int, default=24, help="samples on the sheet")
    parser.add_argument("--out", default="inspect-out", help="folder of the pictures")
    parser.add_argument(
        "--check-pictures",
        type=content.picture_limit,
        default=0,
        metavar="N|all|none",
        help="whether so many pictures of records fit their labels; none by default",
    )
    arguments, rest = parser.parse_known_args(argv)
    for name in ("limit", "shown"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(arguments, name)}")
    try:
        kind = _kind(arguments.folder)
        if rest and kind is None:
            parser.error(f"unknown option {rest[0]} for a folder of records")
        options = defaults(kind, rest) if kind else None
        if kind and arguments.check_pictures != 0:
            parser.error(
                f"--check-pictures is for records; python -m pipelines.convert {kind} checks by itself"
            )
        splits = splits_of(arguments.folder, kind)
        if arguments.split and arguments.split not in splits:
            raise ValueError(f"{arguments.folder} has no split {arguments.split!r}, only {', '.join(splits)}")
        for split in [arguments.split] if arguments.split else splits:
            report = inspect(
                arguments.folder, split, arguments.out, arguments.limit, arguments.shown, options
            )
            print(text(report))
            if arguments.check_pictures != 0:
                print("\n".join(check(arguments.folder, split, arguments.out, arguments.check_pictures)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"pictures: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
