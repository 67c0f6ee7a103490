"""The triangles of a picture: a posed person and what is in the hands."""

import numpy as np

from pipelines.render.body import MATERIALS
from pipelines.render.skin import skin_map

PERSON = 1  # mask id of the person, clothes and things
THING = "shoe"  # a thing in a hand is drawn as a garment without folds; shoes are hardly ever seen


def drawn_surface(posed):
    """Everything that is drawn, the person and what is in the hands, as arrays for `gl.Rasteriser`.

    Returns a dict: vertices (R, 3) float64 metres, world axes; uv, rest, skin, weld as in `skin.SkinMap`;
    faces (F, 3); part and material (F,) uint8.
    """
    skin = skin_map()
    parts = {
        "vertices": [posed.vertices.astype(np.float64)],
        "uv": [skin.uv],
        "rest": [skin.rest],
        "skin": [skin.skin],
        "weld": [skin.weld],
        "faces": [posed.faces],
        "part": [posed.part],
        "material": [posed.material],
    }
    first, weld = len(posed.vertices), int(skin.weld.max()) + 1
    for thing in posed.things:
        count = len(thing.vertices)
        parts["vertices"].append(thing.vertices)
        parts["uv"].append(np.zeros((count, 2), np.float32))
        parts["rest"].append(thing.rest.astype(np.float32))
        parts["skin"].append(np.zeros((count, 4), np.float32))
        parts["weld"].append(weld + np.arange(count))
        parts["faces"].append(first + thing.faces)
        parts["part"].append(np.full(len(thing.faces), PERSON, np.uint8))
        parts["material"].append(np.full(len(thing.faces), MATERIALS.index(THING), np.uint8))
        first, weld = first + count, weld + count
    return {name: values[0] if len(values) == 1 else np.concatenate(values) for name, values in parts.items()}
