"""Train on several folders of records together, as the paper did on RHD and STB.

    python -m pipelines.mix --in data/rendered data/stb --weights 2 1 --out data/both

Nothing is copied: DIR/info.json names the shards where they are, relative to DIR, so they have to stay there.
A weight is the share of training examples that come from a folder, whatever its size; evaluation splits are
read one after the other.  Every program that takes records takes the mix; `pipelines.inputs` heeds weights.
"""

import argparse
import json
import os
import sys

from hand3d.files import write_atomic
from pipelines import records
from pipelines.lock import locked


def mix(folders, weights, out):
    """Writes OUT/info.json; returns its contents.

    folders: records, with the split training at least.  weights: positive numbers, one each.
    ValueError if they do not fit together, or if OUT is a folder of records already.
    """
    if len(weights) != len(folders):
        raise ValueError(f"--weights: {len(weights)} numbers for {len(folders)} folders")
    if any(not 0 < weight < float("inf") for weight in weights):
        raise ValueError(f"--weights: positive numbers expected, got {weights}")
    if len({os.path.realpath(folder) for folder in folders}) != len(folders):
        raise ValueError("--in: a folder occurs twice; give it a larger weight instead")
    path = os.path.join(out, records.INFO)
    if os.path.exists(path) and not records.read_info(out).get("mix"):
        raise ValueError(f"{out} holds records of its own; give another --out")
    parts, splits = [], {}
    for folder, weight in zip(folders, weights, strict=True):
        info = records.read_info(folder)
        if info.get("mix"):
            raise ValueError(f"{folder} is a mix itself; name its folders")
        if "training" not in info["splits"]:
            raise ValueError(f"{folder} has no split 'training', only {sorted(info['splits'])}")
        place = os.path.relpath(folder, out)
        parts.append({"folder": place, "weight": weight, "licence": info.get("licence")})
        for split, entry in info["splits"].items():
            records.shard_paths(folder, split)  # refuses what is incomplete
            merged = splits.setdefault(split, {"samples": 0, "shards": {}, "generator": {}})
            merged["samples"] += entry["samples"]
            merged["shards"] |= {os.path.join(place, name): count for name, count in entry["shards"].items()}
            merged["generator"][place] = entry.get("generator")
    licences = sorted({str(part["licence"]) for part in parts})
    info = {"schema_version": records.SCHEMA_VERSION, "mix": parts, "splits": splits}
    info["licence"] = "; ".join(licences)
    with locked(out):
        write_atomic(path, (json.dumps(info, indent=1) + "\n").encode())
    return info


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.mix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--in", dest="folders", nargs="+", required=True, help="folders of records")
    parser.add_argument("--weights", nargs="+", type=float, help="one for each; all 1 if not given")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args(argv)
    try:
        weights = arguments.weights or [1.0] * len(arguments.folders)
        info = mix(arguments.folders, weights, arguments.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for split, entry in info["splits"].items():
        print(f"{split}: {entry['samples']} samples in {len(entry['shards'])} shards")
    return 0


if __name__ == "__main__":
    sys.exit(main())
