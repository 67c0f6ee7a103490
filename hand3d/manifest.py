"""Weight sets: found by name or folder, verified by sha256, loaded into networks.

A folder of weights has a `manifest.json`:

    {"schema": 1, "sets": {NAME: {
        "networks": {ROLE: {"builder": KEY, "config": {...}, "file": ..., "sha256": ..., "parameters": N}},
        "graph": {...},     keyword arguments of `hand3d.graph.full_graph`
        "min_score": 0.5,   hands below are left out unless the caller says otherwise; may be missing
        "canvas": [320, 640],  sides in pixels of the squares that images are fitted into; may be missing
        "recipe": ..., "data": ..., "seed": ..., "scores": {...}, "licence": ...}}}

KEY is one of `BUILDERS`, so a manifest can name networks but no other code.  `file` is relative to the folder
and stays inside it; its format is that of `hand3d.weight_files`.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from importlib import import_module

from hand3d.files import write_atomic

SCHEMA = 1
MANIFEST = "manifest.json"
ROLES = ("handsegnet", "posenet", "poseprior", "viewpoint")
BUILDERS = {
    "handsegnet": "hand3d.networks:handsegnet",
    "posenet": "hand3d.networks:posenet",
    "poseprior": "hand3d.networks:poseprior",
    "viewpoint": "hand3d.networks:viewpoint",
    "handsegnet_lite": "hand3d.networks.lite:handsegnet_lite",
    "posenet_lite": "hand3d.networks.lite:posenet_lite",
}


class WeightsError(ValueError):
    """A weight set that cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class WeightSet:
    """name: str.  folder: where its files are.  entry: its part of the manifest, a dict."""

    name: str
    folder: str
    entry: dict


def shipped_folder():
    """Folder of the shipped weights: inside the package when installed, beside it in a checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    folders = (os.path.join(package, "weights"), os.path.join(os.path.dirname(package), "weights"))
    for folder in folders:
        if os.path.isfile(os.path.join(folder, MANIFEST)):
            return folder
    raise WeightsError(f"no {MANIFEST} in {folders[0]} or {folders[1]}: reinstall hand3d-keras")


def read_manifest(folder):
    """The manifest of a folder as a dict.  Raises WeightsError where it is missing or not of this schema."""
    path = os.path.join(folder, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise WeightsError(f"{path}: is not JSON ({error})") from error
    sets = manifest.get("sets") if isinstance(manifest, dict) else None
    if not isinstance(sets, dict) or not all(isinstance(entry, dict) for entry in sets.values()):
        raise WeightsError(f'{path}: expected an object with "schema" and "sets", an object of objects')
    if manifest.get("schema") != SCHEMA:
        raise WeightsError(
            f"{path}: schema is {manifest.get('schema')!r}, this version of hand3d reads {SCHEMA}; update it"
        )
    return manifest


def names():
    """Names of the shipped weight sets."""
    return sorted(read_manifest(shipped_folder())["sets"])


def find(weights):
    """The `WeightSet` for a shipped name, or for a folder whose manifest holds exactly one set.

    A shipped name wins over a folder of that name: write ./lite for the folder.
    """
    weights = os.fspath(weights)
    try:
        folder = shipped_folder()
        shipped = read_manifest(folder)["sets"]
    except WeightsError:  # a folder of the caller's own works without the shipped ones
        if not os.path.isdir(weights):
            raise
        shipped = {}
    if weights in shipped:
        return WeightSet(weights, folder, shipped[weights])
    if not os.path.isdir(weights):
        known = ", ".join(sorted(shipped)) or "none"
        raise WeightsError(
            f"weights {weights!r}: neither a shipped set ({known}) nor a folder"
        )
    sets = read_manifest(weights)["sets"]
    if len(sets) != 1:
        raise WeightsError(f"{os.path.join(weights, MANIFEST)}: has {len(sets)} sets, expected one")
    ((name, entry),) = sets.items()
    return WeightSet(name, weights, entry)


def load(weight_set):
    """Dict role -> keras.Model with the weights of a `WeightSet`; all files are verified first.

    Raises WeightsError for a file that is missing, outside the folder, damaged or made for another network.
    """
    networks = weight_set.entry.get("networks")
    if not isinstance(networks, dict) or not networks:
        raise WeightsError(f"weights {weight_set.name!r}: the manifest lists no networks")
    paths = {role: verify(weight_set, role) for role in networks}
    return {role: load_network(networks[role], paths[role]) for role in networks}


def verify(weight_set, role):
    """Path of a network's weight file after its sha256 has been compared with the manifest's."""
    entry = weight_set.entry["networks"][role]
    missing = {"builder", "config", "file", "sha256"} - set(entry if isinstance(entry, dict) else ())
    if missing:
        raise WeightsError(
            f"weights {weight_set.name!r}, network {role!r}: the manifest lacks {sorted(missing)}"
        )
    folder = os.path.realpath(weight_set.folder)
    path = os.path.realpath(os.path.join(folder, str(entry["file"])))
    if os.path.commonpath([folder, path]) != folder:
        raise WeightsError(f"weights {weight_set.name!r}: file {entry['file']!r} lies outside {folder}")
    try:
        found = file_sha256(path)
    except OSError as error:
        raise WeightsError(
            f"{path}: weight file cannot be read: {error.strerror}; {_remedy(weight_set)}"
        ) from error
    if found != entry["sha256"]:
        raise WeightsError(
            f"{path}: damaged weight file: sha256 is {found}, expected {entry['sha256']}; "
            + _remedy(weight_set)
        )
    return path


def build_network(builder, config):
    """The keras.Model of a registered builder, without trained weights."""
    if builder not in BUILDERS:
        raise WeightsError(
            f"builder {builder!r} is unknown; expected one of {', '.join(sorted(BUILDERS))}"
        )
    module, function = BUILDERS[builder].split(":")
    try:
        return getattr(import_module(module), function)(**config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"builder {builder!r} does not take the config {config}: {error}") from error


def load_network(entry, path):
    """Network of a manifest entry with the weights of the file `path`."""
    from hand3d.weight_files import read_weights  # here, so that finding a set needs no HDF5

    model = build_network(entry["builder"], entry["config"])
    try:
        read_weights(model, path)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: weights do not fit {entry['builder']} {entry['config']}: {error}"
        ) from error
    return model


def save_network(model, folder, file, builder, config):
    """Write a network's weights and return its manifest entry, a dict.

    model: keras.Model as built by `builder` (a key of BUILDERS) with `config` (dict of plain values).
    file: name relative to `folder`, ending in .h5; its folders are made.
    """
    from hand3d.weight_files import named_weights, write_weights

    if not file.endswith(".h5"):
        raise ValueError(f"file is {file!r}; it must end in .h5")
    made, given = (
        {name: tuple(weight.shape) for name, weight in named_weights(network).items()}
        for network in (build_network(builder, config), model)
    )
    if made != given:
        raise ValueError(f"model {model.name!r} is not what builder {builder!r} makes with config {config}")
    path = os.path.join(folder, file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_weights(model, path)
    return {
        "builder": builder,
        "config": config,
        "file": file.replace(os.sep, "/"),
        "sha256": file_sha256(path),
        "parameters": int(model.count_params()),
    }


def write_manifest(folder, sets):
    """Write `folder`/manifest.json.  sets: dict name -> entry as described at the top of this module."""
    text = json.dumps({"schema": SCHEMA, "sets": sets}, indent=2) + "\n"
    write_atomic(os.path.join(folder, MANIFEST), text.encode())


def file_sha256(path):
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _remedy(weight_set):
    try:
        shipped = os.path.samefile(weight_set.folder, shipped_folder())
    except (OSError, WeightsError):
        shipped = False
    return "reinstall hand3d-keras" if shipped else "copy the file again from where it came from"
