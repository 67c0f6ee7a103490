"""Freed memory that is kept is not mapped anew."""

import subprocess
import sys

import pytest

from hand3d import memory

FAULTS = """
import resource
from hand3d import memory

kept = {before}
def turn():
    b"x" * 50_000_000

turn(), turn()
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    turn()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def faults(before):
    """What `before` is worth, and page faults of ten blocks of 50 MB then, each freed before the next."""
    code = FAULTS.format(before=before)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults of Linux")
def test_freed_memory_is_used_again():
    kept, few = faults("memory.keep()")
    if not kept:
        pytest.skip("no GNU C library")
    _, many = faults("False")
    assert few * 50 < many


def test_no_such_function(monkeypatch):
    class Library:
        def __init__(self, name):
            pass

    monkeypatch.setattr(memory.ctypes, "CDLL", Library)
    assert memory.keep() is False
