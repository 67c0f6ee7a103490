"""Readers of other people's files: every format comes back as written, and hostile or damaged files are told.

The readers bound what they allocate; the tests lie about sizes and look for an error, not for a crash.
"""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from foreign_weights import caffemodel, field, python2_pickle, random_layer, safetensors, varint

from weights.convert.limits import SourceError
from weights.convert.pickles import load_pickle, named_arrays
from weights.convert.sources import load_source

RNG = np.random.default_rng(0)
LAYERS = {"conv1_1": random_layer(RNG, (3, 3, 3, 8)), "fc": random_layer(RNG, (1, 1, 8, 5))}
ARRAYS = {
    f"{layer}/{kind}": pair[k]
    for layer, pair in LAYERS.items()
    for k, kind in enumerate(("weights", "biases"))
}


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return str(path)


def saved(function, *arguments, **options):
    file = io.BytesIO()
    function(file, *arguments, **options)
    return file.getvalue()


def hdf5(arrays):
    file = io.BytesIO()
    with h5py.File(file, "w") as store:
        for name, values in arrays.items():
            store[f"{name}:0"] = values
    return file.getvalue()


def zipped(name, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def pairs():
    return {layer: list(pair) for layer, pair in LAYERS.items()}


GOOD = {
    "python2.pickle": lambda: python2_pickle(ARRAYS),
    "protocol2.pickle": lambda: pickle.dumps(ARRAYS, 2),
    "protocol4.pickle": lambda: pickle.dumps(pairs(), 4),
    "protocol5.pkl": lambda: pickle.dumps({k: np.asfortranarray(v) for k, v in ARRAYS.items()}, 5),
    "arrays.npz": lambda: saved(np.savez_compressed, **ARRAYS),
    "dict.npy": lambda: saved(np.save, np.array(pairs(), dtype=object), allow_pickle=True),
    "arrays.h5": lambda: hdf5(ARRAYS),
    "arrays.safetensors": lambda: safetensors(ARRAYS),
    "dots.safetensors": lambda: safetensors({k.replace("/", "."): v for k, v in ARRAYS.items()}),
    "float64.npz": lambda: saved(np.savez, **{k: v.astype(float) for k, v in ARRAYS.items()}),
}


@pytest.mark.parametrize("name", GOOD)
def test_formats(name, tmp_path):
    source = load_source(write(tmp_path, name, GOOD[name]()))
    assert source.kind == "arrays" and set(source.arrays) == set(ARRAYS)
    for key, values in ARRAYS.items():
        assert source.arrays[key].dtype == np.float32
        np.testing.assert_array_equal(source.arrays[key], values)


@pytest.mark.parametrize("old", [False, True])
def test_caffe(old, tmp_path):
    source = load_source(write(tmp_path, "net.caffemodel", caffemodel(LAYERS, old)))
    assert source.kind == "caffe" and source.skipped == ["reluconv1_1", "relufc"]
    assert set(source.arrays) == set(ARRAYS)
    for layer, (kernel, bias) in LAYERS.items():
        np.testing.assert_array_equal(source.arrays[f"{layer}/weights"].transpose(2, 3, 1, 0), kernel)
        np.testing.assert_array_equal(source.arrays[f"{layer}/biases"], bias)


@pytest.mark.parametrize("version", [1, 2])
def test_checkpoints(version, tmp_path):
    tf = pytest.importorskip("tensorflow")
    path, names = str(tmp_path / "cpm-model-mpii"), [*ARRAYS, "global_step"]
    tensors = [*map(tf.constant, ARRAYS.values()), tf.constant(7)]
    if version == 1:
        tf.raw_ops.Save(filename=path, tensor_names=names, data=tensors)
    else:
        tf.raw_ops.SaveV2(
            prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
        )
    sources = [load_source(path)] if version == 1 else [load_source(path), load_source(path + ".index")]
    for source in sources:
        assert source.kind == "checkpoint" and source.skipped == ["global_step"]
        for key, values in ARRAYS.items():
            np.testing.assert_array_equal(source.arrays[key], values)
    damaged = path if version == 1 else path + ".data-00000-of-00001"
    with open(damaged, "rb") as file:
        content = file.read()
    with open(damaged, "wb") as file:
        file.write(content[: len(content) // 2])
    with pytest.raises(SourceError, match="cpm-model-mpii"):
        load_source(path)


class Runs:
    """Pickles to a call of os.mkdir."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def attacks(marker):
    """Pickles that would make the folder `marker`, each by another way."""
    code = f"__import__('os').mkdir({marker!r})"
    text = b"X" + struct.pack("<I", len(code)) + code.encode()
    yield pickle.dumps({"conv/weights": Runs(marker)}, 2)
    yield pickle.dumps({"conv/weights": [np.zeros(3), Runs(marker)]}, 5)
    yield b"\x80\x02c__builtin__\neval\n" + text + b"\x85R."
    yield b"\x80\x02cbuiltins\nexec\n" + text + b"\x85R."
    yield b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93" + text + b"\x85R."
    yield b"\x80\x04\x8c\x05numpy\x8c\x22lib.utils.get_include.__globals__\x93."
    yield b"\x80\x02cnumpy.testing._private.utils\nrunstring\n" + text + b"}\x86R."
    yield b"\x80\x02(" + text + b"i__builtin__\neval\n."  # INST
    yield b"\x80\x02(c__builtin__\neval\n" + text + b"o."  # OBJ
    yield b"\x80\x02c__builtin__\neval\n" + text + b"\x85\x81."  # NEWOBJ
    yield b"(S" + repr(code).encode() + b"\ni__builtin__\neval\n."  # protocol 0


def test_pickles_run_nothing(tmp_path):
    marker = str(tmp_path / "marker")
    for number, content in enumerate(attacks(marker)):
        with pytest.raises(SourceError):
            load_source(write(tmp_path, f"{number}.pickle", content))
        wrapped = saved(np.save, np.array({}, dtype=object), allow_pickle=True)
        start = wrapped.index(b"\n") + 1
        with pytest.raises(SourceError):
            load_source(write(tmp_path, f"{number}.npy", wrapped[:start] + content))
        assert not os.path.exists(marker), content
    pickle.loads(next(attacks(marker)))
    assert os.path.exists(marker)  # so that the attack is one


def test_the_messages_name_what_was_asked_for(tmp_path):
    path = write(tmp_path, "a.pickle", pickle.dumps({"a": Runs("x")}, 2))
    with pytest.raises(SourceError, match=r"a\.pickle: asks for (posix|nt)\.mkdir.* nothing was run"):
        load_source(path)
    with pytest.raises(SourceError, match="opcode INST at byte"):
        load_pickle(b"\x80\x02(X\x01\x00\x00\x00ai__builtin__\neval\n.")


def test_pickles_cannot_change_the_reader():
    """BUILD on a function, on an array's class and on a dtype with nonsense."""
    function = b"\x80\x02c_codecs\nencode\n"
    for content in (
        function + b"}X\x05\x00\x00\x00_callK\x01sb.",
        function + b"N}X\x05\x00\x00\x00_callK\x01s\x86b.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85RK\x01b.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x02K\x03tb.",
        b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
    ):
        with pytest.raises(SourceError):
            named_arrays(load_pickle(content))
    assert set(named_arrays(load_pickle(pickle.dumps(ARRAYS, 2)))[0]) == set(ARRAYS)


def huge_array(shape, content=b"\0" * 8):
    """A pickle whose array says that it has another shape than it has bytes."""
    whole = pickle.dumps({"a/weights": np.frombuffer(content, "<f4")}, 2)
    length = b"K\x02\x85"
    assert whole.count(length) == 1
    return whole.replace(length, b"\x8a\x08" + struct.pack("<q", shape) + b"\x85")


def liars():
    """(file name, content, words of the message) of files that claim more than they hold."""
    yield "shape.pickle", huge_array(2**40), "bytes, expected up to"
    yield "short.pickle", huge_array(1000), "8 bytes, expected 4000"
    yield "memo.pickle", b"\x80\x02}r\xff\xff\xff\x7f.", "memory cell 2147483647"
    yield "bytes.pickle", b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.", "truncated or damaged"
    yield "key.pickle", pickle.dumps({3: np.zeros(2)}, 2), "a key is int, expected text"
    yield "list.pickle", pickle.dumps([np.zeros(2)], 2), "holds list, expected a dict"
    yield "text.pickle", pickle.dumps({"a": "b"}, 2), "no arrays in it"
    yield "objects.pickle", pickle.dumps({"a": np.array([None])}, 2), "a: an array without numbers"
    yield "cut.pickle", pickle.dumps(ARRAYS, 2)[:-300], "truncated or damaged pickle"
    header = saved(np.save, np.zeros((2, 2), np.float32)).replace(b"(2, 2)", b"(2,2002)")
    yield "header.npz", zipped("a.npy", header), "damaged header|too few for shape"
    big = saved(np.save, np.zeros(4)).replace(b"(4,), }" + b" " * 8, b"(400000000,), }")
    yield "big.npz", zipped("a.npy", big), "too few for shape"
    yield "cut.npz", saved(np.savez, **ARRAYS)[:-200], "damaged or truncated .npz"
    yield "plain.npy", saved(np.save, np.zeros((2, 3))), "expected a dict of named arrays"
    yield "length.safetensors", (2**60).to_bytes(8, "little") + b"{}", "header alone"
    yield "offsets.safetensors", safetensors(ARRAYS)[:-100], "but the file has"
    text = b'{"a/weights": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4]}}'
    yield "shape.safetensors", len(text).to_bytes(8, "little") + text + b"abcd", "expected up to"
    yield "deep.safetensors", (20000).to_bytes(8, "little") + b"[" * 20000, "not JSON"
    yield "cut.caffemodel", caffemodel(LAYERS)[:-50], "damaged or truncated Caffe model"
    yield "text.caffemodel", b"name: 'a prototxt'\nlayer {}\n" * 4, "Caffe model"
    blob = field(7, field(1, varint(2**40))) + field(5, b"\0" * 8)
    yield (
        "shape.caffemodel",
        field(100, field(1, b"a") + field(7, blob)),
        "a/weights: shape .* expected up to",
    )
    blob = field(7, field(1, varint(3))) + field(5, b"\0" * 8)
    yield "count.caffemodel", field(100, field(1, b"a") + field(7, blob)), "2 values, expected 3"
    blob = b"\x3a" + varint(2**36) + b"\x2a" + varint(2**35) + b"\0" * 8
    yield "length.caffemodel", field(100, field(1, b"a") + blob), "damaged or truncated"
    yield "first.caffemodel", field(2, field(1, b"abc")), "upgrade_net_proto_binary"
    yield "empty.h5", b"", "0 bytes, expected 1"
    yield "cut.h5", hdf5(ARRAYS)[:-400], "damaged or truncated HDF5"


@pytest.mark.parametrize("name, content, words", [pytest.param(*case, id=case[0]) for case in liars()])
def test_lying_and_damaged_files(name, content, words, tmp_path):
    path = write(tmp_path, name, content)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=words) as error:
            load_source(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert name in str(error.value)
    assert peak < 30e6, f"{peak} bytes were allocated for a file of {len(content)}"


def test_hdf5_beyond_its_file(tmp_path):
    """Data in other files, and sizes that only the header knows, are not followed."""
    secret = write(tmp_path, "secret.bin", b"\1" * 64)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("a/weights", (16,), "f4", external=[(secret, 0, 64)])
    with pytest.raises(SourceError, match="outside the file"):
        load_source(tmp_path / "external.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a/weights"] = np.ones(4, np.float32)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["b/weights"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a/weights")
        file["c/weights"] = np.zeros(2)
    assert set(load_source(tmp_path / "link.h5").arrays) == {"c/weights"}
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a/weights", (4,))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("a/weights", layout)
    with pytest.raises(SourceError, match="outside the file"):
        load_source(tmp_path / "virtual.h5")
    with h5py.File(tmp_path / "huge.h5", "w") as file:  # a few hundred bytes that claim a terabyte
        file.create_dataset("a/weights", (2**38,), "f4", chunks=(1024,), compression="gzip")
    with pytest.raises(SourceError, match=r"huge\.h5: a/weights: shape \(274877906944,\)"):
        load_source(tmp_path / "huge.h5")


@pytest.mark.parametrize("name", [*GOOD, "a.caffemodel", "old.caffemodel"])
def test_damage_anywhere(name, tmp_path):
    """Bytes changed or lost at random: the file is read, or a SourceError says why not; nothing else."""
    random = np.random.default_rng(len(name))
    content = GOOD[name]() if name in GOOD else caffemodel(LAYERS, old=name.startswith("old"))
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        if random.random() < 0.3:
            damaged = damaged[: random.integers(1, len(content))]
        else:
            for _ in range(random.choice([1, 3, 20])):
                reach = min(len(content), 600) if random.random() < 0.7 else len(content)
                damaged[random.integers(reach)] = random.integers(256)
        try:
            load_source(write(tmp_path, name, bytes(damaged)))
        except SourceError as error:
            assert name in str(error)
            refused += 1
    assert refused > 10


def test_what_is_no_file(tmp_path):
    with pytest.raises(SourceError, match="a folder; name the file in it"):
        load_source(tmp_path)
    with pytest.raises(OSError):
        load_source(tmp_path / "missing.pickle")
