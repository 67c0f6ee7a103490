"""One program at a time writes to a folder of records: the renderer, the converters and `pipelines.mix`."""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows: nobody keeps two programs apart
    fcntl = None

NAME = ".lock"


@contextlib.contextmanager
def locked(out):
    """The folder, made if need be, for this run alone.

    OSError with a remedy if it cannot be written to or is in use.  The lock goes with the process, however it
    ends; its file goes with the run.
    """
    try:
        os.makedirs(out, exist_ok=True)
        file = _open(os.path.join(out, NAME))
    except BlockingIOError:
        raise OSError(f"{out} is in use by another run; wait for it or give another --out") from None
    except OSError as error:
        raise OSError(f"cannot write to {out} ({error.strerror}); give another --out") from error
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file.name)


def _open(path):
    """The lock file, open and locked; BlockingIOError if another process has it."""
    while True:
        file = open(path, "w")
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass  # removed by the run that has just ended: what is locked is no longer the folder's
        except BaseException:
            file.close()
            raise
        file.close()
