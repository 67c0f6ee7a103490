"""MediaPipe Hands (full) on one photograph, alone: it runs in an environment that need not have hand3d.

    python mediapipe_hands.py PHOTO RUNS

Prints one line of JSON: the median and least milliseconds from decoded pixels to hands, how many it found.
"""

import json
import statistics
import sys
import time

import mediapipe
import numpy as np
from PIL import Image

WARM_UP = 2


def main(path, runs):
    pixels = np.ascontiguousarray(Image.open(path).convert("RGB"))
    with mediapipe.solutions.hands.Hands(
        static_image_mode=True, max_num_hands=1, model_complexity=1
    ) as hands:
        for _ in range(WARM_UP):
            found = hands.process(pixels)
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            found = hands.process(pixels)
            times.append(1000 * (time.perf_counter() - start))
    count = len(found.multi_hand_landmarks or ())
    speed = {"median": round(statistics.median(times), 3), "least": round(min(times), 3)}
    print(json.dumps(speed | {"hands": count, "version": mediapipe.__version__}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
