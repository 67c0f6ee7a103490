"""`python -m hand3d` is the command `hand3d`."""

import sys

from hand3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
