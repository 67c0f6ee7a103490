import collections
import os
import pickle

import numpy as np
import pytest

from pipelines import safe_pickle


class Wicked:
    """What an author of an evil pickle writes."""

    def __init__(self, call, *arguments):
        self.parts = call, arguments

    def __reduce__(self):
        return self.parts


def dump(tmp_path, content, protocol=2):
    path = tmp_path / "anno.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_come_back(tmp_path, protocol):
    content = {
        0: {"uv_vis": np.arange(126.0).reshape(42, 3), "K": np.eye(3, dtype=np.float32)},
        "list": [1, 2.5, "text", None, True, (3, b"bytes"), {4, 5}],
        "order": collections.OrderedDict(a=1),
        "big-endian": np.arange(3, dtype=">i4"),
        "bool": np.array([True, False]),
        "scalar": np.float64(1.5),
        "transposed": np.arange(6).reshape(2, 3).T,
        "empty": np.zeros((0, 3)),
    }
    found = safe_pickle.load(dump(tmp_path, content, protocol))
    assert found.keys() == content.keys() and found["list"] == content["list"]
    for key in ("big-endian", "bool", "transposed", "empty", "scalar"):
        np.testing.assert_array_equal(found[key], content[key])
        plain = pickle.loads(pickle.dumps(content[key], protocol))
        assert np.asarray(found[key]).dtype == np.asarray(plain).dtype
    np.testing.assert_array_equal(found[0]["uv_vis"], content[0]["uv_vis"])
    assert np.dtype("i4").byteorder == "="  # the state of one dtype has not leaked into numpy's own


def test_pickles_of_python_2_with_old_numpy(tmp_path):
    # numpy.core, and an array's content as text: cnumpy.core.multiarray, protocol 2 of Python 2
    array = pickle.dumps(np.arange(4, dtype=np.uint8), 2).replace(b"numpy._core", b"numpy.core")
    (tmp_path / "old.pickle").write_bytes(array)
    np.testing.assert_array_equal(safe_pickle.load(str(tmp_path / "old.pickle")), np.arange(4))


@pytest.mark.parametrize(
    "content, words",
    [
        (Wicked(os.system, "echo"), "system"),
        (Wicked(eval, "1"), "eval"),
        (Wicked(np.load, "x"), "numpy.*load"),
        (np.array([1, "a"], object), "objects"),
        (np.random.default_rng(0), "numpy.random"),
        (print, "builtin.*print"),
        (Wicked(getattr, "a", "b"), "getattr"),
        ([1, {2: Wicked(os.getenv, "HOME")}], "getenv"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, content, words):
    path = dump(tmp_path, content)
    with pytest.raises(safe_pickle.UnsafePickle, match=f"anno.pickle.*{words}"):
        safe_pickle.load(path)


def test_functions_cannot_be_changed(tmp_path):
    # the BUILD opcode sets attributes of what is on the stack: here of the function for codecs
    (tmp_path / "build.pickle").write_bytes(b"\x80\x02c_codecs\nencode\nN}X\x01\x00\x00\x00aK\x01s\x86b.")
    with pytest.raises(ValueError, match="build.pickle"):
        safe_pickle.load(str(tmp_path / "build.pickle"))
    (tmp_path / "codec.pickle").write_bytes(
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R."
    )
    with pytest.raises(safe_pickle.UnsafePickle, match="zip"):
        safe_pickle.load(str(tmp_path / "codec.pickle"))


def test_damaged_files_are_named(tmp_path):
    path = dump(tmp_path, {"a": np.arange(100)})
    whole = (tmp_path / "anno.pickle").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no pickle", b"\x80\x09."):
        (tmp_path / "anno.pickle").write_bytes(content)
        with pytest.raises(ValueError, match="anno.pickle.*damaged"):
            safe_pickle.load(path)
    with pytest.raises(FileNotFoundError):
        safe_pickle.load(str(tmp_path / "none"))


def test_what_would_fill_the_memory_or_upset_numpy_is_refused(tmp_path):
    array, huge = b"\x80\x02cnumpy\nndarray\n", b"\x8a\x06\x00\x00\x00\x00\x00\x10"
    dtype = b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00V8\x85R"
    for content, words in (
        (array + huge + b"\x85\x85R.", "not callable"),  # ndarray((2 ** 44,))
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "memory cell"),
        (b"Np2000000000\n.", "memory cell"),
        (dtype + b".", "a function or a type"),
    ):
        (tmp_path / "a.pickle").write_bytes(content)
        with pytest.raises(ValueError, match=f"a.pickle.*{words}"):
            safe_pickle.load(str(tmp_path / "a.pickle"))
