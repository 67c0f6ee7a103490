"""Caffe models (binary protobuf), of the current and of the V1 layer message.

Only the fields that matter are declared here (names and numbers of caffe.proto); protobuf's own parser, which
never reads or allocates beyond the file, does the rest.
"""

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from weights.convert.limits import SourceError, check_size

# message: {field: (number, type, repeated)}
MESSAGES = {
    "BlobShape": {"dim": (1, "int64", True)},
    "BlobProto": {
        "num": (1, "int32", False),
        "channels": (2, "int32", False),
        "height": (3, "int32", False),
        "width": (4, "int32", False),
        "data": (5, "float", True),
        "shape": (7, "BlobShape", False),
        "double_data": (8, "double", True),
    },
    "LayerParameter": {"name": (1, "string", False), "blobs": (7, "BlobProto", True)},
    "V1LayerParameter": {
        "old": (1, "bytes", False),
        "name": (4, "string", False),
        "blobs": (6, "BlobProto", True),
    },
    "NetParameter": {
        "name": (1, "string", False),
        "layers": (2, "V1LayerParameter", True),
        "layer": (100, "LayerParameter", True),
    },
}
LEGACY_SHAPE = ("num", "channels", "height", "width")


def load_caffemodel(path):
    """Dict LAYER/weights (OIHW), LAYER/biases -> float32 array, and a list of the layers without weights.

    Raises SourceError for a file that is no Caffe model or damaged, with the blob and its size.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        net = _message("NetParameter").FromString(content)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise SourceError(f"{path}: damaged or truncated Caffe model ({error})") from error
    arrays, skipped, taken = {}, [], 0
    for layer in [*net.layer, *net.layers]:
        if layer.blobs and not layer.name:
            raise SourceError(f"{path}: a layer without a name has weights")
        if not layer.blobs:
            skipped.append(layer.name)
        for number, blob in enumerate(layer.blobs):
            name = f"{layer.name}/{('weights', 'biases')[number] if number < 2 else f'blob{number}'}"
            if name in arrays:
                raise SourceError(f"{path}: {name} is there twice")
            arrays[name] = _values(blob, f"{path}: {name}", taken, bias=number == 1)
            taken += arrays[name].nbytes
    if any(layer.old for layer in net.layers):
        raise SourceError(f"{path}: Caffe's first layer format; run Caffe's upgrade_net_proto_binary on it")
    if not arrays:
        raise SourceError(f"{path}: no layer has weights; expected a Caffe model")
    return arrays, skipped


def _values(blob, name, taken, bias):
    shape = tuple(blob.shape.dim if blob.HasField("shape") else (getattr(blob, key) for key in LEGACY_SHAPE))
    data = blob.double_data if len(blob.double_data) else blob.data
    size = check_size(name, shape, 4, taken)
    if 4 * len(data) != size:
        raise SourceError(f"{name}: {len(data)} values, expected {size // 4} for shape {shape}")
    values = np.array(data, np.float32).reshape(shape)
    return values.reshape(-1) if bias else values  # V1 stores a bias as 1 x 1 x 1 x n


def _message(name):
    """A protobuf class of MESSAGES."""
    file = descriptor_pb2.FileDescriptorProto(name="hand3d_caffe.proto", package="hand3d_caffe")
    field_types = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        made = file.message_type.add(name=message)
        for field, (number, kind, repeated) in fields.items():
            added = made.field.add(name=field, number=number)
            added.label = field_types.LABEL_REPEATED if repeated else field_types.LABEL_OPTIONAL
            if kind in MESSAGES:
                added.type, added.type_name = field_types.TYPE_MESSAGE, f".hand3d_caffe.{kind}"
            else:
                added.type = getattr(field_types, f"TYPE_{kind.upper()}")
                if repeated:
                    added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"hand3d_caffe.{name}"))
