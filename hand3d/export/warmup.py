"""Warm-up requests of TensorFlow Serving: a TFRecord file of `PredictionLog` messages.

The messages are those of tensorflow_serving.apis, described here so that writing them does not need that
package; only the fields in use are described, by their numbers, which is all that the wire format has.
"""

import functools

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE = "assets.extra/tf_serving_warmup_requests"
TENSOR, STRING, MESSAGE = ".tensorflow.TensorProto", 9, 11
MESSAGES = {
    "ModelSpec": [("name", 1, STRING), ("signature_name", 3, STRING)],
    "InputsEntry": [("key", 1, STRING), ("value", 2, TENSOR)],
    "PredictRequest": [("model_spec", 1, "ModelSpec"), ("inputs", 2, "InputsEntry")],
    "PredictLog": [("request", 1, "PredictRequest")],
    "PredictionLog": [("predict_log", 6, "PredictLog")],
}


def write(path, requests, model="hand3d"):
    """Write a warm-up file.

    requests: list of (signature name, {input: tensor or array}).  model: the name it is served under.
    """
    with tf.io.TFRecordWriter(path) as writer:
        for signature, inputs in requests:
            log = _classes()["PredictionLog"]()
            request = log.predict_log.request
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name, value in inputs.items():
                entry = request.inputs.add(key=name)
                entry.value.ParseFromString(tf.make_tensor_proto(value).SerializeToString())
            writer.write(log.SerializeToString())


def read(path):
    """The requests of a warm-up file, list of (signature name, {input: numpy array})."""
    requests = []
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = _classes()["PredictionLog"].FromString(record).predict_log.request
        inputs = {entry.key: _array(entry.value) for entry in request.inputs}
        requests.append((request.model_spec.signature_name, inputs))
    return requests


def _array(message):
    """The array of a TensorProto of our pool, which Python takes for another class than TensorFlow's."""
    from tensorflow.core.framework import tensor_pb2

    return tf.make_ndarray(tensor_pb2.TensorProto.FromString(message.SerializeToString()))


@functools.cache
def _classes():
    """{name: message class}, in a pool of their own so that they never meet tensorflow_serving's."""
    from tensorflow.core.framework import tensor_pb2

    pool, known = descriptor_pool.DescriptorPool(), set()

    def add(file):
        for dependency in file.dependencies:
            add(dependency)
        if file.name not in known:
            known.add(file.name)
            copy = descriptor_pb2.FileDescriptorProto()
            file.CopyToProto(copy)
            pool.Add(copy)

    add(tensor_pb2.DESCRIPTOR)
    ours = descriptor_pb2.FileDescriptorProto(name="hand3d/warmup.proto", package="hand3d", syntax="proto3")
    ours.dependency.append(tensor_pb2.DESCRIPTOR.name)
    for message, fields in MESSAGES.items():
        entry = ours.message_type.add(name=message)
        for name, number, kind in fields:
            label = 3 if name == "inputs" else 1  # a map is a repeated message of key and value
            field = entry.field.add(name=name, number=number, label=label)
            field.type = kind if kind == STRING else MESSAGE
            if kind != STRING:
                field.type_name = kind if kind.startswith(".") else f".hand3d.{kind}"
    pool.Add(ours)
    get = message_factory.GetMessageClass
    return {name: get(pool.FindMessageTypeByName(f"hand3d.{name}")) for name in MESSAGES}
