"""`python -m diffsim` is the same as the command `diffsim`."""

import sys

from diffsim.cli import main

if __name__ == "__main__":
    sys.exit(main())
