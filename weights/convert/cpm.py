"""Convolutional Pose Machines (Wei et al. 2016) as a start for HandSegNet and PoseNet (PAPER.md 1.8).

Caffe's two models, for the person and for the pose, are files of their own without scopes; the checkpoint of
the original release holds both under CPM/PersonNet and CPM/PoseNet.  The checkpoint's first layer was used by
the release as it is, on RGB pixels / 255 - 0.5; Caffe's expects BGR / 256 - 0.5.
"""

from weights.convert.limits import SourceError
from weights.convert.mapping import CPM_COLOURS, CPM_LAYERS, CPM_NETS, OURS, by_layer, network_layers, plan

SUFFIX = "_CPM"


def plans(source, models, *, layout=None, colours=None):
    """Plans for the networks that a source can start, and the names of the arrays that it does not use.

    source: `sources.Source`.  models: dict network name -> keras.Model for HandSegNet and PoseNet2D.
    layout: "hwio" or "oihw", by default Caffe's for its files.  colours: see `mapping.Colours`, by default
    Caffe's for its files and for arrays without the checkpoint's scopes, otherwise ours.

    Raises SourceError.
    """
    scoped = any("PersonNet" in name or "PoseNet" in name for name in source.arrays)
    layout = layout or ("oihw" if source.kind == "caffe" else "hwio")
    colours = colours or (OURS if scoped else CPM_COLOURS)
    if scoped:

        def network_of(scope):
            return next((ours for ours, theirs in CPM_NETS.items() if theirs in scope.split("/")), None)

    else:
        layers = {name.split("/")[-2].removesuffix(SUFFIX) for name in source.arrays if "/" in name}
        only = "PoseNet2D" if "conv4_7" in layers else "HandSegNet"

        def network_of(scope):
            return only

    found, unknown = by_layer(source.arrays, network_of, lambda layer: layer.removesuffix(SUFFIX))
    made = []
    for network, model in models.items():
        mine = {layer: names for (owner, layer), names in found.items() if owner == network}
        if not mine:
            continue
        wanted = CPM_LAYERS[network]
        missing = [layer for layer in wanted if layer not in mine]
        if missing:
            raise SourceError(
                f"{source.path}: {CPM_NETS[network]} lacks {', '.join(missing)}, expected {', '.join(wanted)}"
            )
        unknown += [name for layer, names in mine.items() if layer not in wanted for name in names.values()]
        mine = {layer: mine[layer] for layer in wanted}
        made.append(plan(network, network_layers(model), mine, source, layout=layout, colours=colours))
    if not made:
        have = _some(source.arrays)
        raise SourceError(f"{source.path}: neither PersonNet nor PoseNet in it; it has {have}")
    return made, unknown


def _some(names):
    names = list(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
