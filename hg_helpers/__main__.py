"""`python -m hg_helpers`: the command line; what it can do stands in :mod:`hg_helpers.app.cli`."""

from __future__ import annotations

import sys

from .app.doctor import doctor, import_failed


def main(arguments: list[str] | None = None) -> int:
    """Run one command; where a package is absent or broken, say which and what else is not in place."""
    try:
        from .app.cli import main as run
    except (ImportError, OSError) as error:  # OSError: a torch whose libraries do not load
        doctor()
        print(f"error: {import_failed(error)}", file=sys.stderr)
        return 1
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
