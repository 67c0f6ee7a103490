"""Speed and memory of the renderer on this machine, and by what only encoding the same files takes.

    python -m experiments.benchmark_render [--count 400] [--workers 2] [--format rhd] [--backgrounds PHOTOS]

Each process renders its share, some samples at a time, and then encodes and writes them to a temporary
folder.  Start-up and the first samples (`--warm-up`), which bake textures and shape people, do not count.
`ratio` is the time of the whole by the time of the encoding; the CPU seconds hardly depend on what else the
machine does.  Memory is that of the largest process; `growth` is how much came after the first quarter.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time

from pipelines.render import provenance, shards, workers
from pipelines.render.options import add_independent, device

ROUND = 25  # samples that are kept in memory to be encoded again


def memory():
    """Resident memory of this process, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def write(out, layouts, first, samples):
    """Write samples as `shards.write_part` does."""
    from pipelines.records import write_shard
    from pipelines.render.rhd_layout import PartWriter

    if "tfrecord" in layouts:
        write_shard(os.path.join(out, f"{first:09d}.tfrecord"), samples)
    if "rhd" in layouts:
        writer = PartWriter(out, "training", first)
        for sample in samples:
            writer.add(sample)
        writer.finish(os.path.join(out, "parts", f"{first:09d}.labels"))


def measure(out, layouts, first, count, warm_up):
    """Runs in a worker -> dict of seconds (wall and CPU) to render and write, and to write; MB."""
    times = {"render": [0.0, 0.0], "encode": [0.0, 0.0]}
    for number in range(warm_up):
        workers.render(10**6 + first + number, "training")
    memories = []

    def timed(name, function):
        wall, cpu = time.perf_counter(), time.process_time()
        made = function()
        times[name][0] += time.perf_counter() - wall
        times[name][1] += time.process_time() - cpu
        return made

    for start in range(first, first + count, ROUND):
        seeds = range(start, min(start + ROUND, first + count))
        samples = timed("render", lambda seeds=seeds: [workers.render(seed, "training") for seed in seeds])
        timed("encode", lambda start=start, samples=samples: write(out, layouts, start, samples))
        memories.append(memory())
    quarter = memories[len(memories) // 4]
    return times | {"samples": count, "memory": max(memories), "growth": memories[-1] - quarter}


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--format", choices=tuple(shards.FORMATS), default="tfrecord")
    parser.add_argument("--backgrounds", help="folder of photographs; without it rooms are made up")
    parser.add_argument("--device", type=device, default="auto")
    parser.add_argument("--warm-up", type=int, default=24, help="samples that do not count")
    add_independent(parser)
    arguments = parser.parse_args(argv)
    arguments.seed = 0
    number, made = provenance.prepare(arguments, {"training": arguments.count})
    settings = provenance.renderer_settings(arguments, number)
    share = -(-arguments.count // arguments.workers)
    layouts = shards.FORMATS[arguments.format]
    with tempfile.TemporaryDirectory() as out, workers.Pool(arguments.workers, settings) as pool:
        from pipelines.render.rhd_layout import make_folders

        make_folders(out, "training")
        futures = [
            pool.submit(measure, out, layouts, k * share, share, arguments.warm_up)
            for k in range(arguments.workers)
        ]
        results = [workers.result(future) for future in futures]
    samples = sum(result["samples"] for result in results)
    report = {"rasteriser": made["training"]["rasteriser"], "samples": samples, "format": arguments.format}
    for index, unit in enumerate(("wall", "cpu")):
        render, encode = (sum(result[key][index] for result in results) for key in ("render", "encode"))
        report[f"{unit}_seconds_per_sample"] = round((render + encode) / samples, 4)
        report[f"{unit}_seconds_per_sample/encoding_only"] = round(encode / samples, 4)
        report[f"{unit}_ratio"] = round((render + encode) / encode, 2)
        if unit == "wall":
            slowest = max(result["render"][0] + result["encode"][0] for result in results)
            report["samples_per_second"] = round(samples / slowest, 2)
    report["samples_per_second/cores_alone"] = round(arguments.workers / report["cpu_seconds_per_sample"], 2)
    report["memory_mb"] = round(max(result["memory"] for result in results))
    report["growth_mb"] = round(max(result["growth"] for result in results))
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
