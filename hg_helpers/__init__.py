"""Health Gym v2, the teaching series: from a cohort to synthetic patients, and why a naive generator loses people.

``import hg_helpers as hg``; public: `exercises`, `metrics`, `plots`, all of `cohort` and `model`, and the names here.
"""

import sys

__version__ = "2.0.0"

if sys.argv[:2] == ["-m", "demo"] and "--quiet" not in sys.argv:  # `python -m hg_helpers demo`: torch takes seconds
    print("loading torch and the other packages ...", file=sys.stderr, flush=True)

try:
    from . import cohort, exercises, metrics, model, plots
    from .app.describe import describe
    from .app.files import write_parts
    from .app.shorthand import setup, train
    from .cohort import *
    from .metrics import evaluate
    from .model import *
    from .runtime.checkpoint import load_checkpoint, save_checkpoint
    from .runtime.environment import seed_everything
except (ImportError, OSError) as error:  # OSError: a torch whose libraries do not load
    # `python -m hg_helpers doctor` must come past here to say what is absent; whoever uses a name is told at once
    _failed = error

    def __getattr__(name: str):
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from .app.doctor import import_failed

        raise ImportError(import_failed(_failed)) from _failed
else:
    __all__ = ["describe", "evaluate", "exercises", "load_checkpoint", "metrics", "plots", "save_checkpoint"]
    __all__ += ["seed_everything", "setup", "train", "write_parts", *cohort.__all__, *model.__all__]
