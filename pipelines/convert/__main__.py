"""Convert a data set as its authors distribute it, or your own annotations, into records.

    python -m pipelines.convert rhd --source RHD_published_v2 --out data/rhd
    python -m pipelines.convert csv --source my_photos --out data/mine

Verifies what it wrote; OUT/report-<split>.json says which samples were left out and why.  At the end a
network looks whether the pictures are those of their labels (`pipelines.picture_check`).  Stopped in the
middle, the same command goes on where it was.  `python -m pipelines.convert NAME --help` says what a source
looks like.
"""

import argparse
import os
import sys

from pipelines import convert
from pipelines.convert.content import picture_limit
from pipelines.convert.run import run
from pipelines.picture_check import LIMIT

COMMON = ("name", "source", "out", "split", "workers", "image_format", "check_pictures")


def parse(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name in convert.SOURCES:
        source = convert.source(name)
        one = names.add_parser(
            name,
            description=source.__doc__,
            help=source.__doc__.splitlines()[0],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.add_argument("--source", required=True, help=f"folder with {source.EXPECTED_FILES}")
        one.add_argument("--out", required=True, help="folder of the records")
        one.add_argument("--split", choices=(*source.SPLITS, "all"), default="all")
        one.add_argument("--workers", type=int, help="processes; all cores if not given")
        one.add_argument(
            "--image-format", choices=("jpeg", "png"), default="jpeg", help="of what is no plain JPEG already"
        )
        one.add_argument(
            "--check-pictures",
            type=picture_limit,
            default=LIMIT,
            metavar="N|all|none",
            help=f"whether so many pictures fit their labels, of more an even choice; {LIMIT} by default",
        )
        source.add_arguments(one)
    arguments = parser.parse_args(argv)
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"--workers must be at least 1, got {arguments.workers}")
    return arguments


def main(argv=None):
    arguments = parse(argv)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # a process a core: threads get in the way
        os.environ.setdefault(name, "1")
    source = convert.source(arguments.name)
    options = {key: value for key, value in vars(arguments).items() if key not in COMMON}
    splits = source.SPLITS if arguments.split == "all" else (arguments.split,)
    try:
        _check_folder(arguments, options, source)
        if arguments.split == "all":  # half a download is converted, but not in silence
            splits = [split for split in splits if convert.has_split(source, arguments.source, split)]
            for split in set(source.SPLITS) - set(splits):
                print(f"{split}: {arguments.source} does not have this split")
        for split in splits:
            report = run(
                arguments.name,
                arguments.source,
                arguments.out,
                split,
                workers=arguments.workers,
                options=options,
                image_format=arguments.image_format,
                check=arguments.check_pictures,
            )
            _show(split, report, arguments.out)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check_folder(arguments, options, source):
    if not os.path.exists(arguments.source):
        raise ValueError(f"--source {arguments.source} does not exist")
    named = options.get("annotations") or options.get("table")
    if not named and not source.recognise(arguments.source):
        looks = convert.recognise(arguments.source)
        hint = f"; it looks like {looks}" if looks else ""
        raise ValueError(
            f"--source {arguments.source} is no {arguments.name} folder{hint}: "
            f"expected {source.EXPECTED_FILES}"
        )


def _show(split, report, out):
    for entry in report.get("pictures", {}).get("exchanged", []):
        print(f"  {entry['words']}")
    print(f"{split}: {report['samples']} samples written and verified, {report['left_out']} left out")
    for entry in report["samples_left_out"][:5]:
        print(f"  left out {entry['id']}: {entry['reason']}")
    if report["left_out"] > 5:
        print(f"  ... all of them in {os.path.join(out, f'report-{split}.json')}")
    for note in report["notes"]:
        print(f"  note: {note}")


if __name__ == "__main__":
    sys.exit(main())
