"""A picture with what each system says of a few hands: the crop with its 2D keypoints, and the hand in 3D."""

import numpy as np

from hand3d.skeleton import CHAINS, FINGER_COLOURS, ROOT

TRUTH = "#bbbbbb"


def sheet(hands, predictions):
    """Figure with a row a hand; columns: the label, then each system, 2D over the crop and 3D from above.

    hands: `Hands`; predictions: {name: (uv_crop or None, xyz_relative or None)}, (N, 21, .) each.
    """
    from matplotlib.figure import Figure

    names = ["label", *predictions]
    width = 1.5 * len(names)
    figure = Figure(figsize=(width, 2.5 * len(hands)), layout="constrained")
    axes = figure.subplots(2 * len(hands), len(names), squeeze=False)
    predictions = {"label": (hands.uv_crop, hands.xyz_relative)} | predictions
    for column, (name, (uv, xyz)) in enumerate(predictions.items()):
        axes[0, column].set_title("\n".join(name.split(", ")), fontsize=7)
        for row in range(len(hands)):
            above, below = axes[2 * row, column], axes[2 * row + 1, column]
            above.imshow(hands.image[row])
            if uv is not None:
                _skeleton(above, np.asarray(uv)[row], lambda finger: np.array(FINGER_COLOURS[finger]) / 255)
            above.set(xlim=(-0.5, hands.size - 0.5), ylim=(hands.size - 0.5, -0.5))
            if xyz is not None:
                _skeleton(below, hands.xyz_relative[row][:, [0, 2]], lambda _: TRUTH)
                _skeleton(below, np.asarray(xyz)[row][:, [0, 2]], lambda f: np.array(FINGER_COLOURS[f]) / 255)
            below.set(xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
    return figure


def _skeleton(axes, points, colour):
    for finger, chain in CHAINS.items():
        line = points[[*chain, ROOT]]
        axes.plot(line[:, 0], line[:, 1], "-", color=colour(finger), lw=1.2)
