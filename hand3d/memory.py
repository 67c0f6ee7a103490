"""What this process does with memory that it has given back."""

import ctypes

# of <malloc.h> of the GNU C library: what mallopt sets
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
MOST = 2**31 - 1  # bytes; mallopt takes an int
AT_ONCE = 64 * 2**20  # bytes by which the heap grows


def keep():
    """Keeps freed memory for the next tensors instead of giving it back to the system.

    A training step on the processor takes and frees hundreds of megabytes.  The GNU C library maps large
    blocks anew each time, and the system clears every page of them, which can take a third of the time
    (README, Training).  The process then holds on to the most that it ever needed.

    For the whole process, before its first large tensors; calls after the first change nothing.  Returns
    whether the C library can be told: False on other systems than Linux with the GNU C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no such library; Windows
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: MOST, TOP_PAD: AT_ONCE, ARENA_MAX: 1}
    return all([mallopt(setting, value) for setting, value in settings.items()])
