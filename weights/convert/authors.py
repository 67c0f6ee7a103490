"""The authors' own weights: pickles of arrays SCOPE/LAYER/weights and SCOPE/LAYER/biases (PAPER.md 1.7)."""

from weights.convert.limits import SourceError
from weights.convert.mapping import by_layer, network_layers, plan

SCOPES = ("HandSegNet", "PoseNet2D", "PosePrior", "ViewpointNet")
VARIANTS = ("direct", "bottleneck", "local", "local_w_xyz_loss", "proposed")


def networks_in(source):
    """Names of the networks that a source has arrays of, in the order of `SCOPES`."""
    found = {part for name in source.arrays for part in name.split("/")[:-2]}
    return [scope for scope in SCOPES if scope in found]


def guess_variant(source):
    """The lifting network that a source without ViewpointNet holds, by the name of its file, or None.

    Three of the variants have the same layers and shapes, so only the name tells them apart.
    """
    name = source.path.rsplit("/", 1)[-1].lower().replace("-", "_")
    matches = [variant for variant in VARIANTS if f"lifting_{variant}" in name]
    return max(matches, key=len, default=None)


def plans(source, models, *, layout=None):
    """Plans for the networks of a source, and the names of the arrays that are not used.

    source: `sources.Source`.  models: dict scope -> keras.Model.  Raises SourceError where one of their
    layers is missing or does not fit.
    """

    def network_of(scope):
        return next((part for part in scope.split("/") if part in models), None)

    found, unknown = by_layer(source.arrays, network_of)
    made = []
    for network, model in models.items():
        mine = {layer: names for (owner, layer), names in found.items() if owner == network}
        layers = network_layers(model)
        missing = [layer for layer in layers if layer not in mine]
        if missing:
            raise SourceError(
                f"{source.path}: {network} lacks {len(missing)} of its {len(layers)} layers: "
                + ", ".join(missing)
            )
        unknown += [name for layer, names in mine.items() if layer not in layers for name in names.values()]
        made.append(plan(network, layers, mine, source, layout=layout or "hwio"))
    return made, unknown
