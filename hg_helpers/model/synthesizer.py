"""A trained generator as a user wants it: ask for patients, get a table. No critic, no training patients' table.

>>> table = Synthesizer.pretrained("v2").sample(3, seed=0)
>>> table["PatientID"].nunique(), len(table)  # 60 months each
(3, 180)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..cohort.encoding import CohortEncoder
from ..runtime.checkpoint import atomic, load_checkpoint, naming, not_finite, save_checkpoint
from ..runtime.checks import one_of, whole_number
from ..runtime.download import data_folder
from ..runtime.environment import seeded, torch_as_we_mean_it
from .config import TrainConfig, build_generator, build_source
from .heads import change_rates, level_shares, scheduled
from .latent import GaussianPrototypes, LatentBuffer, group_means
from .networks import Generator

#: Patients that are computed together, always all of them, so that no row depends on how many were asked for.
BLOCK = 256
#: Patient-months that go through the generator at once; more cost more each, as glibc fetches beyond 32 MB anew.
AT_ONCE = 2**14
REMEDY = "its training ran away; train again with a lower learning_rate, or load an earlier checkpoint"
Progress = Callable[[int], None] | None  # told how many patients have been written so far


class Synthesizer:
    """Draws patients in the layout of the cohort trained on; made by ``trainer.synthesizer()`` or :meth:`load`."""

    def __init__(self, encoder: CohortEncoder, config: TrainConfig, generator: Generator, source: nn.Module) -> None:
        self.encoder = copy.deepcopy(encoder)  # whoever fits theirs anew later does not change this model
        self.config, self.generator, self.source = config, generator, source
        self.scheduled: Tensor | None = None  # (months, channels), what a visit always holds; NaN where it may vary

    def sample(self, patients: int, seed: int = 0, decode: str = "argmax") -> pd.DataFrame:
        """Draw synthetic patients: one row a patient and month, in the cohort's order of columns, codes and units.

        The same seed gives the same rows; the first 100 of 1,000 patients are the 100 patients of that seed. ``decode``
        takes each discrete feature's most probable level (``"argmax"``) or draws from its probabilities (``"sample"``);
        Gumbel heads bring their own draw. A model that has run away is a ValueError, an empty buffer a RuntimeError.
        """
        return pd.concat(self.sample_blocks(patients, seed, decode), ignore_index=True)

    def sample_blocks(self, patients: int, seed: int = 0, decode: str = "argmax", start: int = 0) -> Iterator:
        """As :meth:`sample`, in tables of at most 256 patients; without those before ``start``, a multiple of 256."""
        encoded = self.sample_encoded(patients, seed, decode, start)  # refuses wrong input here, not at the first table
        return (self.encoder.inverse_transform(x, first_patient=first) for first, x in encoded)

    def sample_encoded(self, patients: int, seed: int = 0, decode: str = "argmax", start: int = 0) -> Iterator:
        """As :meth:`sample_blocks` before decoding: (first patient's number, (patients, months, channels))."""
        patients, seed = whole_number("patients", patients), whole_number("seed", seed, 0, 2**32 - 1)
        one_of("decode", decode, "argmax", "sample")
        if (start := whole_number("start", start, 0)) % BLOCK:
            raise ValueError(f"start must be a multiple of {BLOCK}, not {start!r}")
        firsts = range(start, patients, BLOCK)
        return ((first, self._block(first // BLOCK, seed, decode)[: patients - first]) for first in firsts)

    @torch_as_we_mean_it()
    @torch.no_grad()
    def _block(self, number: int, seed: int, decode: str) -> Tensor:
        entropy = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
        random, months = torch.Generator().manual_seed(int(entropy[0])), self.encoder.layout.length
        device = next(self.generator.eval().parameters()).device
        noise = self.source.draw(BLOCK, months, random).to(device)
        draws = self.generator.draws(BLOCK, months, random, decode).each(lambda drawn: drawn.to(device))
        at_once = max(1, AT_ONCE // months)
        parts = [slice(first, first + at_once) for first in range(0, BLOCK, at_once)]
        x = torch.cat([self.generator(noise[part], draws.each(itemgetter(part))) for part in parts])
        if not torch.isfinite(x).all():  # decoding would turn it into NaN, or silently into each first level
            raise ValueError(f"the generator's values are no longer finite, so nothing can be sampled: {REMEDY}")
        return x.cpu() if self.scheduled is None else torch.where(self.scheduled.isnan(), x.cpu(), self.scheduled)

    def to_csv(
        self, path: str | Path, patients: int, seed: int = 0, decode: str = "argmax", progress: Progress = None
    ) -> None:
        """Write :meth:`sample` to a CSV file (``.csv`` or ``.csv.gz``) block by block."""
        # pandas takes the compression from the name, and the temporary name does not show it
        how = {"index": False, "compression": "gzip" if str(path).endswith(".gz") else None}
        with atomic(path) as temporary:
            for done, table in self._counted(patients, seed, decode, progress):
                table.to_csv(temporary, mode="a" if done else "w", header=not done, **how)

    def to_parquet(
        self, path: str | Path, patients: int, seed: int = 0, decode: str = "argmax", progress: Progress = None
    ) -> None:
        """As :meth:`to_csv`, to a Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with atomic(path) as temporary, ExitStack() as stack:  # the writer closes before the file is renamed or removed
            for done, table in self._counted(patients, seed, decode, progress):
                arrow = pa.Table.from_pandas(table, preserve_index=False)
                if not done:
                    writer = stack.enter_context(pq.ParquetWriter(temporary, arrow.schema))
                writer.write_table(arrow)

    def _counted(self, patients: int, seed: int, decode: str, progress: Progress) -> Iterator[tuple[int, pd.DataFrame]]:
        for done, table in enumerate(self.sample_blocks(patients, seed, decode)):
            yield done, table
            if progress is not None:
                progress(min((done + 1) * BLOCK, patients))

    @torch_as_we_mean_it()
    @torch.no_grad()
    def match_margins(self, x: Tensor, patients: int = 2048, rounds: int = 12) -> Synthesizer:
        """This model, its levels as frequent and its features changing as often as in real patients, encoded (B, L, C).

        Training leaves the order of switches right and their number some quarter off; what is rare, as gaps are, stands
        too often. Each round draws the same synthetic patients, and moves biases by the logarithm of real over
        synthetic: half of it for a level, for the changes of a feature the mean of its own and those of any; and half
        as far as before where a bias overshot. What no real patient has, and models without ``hold_or_switch``, stay as
        they are. What all real patients have at a visit (a value not measured at the first), synthetic ones get there.
        """
        if not self.config.hold_or_switch:
            return self
        generator, bias = self.generator, self.generator.body[-1].bias
        self.scheduled = scheduled(generator, x.cpu())
        least = 1 / patients / x.shape[1]  # where none is there, as if one were
        real, shares = change_rates(generator, x.cpu()), level_shares(generator, x.cpu())
        before, pace = torch.zeros(len(bias)), torch.full((len(bias),), 0.5)
        for _ in range(rounds):
            made = torch.cat([block for _, block in self.sample_encoded(patients)])
            steps = (real / change_rates(generator, made).clamp_min(least)).log().clamp(-1, 1)
            levels = (shares / level_shares(generator, made).clamp_min(least)).log().clamp(-1, 1)
            steps = torch.cat([torch.where(shares > 0, levels, 0), torch.where(real > 0, steps + steps[-1], 0)[:-1]])
            # where the trunk hears what decides a switch, a bias may do several times what it does in a lone logit
            before, pace = steps, torch.where(steps * before < 0, pace / 2, pace)
            bias += (pace * steps).to(bias.device)
        return self

    def state(self) -> dict[str, Any]:
        """What sampling needs, and nothing else; a ValueError names the weight that is not a finite number."""
        held = {"sampling_generator": self.generator.state_dict(), "source": self.source.state_dict()}
        if (name := not_finite(held["sampling_generator"] | held["source"])) is not None:
            raise ValueError(f"{name} is no longer finite, so the model is not written: {REMEDY}")
        held |= {} if self.scheduled is None else {"scheduled": self.scheduled}
        return {"kind": "synthesizer", "config": self.config.to_dict(), "encoder": self.encoder.state(), **held}

    def save(self, path: str | Path) -> None:
        """Write the model with all its prototypes; :meth:`load` reads it."""
        save_checkpoint(path, self.state())

    def export(
        self, path: str | Path, prototypes: str = "kept", max_prototypes: int = 2000, group: int = 100, seed: int = 0
    ) -> None:
        """Write a model to pass on: as :meth:`save`, with fewer prototypes, or with none that is a single patient's.

        ``prototypes`` are ``"kept"``, a random subset as they are, each the encoding of one training patient;
        ``"gaussian"``, draws with their mean and covariance; or ``"clustered"``, means of at least ``group`` neighbours
        (a patient has one for each batch); at most ``max_prototypes``. hg_helpers/README.md: what each costs.
        """
        max_prototypes, group = whole_number("max_prototypes", max_prototypes), whole_number("group", group)
        random = torch.Generator().manual_seed(whole_number("seed", seed, 0))
        one_of("prototypes", prototypes, "kept", "gaussian", "clustered")
        state = self.state()
        if isinstance(self.source, LatentBuffer):
            points = self.source.prototypes.cpu()
            if prototypes != "kept":
                self.source.choose(1, random)  # refuses an empty buffer
            if prototypes == "gaussian":
                normal = GaussianPrototypes(self.config.latent)
                normal.prototypes = points
                points = normal.choose(max_prototypes, random)
            elif prototypes == "clustered":
                points = group_means(points, group)
            if len(points) > max_prototypes:
                points = points[torch.randperm(len(points), generator=random)[:max_prototypes]].clone()
            state["source"] = {**state["source"], "prototypes": points}
        save_checkpoint(path, state)

    @classmethod
    @torch_as_we_mean_it()
    def load(cls, path: str | Path) -> Synthesizer:
        """Read, on the CPU, what :meth:`save`, :meth:`export` or a trainer wrote; an error names any other file."""
        state = load_checkpoint(path, "synthesizer", "trainer")
        with naming(path), seeded(0):
            config, encoder = TrainConfig(**state["config"]), CohortEncoder.from_state(state["encoder"])
            generator, source = build_generator(encoder.layout, config), build_source(config)
            generator.load_state_dict(state["sampling_generator"])
            source.load_state_dict(state["source"])
        made = cls(encoder, config, generator, source)
        made.scheduled = state.get("scheduled")
        return made

    @classmethod
    def pretrained(cls, name: str) -> Synthesizer:
        """A model of the package: ``"v1"``, ``"v2"`` or ``"v2_plus"``; data/README.md says how it was made."""
        folder = data_folder() / "pretrained"
        shipped = sorted(path.stem for path in folder.glob("*.pt"))
        if name not in shipped:
            raise ValueError(f"no shipped model {name!r}; {folder} has: {', '.join(shipped) or 'none'}")
        return cls.load(folder / f"{name}.pt")
