"""`python -m hg_helpers`: the command line; what it can do stands in :mod:`hg_helpers.app.cli`."""

import sys

from .app.cli import main

if __name__ == "__main__":
    sys.exit(main())
