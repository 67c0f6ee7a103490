"""Many clients at `hand3d serve` on this machine: failed requests, throughput by one client's, memory.

    hand3d serve --port 8501 &
    python -m experiments.load_test --pid $! [--clients 64] [--seconds 60] [--image tests/fixtures/hand.jpg]

One client alone for a sixth of the time, then all of them.  Goals: no failed request; twice the throughput of
one client where a batch gains that; memory flat (its growth over the second half is printed).
"""

import argparse
import base64
import collections
import http.client
import json
import os
import re
import statistics
import sys
import threading
import time

PATH = "/v1/models/hand3d:predict"
HOST = "127.0.0.1"  # loopback alone: this is no tool against the machines of others
SAMPLE_SECONDS = 1.0


def client(port, body, until, times, outcomes):
    """Ask one request after the other, on one connection, until a time; collect seconds and statuses."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    while time.perf_counter() < until:
        start = time.perf_counter()
        try:
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            outcomes[response.status] += 1
        except OSError as error:
            outcomes[type(error).__name__] += 1
            connection.close()
        times.append(time.perf_counter() - start)
    connection.close()


def load(port, body, clients, seconds, pid=None):
    """Dict of what `clients` clients saw in `seconds`, and of the server's memory meanwhile, MiB."""
    times, outcomes, memory = [], collections.Counter(), []
    start = time.perf_counter()
    arguments = (port, body, start + seconds, times, outcomes)
    threads = [threading.Thread(target=client, args=arguments) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if pid:
            memory.append(resident_mib(pid))
        time.sleep(SAMPLE_SECONDS)
    taken = time.perf_counter() - start
    result = {
        "clients": clients,
        "requests": sum(outcomes.values()),
        "outcomes": {str(key): count for key, count in outcomes.items()},
        "failed": sum(count for key, count in outcomes.items() if key != 200),
        "requests_per_s": round(outcomes[200] / taken, 2),
        "median_s": round(statistics.median(times), 3),
        "slowest_s": round(max(times), 3),
    }
    if memory:
        half = memory[len(memory) // 2 :]
        result |= {
            "memory_mib": round(max(memory)),
            "growth_of_second_half_mib": round(half[-1] - half[0], 1),
        }
    return result


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) / 1024


def mean_batch(port):
    """Images by batches since the server started, from its metrics."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    total, count = (
        float(re.search(rf"hand3d_batch_images_{end} (\S+)", text)[1]) for end in ("sum", "count")
    )
    return total, count


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--pid", type=int, help="of the server, to watch its memory")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--image", default=os.path.join("tests", "fixtures", "hand.jpg"))
    arguments = parser.parse_args(argv)
    try:
        with open(arguments.image, "rb") as file:
            encoded = base64.b64encode(file.read()).decode()
        body = json.dumps({"instances": [{"b64": encoded}]}).encode()
        one = load(arguments.port, body, 1, arguments.seconds / 6)
        before = mean_batch(arguments.port)
        many = load(arguments.port, body, arguments.clients, arguments.seconds, arguments.pid)
        after = mean_batch(arguments.port)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    many["mean_batch"] = round((after[0] - before[0]) / max(1, after[1] - before[1]), 2)
    many["by_one_client"] = round(many["requests_per_s"] / max(one["requests_per_s"], 1e-9), 2)
    print(json.dumps({"one": one, "many": many}, indent=1))
    return 1 if many["failed"] or one["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
