"""uvicorn with a time limit for the head of a request, which it lacks: slow clients hold no connection."""

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0  # from a connection, or the first byte of a later request, to the end of its head


class PatientProtocol(H11Protocol):
    """Closes connections whose request's head does not arrive in time."""

    head_seconds = HEAD_SECONDS
    _timer = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._watch()

    def data_received(self, data):
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        if not idle:
            self._unwatch()
        elif self._timer is None:
            self._watch()

    def connection_lost(self, exc):
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self):
        self._timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _unwatch(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self):
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def serve(app, host, port, connections, finish_seconds):
    """Serve until SIGTERM or SIGINT; then what is under way has finish_seconds to end."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=connections,
        h11_max_incomplete_event_size=16 * 2**10,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=finish_seconds,
        lifespan="on",
    )
