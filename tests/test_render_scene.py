"""Runs `checks_render_scene.py` in a process without TensorFlow, see `gl.create_context`."""

import os
import re
import subprocess
import sys

import pytest

CHECKS = os.path.join(os.path.dirname(__file__), "checks_render_scene.py")


def test_renderer_in_a_process_of_its_own():
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", CHECKS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    if not re.search(r"\d+ passed", done.stdout) or "SKIPPED" in done.stdout:
        pytest.skip(done.stdout[-500:])
