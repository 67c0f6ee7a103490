"""What processes that work for another one do first."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def follow_parent():
    """Ends this process as soon as the one that started it is gone, however that ended."""
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent():
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
