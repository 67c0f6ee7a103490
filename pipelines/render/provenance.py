"""What decides how the samples of a run look: checked before it starts, and noted beside what it writes."""

import hashlib
import os
import zlib
from pathlib import Path

NOT_DRAWING = "__main__ build_body makehuman options provenance rhd_layout serve shards workers".split()


def prepare(arguments, counts):
    """Device to draw with, and {split: generator} for info.json, from the command's arguments.

    Fails early with a clear message: no OpenGL, no checksum library, a background folder that cannot be used.
    """
    from pipelines.render.context import find_device
    from pipelines.tfrecord_io import masked_crc32c

    masked_crc32c(b"")
    folder = arguments.backgrounds
    pictures = {split: check_backgrounds(folder, split) if folder else None for split in counts}
    device, name = find_device(arguments.device)
    common = {
        "program": "pipelines.render",
        "seed": arguments.seed,
        "size": arguments.size,
        "independent": arguments.independent,
        "rasteriser": name,
        "code": code_digest(),
    }
    generators = {
        split: common | {"count": count, "backgrounds": pictures[split]} for split, count in counts.items()
    }
    return device, generators


def renderer_settings(arguments, device):
    """Arguments of `scene.Renderer` from the command's arguments and the device that `prepare` found."""
    chosen = {key: getattr(arguments, key) for key in ("size", "backgrounds", "independent")}
    return chosen | {"device": device}


def code_digest():
    """Short hash of the renderer's code and body: samples of different versions do not belong together."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *(here / "assets").glob("*")]):
        if path.stem not in NOT_DRAWING and path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def check_backgrounds(folder, split):
    """Reads all pictures of a split; "N pictures, CHECKSUM" of their names and sizes.

    OSError if the folder cannot be read, ValueError naming the first damaged picture.
    """
    from pipelines.render.backgrounds import find_pictures, open_picture

    try:
        os.listdir(folder)
    except OSError as error:
        raise OSError(
            f"--backgrounds {folder} cannot be read ({error.strerror}); give a folder of photographs"
        ) from error
    checksum, files = 0, find_pictures(folder, split)
    for path in files:
        open_picture(path)
        entry = f"{path.relative_to(folder)} {path.stat().st_size}\n"
        checksum = zlib.crc32(entry.encode(), checksum)
    return f"{len(files)} pictures, {checksum:08x}"
