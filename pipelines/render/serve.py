"""A process that renders training examples for ever and writes them to its standard output.

`pipelines.stream` starts it; its only argument is a JSON object with the settings.  Each message is a pickled
list of examples, those of one sample, after its length in bytes (8, little-endian).
"""

import functools
import json
import os
import pickle
import struct
import sys

import numpy as np

LENGTH = struct.Struct("<Q")
BACKGROUNDS = 512  # other backgrounds that a stream chooses from


def examples_of(settings):
    """Function of a sample's number that renders it and returns its examples."""
    from pipelines import cut
    from pipelines.render.backgrounds import Backgrounds
    from pipelines.render.scene import Renderer, render_sample
    from pipelines.render.shards import SEED_STRIDE

    renderer = Renderer(settings["size"], settings["backgrounds"], settings["device"])
    source = Backgrounds(settings["backgrounds"], settings["split"])
    base = settings["seed"] * SEED_STRIDE

    @functools.cache
    def background(number):
        return np.array(source.sample(np.random.default_rng([base, number]), settings["crop_size"])[0])

    def make(number):
        sample = render_sample(renderer, base + number, settings["split"], settings["size"])
        rng = np.random.default_rng([base, number, 7])
        if settings["network"] == "posenet":
            examples = cut.posenet_examples(sample, **settings["examples"])
        else:
            examples = cut.handsegnet_examples(sample, rng, **settings["examples"])
        for example in examples:
            example["background"] = background(int(rng.integers(BACKGROUNDS)))
        return examples

    return make


def main():
    settings = json.loads(sys.argv[1])
    # what libraries print must not come between the messages
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        make = examples_of(settings)
        number = settings["first"]
        while True:
            content = pickle.dumps(make(number), protocol=pickle.HIGHEST_PROTOCOL)
            output.write(LENGTH.pack(len(content)) + content)
            output.flush()
            number += settings["step"]
    except (BrokenPipeError, KeyboardInterrupt):  # the training has ended
        os._exit(0)
    except Exception as error:
        content = pickle.dumps(f"{type(error).__name__}: {error}")
        output.write(LENGTH.pack(len(content)) + content)
        output.flush()
        return 1


if __name__ == "__main__":
    sys.exit(main())
