"""How many processor cores there are."""

import os


def cores():
    """Cores that this process may use, an int; on systems that do not tell, all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
