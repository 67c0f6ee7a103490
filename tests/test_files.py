"""hand3d.files: nothing half-written, nothing overwritten."""

import os

import pytest

from hand3d.files import JsonLines, picture_names, write_atomic


def test_write_atomic(tmp_path):
    write_atomic(str(tmp_path / "a"), b"one")
    write_atomic(str(tmp_path / "a"), b"two")
    assert (tmp_path / "a").read_bytes() == b"two" and os.listdir(tmp_path) == ["a"]
    with pytest.raises(TypeError):
        write_atomic(str(tmp_path / "a"), "not bytes")
    assert (tmp_path / "a").read_bytes() == b"two" and os.listdir(tmp_path) == ["a"]


def test_picture_names_do_not_collide():
    paths = ["a/x.jpg", "b/x.jpg", "b/X.png", "c/d/b/x.jpg", "y.jpg"]
    names = picture_names(paths)
    assert len({name.lower() for name in names}) == len(paths)
    assert names[0] == "a_x.jpg.hand3d.png" and names[-1] == "y.hand3d.png"


def test_json_lines_appear_at_the_end(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("old\n")
    with JsonLines(str(path)) as lines:
        lines.write("1")
        assert path.read_text() == "old\n"
    assert path.read_text() == "1\n" and os.listdir(tmp_path) == ["a.jsonl"]


def test_json_lines_survive_an_interruption(tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt), JsonLines(str(path)) as lines:
        lines.write("1")
        raise KeyboardInterrupt
    assert path.read_text() == "1\n"
    with pytest.raises(ValueError), JsonLines(str(path)):
        raise ValueError
    assert path.read_text() == "1\n" and os.listdir(tmp_path) == ["a.jsonl"]


def test_json_lines_to_a_device():
    with JsonLines(os.devnull) as lines:
        lines.write("1")
    assert not os.path.isfile(os.devnull)
