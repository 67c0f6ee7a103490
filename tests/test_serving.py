"""hand3d.serving: the REST API over real sockets on loopback, before a model of a few lines."""

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

from hand3d.serving import app, protocol, server  # noqa: E402

PREDICT = "/v1/models/hand3d:predict"


class LengthModel:
    """Answers with the length of each file; slow, so that requests meet."""

    card, version = {"status": ["done"]}, 1
    inputs = {
        "serving_default": {"image_bytes": (bytes, (None,))},
        "uint8_images": {"images": (np.uint8, (None, None, None, 3))},
    }
    seconds = 0.02

    def __init__(self):
        self.batches = []

    def run_files(self, files):
        time.sleep(self.seconds)
        self.batches.append(len(files))
        if b"explode" in files:
            raise RuntimeError("inside the networks")
        return [{"length": np.float32(len(file)), "status": np.int32(0)} for file in files]

    def run(self, signature, inputs):
        return {"mean": inputs["images"].mean((1, 2, 3))}

    def metadata(self, name):
        return {"model_spec": {"name": name}}


@contextlib.contextmanager
def serving(model, limits):
    """Port of a server in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app.application(model, limits), http=server.PatientProtocol, log_level="critical", ws="none"
        )
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not running.started:
                time.sleep(0.01)
            yield port
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def model():
    return LengthModel()


@pytest.fixture(scope="module")
def port(model):
    limits = app.Limits(body=200_000, images=16, body_seconds=0.4, seconds=2.0, queue=64)
    server.PatientProtocol.head_seconds = 0.4
    with serving(model, limits) as number:
        yield number
    server.PatientProtocol.head_seconds = server.HEAD_SECONDS


def ask(port, body, path=PREDICT, method="POST"):
    """(status, parsed answer); body: bytes, or what JSON can hold."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, content)
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if response.headers["content-type"].endswith(
            "json"
        ) else text.decode()
    finally:
        connection.close()


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def alive(port):
    return ask(port, None, "/health", "GET") == (200, {"status": "ok", "waiting": 0})


def test_rows_and_columns(port):
    files = [b64(b"12345"), b64(b"")]
    rows = {"predictions": [{"length": 5.0, "status": 0}, {"length": 0.0, "status": 0}]}
    assert ask(port, {"instances": files}) == (200, rows)
    named = {"instances": [{"image_bytes": file} for file in files], "signature_name": "serving_default"}
    assert ask(port, named, "/v1/models/hand3d/versions/1:predict") == (200, rows)
    columns = {"outputs": {"length": [5.0, 0.0], "status": [0, 0]}}
    assert ask(port, {"inputs": {"image_bytes": files}}) == (200, columns)
    assert ask(port, {"inputs": files}) == (200, columns)
    pixels = [[[[0, 1, 2]], [[3, 4, 5]]]]
    asked = {"signature_name": "uint8_images", "inputs": pixels}
    assert ask(port, asked) == (200, {"outputs": {"mean": [2.5]}})


def test_other_paths(port):
    status, answer = ask(port, None, "/v1/models/hand3d", "GET")
    assert status == 200 and answer["model_version_status"][0]["state"] == "AVAILABLE"
    assert ask(port, None, "/v1/models/hand3d/metadata", "GET")[1] == {"model_spec": {"name": "hand3d"}}
    status, page = ask(port, None, "/", "GET")
    assert status == 200 and "camera" in page
    for path, method, expected in [
        ("/v1/models/other", "GET", 404),
        ("/v1/models/hand3d/versions/7:predict", "POST", 404),
        (PREDICT, "GET", 405),
        ("/nothing", "GET", 404),
    ]:
        status, answer = ask(port, None, path, method)
        assert status == expected and answer["error"]


BAD = {
    "not JSON": b"{",
    "no object": [1],
    "nothing": {},
    "both formats": {"instances": [], "inputs": []},
    "no images": {"instances": []},
    "too many images": {"instances": [b64(b"1")] * 17},
    "wrong base64": {"instances": [{"b64": "%%%"}]},
    "no base64": {"instances": ["text"]},
    "unknown signature": {"signature_name": "other", "instances": [b64(b"1")]},
    "signature of a wrong type": {"signature_name": [1], "instances": [b64(b"1")]},
    "unknown input": {"inputs": {"other": [b64(b"1")]}},
    "ragged": {"signature_name": "uint8_images", "inputs": [[[[0, 1, 2]], [[1]]]]},
    "wrong shape": {"signature_name": "uint8_images", "inputs": [[1, 2]]},
    "out of range": {"signature_name": "uint8_images", "inputs": [[[[0, 1, 256]]]]},
    "text for numbers": {"signature_name": "uint8_images", "inputs": [[[["a", "b", "c"]]]]},
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(port, name):
    status, answer = ask(port, BAD[name])
    assert status == 400 and answer["error"] and "Traceback" not in answer["error"]
    assert alive(port)


def test_too_large(port):
    for size in (200_001, 1_000_000):
        status, answer = ask(port, b" " * size)
        assert status == 413 and "larger than 200000 bytes" in answer["error"]
    with contextlib.suppress(ConnectionError):  # far beyond the limit the connection is closed
        assert ask(port, b" " * 20_000_000)[0] == 413
    assert alive(port)


def test_slow_clients(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as silent:
        assert silent.recv(1) == b""  # closed by the server
    with socket.create_connection(("127.0.0.1", port), timeout=5) as half:
        half.sendall(b"POST / HTTP/1.1\r\nHost: a")
        assert half.recv(1) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
        slow.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    with socket.create_connection(("127.0.0.1", port), timeout=5) as gone:
        gone.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[".encode())
    assert alive(port)


def test_a_failure_inside_is_no_leak(port):
    status, answer = ask(port, {"instances": [b64(b"explode")]})
    assert (status, answer) == (500, {"error": "internal error"})
    assert alive(port)


def test_batching_overload_and_metrics(port, model):
    model.batches.clear()
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append((n, ask(port, {"instances": [b64(b"x" * n)]}))))
        for n in range(24)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n for n, _ in answers) == list(range(24))
    for n, (status, answer) in answers:
        assert status == 200 and answer["predictions"][0]["length"] == n  # everybody the own result
    assert sum(model.batches) == 24 and max(model.batches) > 1 and max(model.batches) <= 8
    model.seconds = 0.5
    try:
        statuses = []
        crowd = [
            threading.Thread(target=lambda: statuses.append(ask(port, {"instances": [b64(b"1")] * 16})[0]))
            for _ in range(7)
        ]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
        assert set(statuses) <= {200, 503, 504} and 503 in statuses and 200 in statuses
    finally:
        model.seconds = LengthModel.seconds
    text = ask(port, None, "/metrics", "GET")[1]
    assert re.search(r'hand3d_requests_total\{status="200"\} \d', text)
    assert "hand3d_batch_images_bucket" in text and "hand3d_images_waiting" in text


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
import test_serving
from hand3d.serving import app, server
model = test_serving.LengthModel()
model.seconds = 1.0
server.serve(app.application(model), "127.0.0.1", int(sys.argv[1]), 100, 5)
"""


def test_sigterm_finishes_what_is_under_way():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SCRIPT, str(port), os.path.dirname(os.path.abspath(__file__))]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                assert alive(port)
                break
            time.sleep(0.05)
        answers = []
        asking = threading.Thread(target=lambda: answers.append(ask(port, {"instances": [b64(b"123")]})))
        asking.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers == [(200, {"predictions": [{"length": 3.0, "status": 0}]})]
        assert process.wait(10) in (0, -signal.SIGTERM)
        with pytest.raises(ConnectionRefusedError):
            ask(port, {})
    finally:
        process.kill()
        process.wait()


def test_the_readme_s_client(port, monkeypatch):
    """The REST example of the README runs as it stands, but for the port."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        blocks = re.findall(r"```python\n(.*?)```", file.read(), re.DOTALL)
    (example,) = [block for block in blocks if "urllib" in block]
    assert "127.0.0.1:8501" in example
    monkeypatch.chdir(root)
    names = {}
    exec(example.replace(":8501", f":{port}"), names)
    assert names["hand"] == {"length": float(os.path.getsize("tests/fixtures/hand.jpg")), "status": 0}


def test_answers_are_json():
    body = protocol.answer({"a": np.float32([[1, 2]]), "b": np.int32([3])}, "predictions")
    assert json.loads(body) == {"predictions": [{"a": [1.0, 2.0], "b": 3}]}
    assert json.loads(protocol.answer({"a": [1]}, "outputs")) == {"outputs": {"a": [1]}}
