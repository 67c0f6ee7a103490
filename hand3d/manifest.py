"""Weight sets: found by name or folder, verified by sha256, loaded into networks.

A folder of weights has a `manifest.json`:

    {"schema": 1, "sets": {NAME: {
        "networks": {ROLE: {"builder": KEY, "config": {...}, "file": ..., "sha256": ..., "parameters": N}},
        "graph": {...},     keyword arguments of `hand3d.graph.full_graph`
        "min_score": 0.5,   hands below are left out unless the caller says otherwise; may be missing
        "canvas": [320, 640],  sides in pixels of the squares that images are fitted into; may be missing
        "frame": [240, 320],   instead of a canvas: height and width that images are stretched to
        "recipe": ..., "data": ..., "seed": ..., "scores": {...}, "licence": ...}}}

KEY is one of `BUILDERS`, so a manifest can name networks but no other code.  `file` is relative to the folder
and stays inside it; its format is that of `hand3d.weight_files`.  A network in several files has
"shards": [{"file": ..., "sha256": ...}, ...] instead of the two.  "random": [LAYER, ...] makes an
initialisation of it: these layers are in no file, and training has to start them.
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
OPTIONAL_ROLES = ("hand_fit",)
BUILDERS = {
    "handsegnet": "hand3d.networks:handsegnet",
    "posenet": "hand3d.networks:posenet",
    "poseprior": "hand3d.networks:poseprior",
    "viewpoint": "hand3d.networks:viewpoint",
    "handsegnet_lite": "hand3d.networks.lite:handsegnet_lite",
    "posenet_lite": "hand3d.networks.lite:posenet_lite",
    "lifting": "hand3d.networks:lifting",
    "hand_fit": "hand3d.networks:hand_fit",
}
LARGEST_CONFIG = 512  # of any number in a network's config: a manifest must not fill the memory
LARGEST_WIDTH = 4


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
    """The `WeightSet` for a shipped name, a folder, or the name of a folder beside the shipped sets.

    A folder's manifest has to hold exactly one set.  A shipped name wins over a folder of that name: write
    ./lite for the folder.  The converters of `weights.convert` put what they make beside the shipped sets.
    """
    weights = os.fspath(weights)
    try:
        folder = shipped_folder()
        shipped = read_manifest(folder)["sets"]
    except WeightsError:  # a folder of the caller's own works without the shipped ones
        if not os.path.isdir(weights):
            raise
        folder, shipped = "", {}
    if weights in shipped:
        return WeightSet(weights, folder, shipped[weights])
    beside = os.path.join(folder, weights)
    if folder and weights.isidentifier() and not os.path.isfile(os.path.join(weights, MANIFEST)):
        weights = beside if os.path.isfile(os.path.join(beside, MANIFEST)) else weights
    if not os.path.isdir(weights):
        known = ", ".join(sorted(shipped)) or "none"
        converted = weights in ("cpm", "vgg")
        remedy = f"; make it with: python -m weights.convert {weights} SOURCE" if converted else ""
        raise WeightsError(f"weights {weights!r}: neither a shipped set ({known}) nor a folder{remedy}")
    sets = read_manifest(weights)["sets"]
    if len(sets) != 1:
        raise WeightsError(f"{os.path.join(weights, MANIFEST)}: has {len(sets)} sets, expected one")
    ((name, entry),) = sets.items()
    return WeightSet(name, weights, entry)


def network_entries(weight_set):
    """Dict role -> the manifest's entry of each network.  WeightsError if there are none, or a bad one."""
    networks = weight_set.entry.get("networks")
    if not isinstance(networks, dict) or not networks:
        raise WeightsError(f"weights {weight_set.name!r}: the manifest lists no networks")
    for role, entry in networks.items():
        where = f"weights {weight_set.name!r}, network {role!r}: the manifest"
        if not isinstance(entry, dict):
            raise WeightsError(f"{where} has {entry!r}, expected an object")
        wanted = {"builder": str, "config": dict}
        wanted |= {} if "shards" in entry else {"file": str, "sha256": str}
        missing = sorted(set(wanted) - set(entry))
        if missing:
            raise WeightsError(f"{where} lacks {missing}")
        for key, kind in (wanted | {"shards": list, "random": list, "parameters": int}).items():
            if not isinstance(entry.get(key, kind()), kind):
                raise WeightsError(f"{where} has {entry[key]!r} as {key!r}, expected {kind.__name__}")
        for shard in entry.get("shards", []):
            if not isinstance(shard, dict) or {type(shard.get(key)) for key in ("file", "sha256")} != {str}:
                raise WeightsError(f"{where} has the shard {shard!r}, expected an object of file and sha256")
    return networks


def load(weight_set):
    """Dict role -> keras.Model with the weights of a `WeightSet`; all files are verified first.

    Raises WeightsError for a file that is missing, outside the folder, damaged or made for another network,
    and for a network that is only an initialisation.
    """
    networks = network_entries(weight_set)
    for role, entry in networks.items():
        if entry.get("random"):
            raise WeightsError(
                f"weights {weight_set.name!r}, network {role!r}: only an initialisation, without the layers "
                f"{', '.join(map(str, entry['random']))}; train from it with --init"
            )
    paths = {role: verify(weight_set, role) for role in networks}
    return {role: load_network(networks[role], paths[role]) for role in networks}


def for_graph(networks):
    """Those of a dict role -> network that `hand3d.graph.full_graph` takes; KeyError if it lacks one."""
    given = [role for role in OPTIONAL_ROLES if role in networks]
    return {role: networks[role] for role in (*ROLES, *given)}


def verify(weight_set, role):
    """Paths of a network's weight files, a list, after their sha256 has been compared with the manifest's."""
    entry = network_entries(weight_set)[role]
    return [_verified(weight_set, shard) for shard in entry.get("shards", [entry])]


def _verified(weight_set, shard):
    folder = os.path.realpath(weight_set.folder)
    path = os.path.realpath(os.path.join(folder, shard["file"]))
    if os.path.commonpath([folder, path]) != folder:
        raise WeightsError(f"weights {weight_set.name!r}: file {shard['file']!r} lies outside {folder}")
    try:
        found = file_sha256(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise WeightsError(f"{path}: weight file cannot be read: {reason}; {_remedy(weight_set)}") from error
    if found != shard["sha256"]:
        raise WeightsError(
            f"{path}: damaged weight file: sha256 is {found}, expected {shard['sha256']}; "
            + _remedy(weight_set)
        )
    return path


def build_network(builder, config):
    """The keras.Model of a registered builder, without trained weights."""
    if not isinstance(builder, str) or builder not in BUILDERS:
        raise WeightsError(f"builder {builder!r} is unknown; expected one of {', '.join(sorted(BUILDERS))}")
    limits = {"width": LARGEST_WIDTH}
    for key, value in config.items():
        largest = limits.get(key, LARGEST_CONFIG)
        if isinstance(value, int | float) and not 0 <= value <= largest:
            raise WeightsError(f"builder {builder!r}: {key} is {value}, expected a number up to {largest}")
    module, function = BUILDERS[builder].split(":")
    try:
        return getattr(import_module(module), function)(**config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"builder {builder!r} does not take the config {config}: {error}") from error


def load_network(entry, paths):
    """Network of a manifest entry with the weights of its files, a path or a list of them.

    Layers that the entry lists as "random" keep the values that the builder gave them.
    """
    from hand3d.weight_files import read_weights  # here, so that finding a set needs no HDF5

    model = build_network(entry["builder"], entry["config"])
    network = f"{entry['builder']} {entry['config']}"
    where = paths if isinstance(paths, str) else ", ".join(paths)
    parameters = model.count_params()
    if entry.get("parameters", parameters) != parameters:
        raise WeightsError(
            f"{where}: the manifest says {entry['parameters']} parameters, {network} has {parameters}"
        )
    try:
        read_weights(model, paths, entry.get("random", ()))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{where}: weights do not fit {network}: {error}") from error
    return model


def save_network(model, folder, file, builder, config, *, precision="float16", random=()):
    """Write a network's weights and return its manifest entry, a dict.

    model: keras.Model as built by `builder` (a key of BUILDERS) with `config` (dict of plain values).
    file: name relative to `folder`, ending in .h5; its folders are made.  Large networks get several files.
    precision: of kernels, "float16" or "float32".  random: names of the layers that are left out.
    """
    from hand3d import weight_files

    if not file.endswith(".h5"):
        raise ValueError(f"file is {file!r}; it must end in .h5")
    fresh = build_network(builder, config)
    made, given = (
        {name: tuple(weight.shape) for name, weight in weight_files.named_weights(network).items()}
        for network in (fresh, model)
    )
    if made != given:
        raise ValueError(f"model {model.name!r} is not what builder {builder!r} makes with config {config}")
    arrays = weight_files.stored_values(model, precision, random)
    if not random:  # what comes out is checked by `weights.verify`
        for name, weight in weight_files.named_weights(fresh).items():
            weight.assign(arrays[name].astype("float32"))
        arrays |= weight_files.make_example(fresh)
    path = os.path.join(folder, file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shards = [
        {"file": os.path.relpath(shard, folder).replace(os.sep, "/"), "sha256": file_sha256(shard)}
        for shard in weight_files.write_shards(arrays, path)
    ]
    return {
        "builder": builder,
        "config": config,
        **(shards[0] if len(shards) == 1 else {"shards": shards}),
        "parameters": int(model.count_params()),
        **({"random": list(random)} if random else {}),
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
