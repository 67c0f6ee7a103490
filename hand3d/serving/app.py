"""The ASGI application: TensorFlow Serving's REST paths, a page, health and metrics.

Starlette and uvicorn: small, kept up by many, typed for exactly this, and without a framework of their own
for models, which would bring another protocol than TensorFlow Serving's.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from importlib import resources

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from hand3d.serving import protocol
from hand3d.serving.batching import Batcher, Overloaded

NAME = "hand3d"
DRAIN = 8  # times the limit of a body are read and thrown away, so that the client sees the answer
SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; media-src blob:; connect-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Limits:
    """body: bytes of a request.  images: of a request.  body_seconds: for its arrival.  seconds: for its
    answer.  batch: images computed at once.  wait: seconds that a lone image waits for company.  queue:
    images that may wait."""

    body: int = 32 * 2**20
    images: int = 64
    body_seconds: float = 20.0
    seconds: float = 30.0
    batch: int = 8
    wait: float = 0.002
    queue: int = 256


class Metrics:
    """What /metrics tells, in Prometheus' format."""

    def __init__(self, queue_length):
        self.registry = CollectorRegistry()
        known = {"registry": self.registry}
        self.requests = Counter("hand3d_requests", "Predict requests by HTTP status", ["status"], **known)
        self.images = Counter(
            "hand3d_images", "Images by status: 0 done, see the model card", ["status"], **known
        )
        self.seconds = Histogram("hand3d_request_seconds", "Time from a request to its answer", **known)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self.batches = Histogram("hand3d_batch_images", "Images computed at once", buckets=sizes, **known)
        waiting = Gauge("hand3d_images_waiting", "Images that wait to be computed", **known)
        waiting.set_function(queue_length)


def application(model, limits=None):
    """`Starlette` application of a `ServedModel`."""
    limits = limits or Limits()
    batcher = Batcher(
        model.run_files, limits.batch, limits.wait, limits.queue, lambda size: metrics.batches.observe(size)
    )
    metrics = Metrics(lambda: len(batcher))
    page = resources.files("hand3d.serving").joinpath("page.html").read_text("utf-8")

    @contextlib.asynccontextmanager
    async def lifespan(app):
        batcher.start()
        yield
        await batcher.stop()

    async def predict(request):
        started, status = time.perf_counter(), 500
        try:
            _check_version(request, model)
            body = await _body(request, limits)
            outputs, form = await _compute(body)
            for image_status in outputs.get("status", ()):
                metrics.images.labels(int(image_status)).inc()
            content = await asyncio.to_thread(protocol.answer, outputs, form)
            status = 200
            return Response(content, media_type="application/json")
        except protocol.RequestError as error:
            status = error.status
            return _error(str(error), status)
        except Overloaded:
            status = 503
            return _error("too many images are waiting; try again", status, {"Retry-After": "1"})
        except asyncio.TimeoutError:  # noqa: UP041  another class than TimeoutError before Python 3.11
            status = 504
            return _error(f"not computed within {limits.seconds:g} s", status)
        except ClientDisconnect:
            status = 499
            return _error("the client has gone", 400)
        finally:
            metrics.requests.labels(status).inc()
            metrics.seconds.observe(time.perf_counter() - started)

    async def _compute(body):
        """{output: list or array} and the format of the answer."""
        signature, inputs, form = await asyncio.to_thread(
            protocol.parse, body, model.inputs, min(limits.images, limits.queue)
        )
        if signature != protocol.DEFAULT_SIGNATURE:
            alone = batcher.alone(model.run, signature, inputs)
            return await asyncio.wait_for(alone, limits.seconds), form
        (files,) = inputs.values()
        results = await asyncio.wait_for(batcher.submit(files), limits.seconds)
        return {name: [result[name] for result in results] for name in results[0]}, form

    async def describe(request):
        _check_version(request, model)
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": str(model.version), "state": "AVAILABLE", "status": status}
        return JSONResponse({"model_version_status": [version]})

    async def metadata(request):
        _check_version(request, model)
        return JSONResponse(model.metadata(NAME))

    async def health(request):
        return JSONResponse({"status": "ok", "waiting": len(batcher)})

    async def show_metrics(request):
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def show_page(request):
        return HTMLResponse(page, headers=SECURITY)

    async def card(request):
        return JSONResponse(model.card)

    async def http_error(request, error):
        return _error(error.detail, error.status_code, error.headers)

    async def internal_error(request, error):
        return _error("internal error", 500)

    base = f"/v1/models/{NAME}"
    routes = [
        Route("/", show_page),
        Route("/health", health),
        Route("/metrics", show_metrics),
        Route("/card", card),
    ]
    for path in (base, base + "/versions/{version:int}"):
        routes += [
            Route(path + ":predict", predict, methods=["POST"]),
            Route(path + "/metadata", metadata),
            Route(path, describe),
        ]
    handlers = {HTTPException: http_error, Exception: internal_error}
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)


async def _body(request, limits):
    """The body, within its limits of size and time; RequestError 413 or 408 beyond them."""
    parts, size = [], 0

    async def read():
        nonlocal size
        async for part in request.stream():
            size += len(part)
            if size <= limits.body:
                parts.append(part)
            else:
                parts.clear()
            if size > DRAIN * limits.body:
                return

    late = False
    try:
        await asyncio.wait_for(read(), limits.body_seconds)
    except asyncio.TimeoutError:  # noqa: UP041  another class than TimeoutError before Python 3.11
        late = True
    if size > limits.body:
        raise protocol.RequestError(f"the body is larger than {limits.body} bytes", 413)
    if late:
        raise protocol.RequestError(f"the body did not arrive within {limits.body_seconds:g} s", 408)
    return b"".join(parts)


def _check_version(request, model):
    version = request.path_params.get("version", model.version)
    if version != model.version:
        raise HTTPException(404, f"{NAME} has no version {version}; it has {model.version}")


def _error(message, status, headers=None):
    return JSONResponse({"error": message}, status, headers)
