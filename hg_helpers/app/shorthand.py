"""The way from a table to a trained model in one call, and the parts that it is short for.

>>> import dataclasses, hg_helpers as hg
>>> schema = dataclasses.replace(hg.ART_DEMO, length=6)
>>> model = hg.train(hg.simulate_cohort(30, months=6), "v1", schema, epochs=1, device="cpu", progress=False)
>>> len(model.train), len(model.holdout), len(model.sample(5, seed=2))  # six months of 24, 6 and 5 patients
(144, 36, 30)
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import torch

from ..cohort import ART_DEMO, CohortEncoder, Schema, load_cohort, split_patients
from ..metrics import evaluate
from ..model import Synthesizer, Trainer
from ..model.config import MODELS
from ..plots.style import STYLE
from ..runtime.distributed import Peers
from ..runtime.environment import seed_everything
from .files import split_of, write_split

log = logging.getLogger("hg_helpers")


@dataclass(frozen=True)
class Trained:
    """A trainer with the patients that it learns from (``train``) and those kept aside (``holdout``, perhaps nobody).

    ``split`` is what :meth:`save` writes beside the model: where the table came from, and the ids of both groups.
    """

    trainer: Trainer
    train: pd.DataFrame
    holdout: pd.DataFrame
    split: dict[str, Any]

    @property
    def encoder(self) -> CohortEncoder:
        """Turns a table into the tensor that the networks see, and back; fitted on ``train``."""
        return self.trainer.encoder

    @property
    def schema(self) -> Schema:
        """What the columns mean."""
        return self.encoder.schema

    @cached_property
    def synthesizer(self) -> Synthesizer:
        """What draws patients, with the margins of ``train`` (``match_margins``); it can be exported."""
        return self.trainer.synthesizer().match_margins(self.encoder.transform(self.train))

    def sample(self, patients: int, seed: int = 0, decode: str = "argmax") -> pd.DataFrame:
        """Synthetic patients as a table like the one that was given: :meth:`Synthesizer.sample`."""
        return self.synthesizer.sample(patients, seed=seed, decode=decode)

    def evaluate(self, synthetic: pd.DataFrame, **options: Any) -> pd.DataFrame:
        """Every metric beside its floor: :func:`hg_helpers.evaluate` with both groups of real patients."""
        if self.holdout.empty:
            raise ValueError("nobody was held out (holdout=0): call hg.evaluate with a table of other real patients")
        return evaluate(self.train, self.holdout, synthetic, self.schema, **options)

    def save(self, path: str | Path) -> None:
        """Write the trainer, and beside it who was in which group, as ``python -m hg_helpers train`` leaves them."""
        write_split(self.split, Path(path))
        self.trainer.save(path, self.synthesizer)


class _CellHandler(logging.Handler):
    """Writes to whatever ``sys.stdout`` is at the time: a notebook shows stderr as if it were an error."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(self.format(record) + "\n")


def _explain(shell: Any, kind: type, error: NameError, trace: Any, tb_offset: int | None = None) -> None:
    """Show the error as ever, and what it mostly means: a cell was left out."""
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    if kind is NameError:
        told = "a cell above makes it and has not run (menu Run: Run All Above), or it is spelled otherwise"
        sys.stdout.write(f"There is no `{error.name}` yet: {told}.\n")


def setup(seed: int = 0) -> None:
    """Prepare a notebook: seeds, the package's messages in the cell that causes them, and the look of all pictures."""
    seed_everything(seed)
    if not any(isinstance(handler, _CellHandler) for handler in log.handlers):
        log.addHandler(_CellHandler())
        log.propagate = False  # else a configured root logger would say everything twice
    log.setLevel(logging.INFO)
    matplotlib.rcParams.update(STYLE)
    if shell := sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None:
        shell.set_custom_exc((NameError,), _explain)
        # stored with the page, for readers without a kernel; ipywidgets would name the parts of the widget
        texts, words = shell.display_formatter.formatters["text/plain"], "(run this cell to have sliders here)"
        texts.for_type_by_name("ipywidgets.widgets.domwidget", "DOMWidget", lambda _, page, __: page.text(words))
    sys.stdout.write(f"hg_helpers is ready (seed {seed})\n")


def train(
    cohort: str | Path | pd.DataFrame | None,
    model: str = "v2_plus",
    schema: Schema | None = None,
    holdout: float | int = 0.2,
    seed: int = 0,
    epochs: int | None = None,
    device: str | torch.device = "auto",
    preset: str = "workshop",
    progress: bool = True,
) -> Trained:
    """Load, split, encode and train in one call; short for the parts that the result holds.

    ``cohort`` is what :func:`hg_helpers.load_cohort` takes (a table, a file, None for the bundled cohort), ``schema``
    what it means, by default ``ART_DEMO``; ``model`` is ``"v1"``, ``"v2"`` or ``"v2_plus"``. ``holdout`` patients, a
    share or a number, are kept aside; 0 trains on everybody. ``seed`` is that of the split, the initial weights and the
    noise. ``epochs`` are by default the ``preset``'s, ``"workshop"`` or ``"published"``, more where the table is small.
    A ValueError names a wrong setting or table, before training; TrainingStopped says that a loss is not finite.
    """
    begun = prepare(cohort, model, schema, holdout, device, {}, seed=seed, epochs=epochs, preset=preset)
    warn_if_cut_short(begun.trainer.fit(begun.encoder.transform(begun.train), progress=progress))
    return begun


def prepare(
    cohort: Any, model: str, schema: Schema | None, holdout: float, device: Any, reading: dict, **changes: Any
) -> Trained:
    """All of :func:`train` but the training; ``reading`` as for ``load_cohort``, ``changes`` to the configuration."""
    if model not in MODELS:
        raise ValueError(f"model {model!r} is none of {', '.join(MODELS)}")
    config = MODELS[model](**{name: value for name, value in changes.items() if value is not None})
    schema = schema or ART_DEMO
    table = load_cohort(cohort, schema=schema, **reading)
    data = "a table in memory" if isinstance(cohort, pd.DataFrame) else cohort and str(cohort)
    held_out = table.iloc[:0]
    if holdout:
        table, held_out = split_patients(table, holdout, seed=config.seed, schema=schema)
    split = split_of(data, holdout, config.seed, schema, table, held_out) | ({"reading": reading} if reading else {})
    encoder = CohortEncoder(schema).fit(table)
    if changes.get("epochs") is None:  # a small table gets the generator steps that the preset was tried with
        batches, tried = config.steps_per_epoch(table[schema.patient].nunique(), encoder.schema.length), (800, 60)
        epochs = max(config.epochs, -(-config.epochs * config.steps_per_epoch(*tried) // batches))
        why = f", as many steps as 800 patients of 60 months get in {config.epochs}" if epochs > config.epochs else ""
        log.info("training for %d epochs of %d batches, %d generator steps%s", epochs, batches, epochs * batches, why)
        config = replace(config, epochs=epochs)
    return Trained(Trainer(encoder, config, device, Peers()), table, held_out, split)


def warn_if_cut_short(history: pd.DataFrame) -> None:
    """Warn where the medians of a run's last two fifths say that it ended too early.

    The critic's estimate of the distance still rises (by more than 4 %) while it finds new differences; the moment
    loss, where a model has one, still falls (by more than 30 %) while the generator takes in shares and pairs.
    """
    rows, sign = len(history), None
    before, last = (history.iloc[rows * k // 5 : rows * (k + 1) // 5].median(numeric_only=True) for k in (3, 4))
    if rows < 10:
        sign = f"{rows} batches teach a model next to nothing"
    elif last["wasserstein"] > 1.04 * before["wasserstein"] > 0:
        sign = "in its last fifth the critic's estimate of the distance was still rising"
    elif last.get("moment_loss", 0) < 0.7 * before.get("moment_loss", 0):
        sign = "in its last fifth the moment loss was still falling"
    if sign:
        log.warning("this training was cut short: %s; give it more epochs", sign)
