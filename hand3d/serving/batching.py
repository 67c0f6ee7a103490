"""Dynamic batching: what arrives while the networks are busy is computed together."""

import asyncio
from concurrent.futures import ThreadPoolExecutor


class Overloaded(Exception):
    """More images wait than the queue holds."""


class Batcher:
    """Computes items of concurrent requests in batches, one batch at a time, in a thread of its own.

    run: function, list of items -> list of as many results.  most: items of a batch.  wait: seconds that a
    first item waits for company while nothing is computed.  queue: items that may wait.  observe: called with
    the size of each batch.
    """

    def __init__(self, run, most, wait, queue, observe=lambda size: None):
        self.run, self.most, self.wait, self.limit, self.observe = run, most, wait, queue, observe
        self._waiting = []  # (item, future), oldest first
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hand3d-compute")
        self._task = None

    def __len__(self):
        return len(self._waiting)

    def start(self):
        """Begin to compute; call within the event loop."""
        self._task = asyncio.create_task(self._loop())

    async def stop(self):
        """Finish the batch under way and stop; what still waits is cancelled."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def submit(self, items):
        """Results of some items, in order.  Raises Overloaded, or what `run` raised."""
        if len(self._waiting) + len(items) > self.limit:
            raise Overloaded
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in items]
        self._waiting += zip(items, futures, strict=True)
        self._arrived.set()
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:  # the caller gave up: do not compute what nobody reads
                future.cancel()

    async def alone(self, function, *arguments):
        """Run a function in the thread of the batches, between two of them."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _loop(self):
        while True:
            self._waiting = [pair for pair in self._waiting if not pair[1].done()]
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                if len(self._waiting) < self.most:
                    await asyncio.sleep(self.wait)
                continue
            batch, self._waiting = self._waiting[: self.most], self._waiting[self.most :]
            self.observe(len(batch))
            try:
                results = await self.alone(self.run, [item for item, _ in batch])
            except Exception as error:
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
