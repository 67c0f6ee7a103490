"""Training programs side by side, each in a process with its share of the cores.

Networks as small as ours gain little from a second core: two cores do half as much again with one training on
each as with one after the other.
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import importlib
import multiprocessing
import os
import time

import keras

from experiments import run_folder
from hand3d.cores import cores, has_graphics_card
from hand3d.files import write_atomic
from pipelines.processes import follow_parent

OUTPUT, SECONDS = "output.txt", "seconds.txt"
EVERY = 2.0  # seconds between looks at the logs


def jobs_for(count):
    """How many of `count` trainings to run at a time: one on a graphics card, else one a core."""
    return 1 if has_graphics_card() else max(1, min(cores(), count))


def add_argument(parser):
    """--jobs of every program that trains side by side; None where it is not given."""
    text = "networks to train at a time; by default one a core"
    parser.add_argument("--jobs", type=_at_least_one, metavar="N", help=text)


def _at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1 expected, got {number}")
    return number


def options_of(folder, name, data, identity, settings, backgrounds=None):
    """(run folder, arguments) of a training program.

    The run folder is FOLDER/NAME-HASH, of all that its network depends on, so that other settings or other
    data train anew.  data: of --data; identity: a text that says what that holds; settings: of --set.
    """
    key = repr((tuple(settings), identity, backgrounds)).encode()
    run = os.path.join(folder, f"{name}-{hashlib.sha256(key).hexdigest()[:10]}")
    arguments = ["--data", data, "--run", run, *(f"--set={one}" for one in settings)]
    return run, arguments + (["--backgrounds", backgrounds] if backgrounds else [])


def train(trainings, jobs=None):
    """Runs those training programs that have not ended yet, in this order.

    trainings: {name: (program, arguments)}, such as ("experiments.lifting", ["--data", ..., "--run", RUN]).
    Whether one has ended says its run folder alone, so other arguments need another folder.
    jobs: how many at a time; None for as many as the machine is good for.

    A run folder gets seconds.txt when its program has ended, and what the program printed in output.txt,
    unless it had the machine to itself.  Raises what a program raises, SystemExit for instance, when those
    that are running have ended; OSError if one was killed.  The same call goes on where it was.
    """
    left = {name: each for name, each in trainings.items() if seconds(_folder(each[1])) is None}
    jobs = min(jobs or jobs_for(len(left)), len(left))
    if jobs < 2:
        for program, arguments in left.values():
            _run(program, arguments)
        return
    share = max(1, cores() // jobs)
    print(f"training {', '.join(left)}: {jobs} at a time, threads for each: {share}", flush=True)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context, follow_parent) as pool:
        tasks = [pool.submit(_run_apart, *each, share) for each in left.values()]
        try:
            _watch(tasks, left)
        except concurrent.futures.process.BrokenProcessPool:
            reason = "a training ended suddenly (out of memory?); the same command goes on where it was"
            raise OSError(f"{reason}, with fewer --jobs if need be") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def seconds(run):
    """How long the training of a run folder took, the last time it was started; None if it has not ended."""
    path = os.path.join(run, SECONDS)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return float(file.read())


def _watch(tasks, trainings):
    """Prints each epoch as it ends, until all tasks have; raises what one of them raised."""
    waiting = set(tasks)
    shown = {name: len(_log(arguments)) for name, (_, arguments) in trainings.items()}
    while waiting:
        done, waiting = concurrent.futures.wait(waiting, EVERY, concurrent.futures.FIRST_COMPLETED)
        for name, (program, arguments) in trainings.items():
            rows, column = _log(arguments), importlib.import_module(program).OPTIONS["monitor"]
            for row in rows[shown[name] :]:
                print(f"{name}: epoch {int(row['epoch']) + 1}, {column} {row[column]:.4g}", flush=True)
            shown[name] = len(rows)
        for task in done:
            task.result()


def _log(arguments):
    return run_folder.read_log(_folder(arguments))


def _folder(arguments):
    return arguments[arguments.index("--run") + 1]


def _run(program, arguments):
    start = time.time()
    try:
        importlib.import_module(program).main(arguments)
    finally:
        keras.config.set_dtype_policy("float32")
        keras.utils.clear_session()
    write_atomic(os.path.join(_folder(arguments), SECONDS), f"{time.time() - start:.1f}\n".encode())


def _run_apart(program, arguments, threads):
    """The same in a process of its own."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    os.makedirs(_folder(arguments), exist_ok=True)
    with open(os.path.join(_folder(arguments), OUTPUT), "a", encoding="utf-8") as file:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            _run(program, arguments)
