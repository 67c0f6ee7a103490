"""MediaPipe Hands (full) on one photograph, alone: it runs in an environment that need not have hand3d.

    python mediapipe_hands.py PHOTO [MAX_HANDS]

MAX_HANDS: how many hands it looks for (1).

For every line with a number N on standard input it runs N times and prints one line of JSON: milliseconds of
each from decoded pixels to hands, how many hands it found, its version.
"""

import json
import sys
import time

import mediapipe
import numpy as np
from PIL import Image


def main(path, max_hands=1):
    pixels = np.ascontiguousarray(Image.open(path).convert("RGB"))
    with mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=max_hands, model_complexity=1
    ) as hands:
        for line in sys.stdin:
            times, found = [], None
            for _ in range(int(line)):
                start = time.perf_counter()
                found = hands.process(pixels)
                times.append(1000 * (time.perf_counter() - start))
            count = len(found.multi_hand_landmarks or ())
            print(json.dumps({"ms": times, "hands": count, "version": mediapipe.__version__}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
