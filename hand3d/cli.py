"""The command `hand3d`: finds the sub-command in `hand3d.commands` and runs it.

Exit status: 0 all done, 1 some images failed, 2 bad arguments (nothing was done).
"""

import argparse
import importlib
import pkgutil
import sys

from hand3d import __version__, commands
from hand3d.commands.common import BAD_ARGUMENTS, INTERRUPTED, SOME_FAILED, UsageError, discard_stdout


def main(argv=None):
    """Run the command line.  argv: list of str, default sys.argv[1:].  Returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except UsageError as error:
        print(f"hand3d: error: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        discard_stdout()
        return SOME_FAILED
    except KeyboardInterrupt:
        print("hand3d: interrupted; finished images are kept", file=sys.stderr)
        return INTERRUPTED


def parser():
    """The argparse parser of all sub-commands: the modules of `hand3d.commands` with an `add_parser`."""
    top = argparse.ArgumentParser(prog="hand3d", description="3D hand pose from single RGB images.")
    top.add_argument("--version", action="version", version=f"hand3d {__version__}")
    choices = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for found in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"hand3d.commands.{found.name}")
        if hasattr(module, "add_parser"):
            module.add_parser(choices)
    return top
