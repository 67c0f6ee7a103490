"""TFRecord files and tf.train.Example messages without TensorFlow.

Render workers write shards, and importing TensorFlow would cost each of them seconds and hundreds of
megabytes.  A TFRecord file is a sequence of frames

    uint64 length | uint32 masked CRC-32C of the length | payload | uint32 masked CRC-32C of the payload

(little-endian); the payload here is a tf.train.Example.  Two maintained libraries do the hard parts:
`protobuf` (which TensorFlow itself requires) encodes the message from the descriptor below, and
`google-crc32c` computes the checksum with the CPU's own instruction.
"""

import itertools
import os
import struct
import tempfile
from functools import cache

LENGTH = struct.Struct("<Q")
CHECKSUM = struct.Struct("<I")


def masked_crc32c(data):
    """bytes -> int, the CRC-32C as TFRecord files store it (rotated and offset)."""
    try:
        import google_crc32c
    except ImportError as error:
        raise ImportError("TFRecord files need google-crc32c: pip install google-crc32c") from error
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def example_class():
    """The protobuf class of tf.train.Example, in a pool of its own so that TensorFlow's is not disturbed."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")

    def message(parent, name, *fields, oneof=None):
        new = parent.add(name=name)
        if oneof:
            new.oneof_decl.add(name=oneof)
        for number, (field_name, kind, label, type_name) in enumerate(fields, 1):
            made = new.field.add(name=field_name, number=number, type=kind, label=label, type_name=type_name)
            if oneof:
                made.oneof_index = 0
        return new

    one, many, sub = field.LABEL_OPTIONAL, field.LABEL_REPEATED, field.TYPE_MESSAGE
    messages = file.message_type
    message(messages, "BytesList", ("value", field.TYPE_BYTES, many, None))
    message(messages, "FloatList", ("value", field.TYPE_FLOAT, many, None))
    message(messages, "Int64List", ("value", field.TYPE_INT64, many, None))
    message(
        messages,
        "Feature",
        ("bytes_list", sub, one, ".tensorflow.BytesList"),
        ("float_list", sub, one, ".tensorflow.FloatList"),
        ("int64_list", sub, one, ".tensorflow.Int64List"),
        oneof="kind",
    )
    features = message(messages, "Features", ("feature", sub, many, ".tensorflow.Features.FeatureEntry"))
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", field.TYPE_STRING, one, None),
        ("value", sub, one, ".tensorflow.Feature"),
    )
    entry.options.map_entry = True
    message(messages, "Example", ("features", sub, one, ".tensorflow.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def encode_example(features):
    """{name: bytes | sequence of float | sequence of int} -> serialised tf.train.Example, bytes.

    Numpy arrays are flattened; floating arrays become a FloatList, integer and boolean ones an Int64List.
    """
    import numpy as np

    example = example_class()()
    for name, value in features.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
            continue
        array = np.asarray(value).ravel()
        if array.dtype.kind == "f":
            feature.float_list.value.extend(array.tolist())
        elif array.dtype.kind in "iub":
            feature.int64_list.value.extend(int(number) for number in array)
        else:
            raise TypeError(f"feature {name!r}: expected bytes, float or integer values, got {array.dtype}")
    return example.SerializeToString(deterministic=True)


def write_tfrecord(path, payloads):
    """Writes the iterable of bytes `payloads` to `path` atomically; returns how many there were."""
    path = os.fspath(path)
    count = 0
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for payload in payloads:
                length = LENGTH.pack(len(payload))
                file.write(length + CHECKSUM.pack(masked_crc32c(length)))
                file.write(payload + CHECKSUM.pack(masked_crc32c(payload)))
                count += 1
        os.chmod(temporary, 0o644)  # mkstemp makes files for their owner only
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return count


def read_tfrecord(path):
    """Yields the payloads of a TFRecord file; ValueError naming file, record and byte where it is damaged."""
    with open(path, "rb") as file:
        for number in itertools.count():
            start = file.tell()
            header = file.read(LENGTH.size + CHECKSUM.size)
            if not header:
                return
            problem = f"{path}: %s: record {number} (from 0), at byte {start}; write the shard again"
            if len(header) < LENGTH.size + CHECKSUM.size:
                raise ValueError(problem % "truncated record")
            length = header[: LENGTH.size]
            if CHECKSUM.unpack(header[LENGTH.size :])[0] != masked_crc32c(length):
                raise ValueError(problem % "corrupt record length")
            payload = file.read(LENGTH.unpack(length)[0])
            checksum = file.read(CHECKSUM.size)
            if len(payload) < LENGTH.unpack(length)[0] or len(checksum) < CHECKSUM.size:
                raise ValueError(problem % "truncated record")
            if CHECKSUM.unpack(checksum)[0] != masked_crc32c(payload):
                raise ValueError(problem % "corrupt record")
            yield payload
