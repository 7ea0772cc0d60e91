"""What a model's file says of single training patients, to somebody who holds the records of candidates.

Prototypes are encodings of single patients. The attacks below have to succeed where prototypes are kept as they are,
else they would say nothing of the exports on which they fail.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics.arrays import CohortArrays, prepare
from hg_helpers.metrics.distances import neighbours
from hg_helpers.metrics.privacy import copy_threshold
from hg_helpers.model.synthesizer import Synthesizer
from hg_helpers.model.training import Trainer
from hg_helpers.runtime.checkpoint import load_checkpoint
from tests.bench import attack, pretrained

PATIENTS, SCHEMA = 240, replace(ART_DEMO, length=6)


class Model:
    """A trained v2 whose prototypes' owners are known, and the files that it is passed on as."""

    def __init__(self, config, folder) -> None:
        train, others = (simulate_cohort(PATIENTS, months=6, seed=seed) for seed in (1, 2))
        encoder = CohortEncoder(SCHEMA).fit(train)
        self.trainer = Trainer(encoder, config, "cpu")
        self.train, self.others = encoder.transform(train), encoder.transform(others)
        prototypes, owners = attack.with_owners(self.trainer, self.train, config.epochs)
        self.owner = {one.numpy().tobytes(): int(k) for one, k in zip(prototypes, owners, strict=True)}
        synthesizer = self.trainer.synthesizer()
        self.files = {kind: folder / f"{kind}.pt" for kind in ("kept", "gaussian", "clustered")}
        for kind, path in self.files.items():
            synthesizer.export(path, prototypes=kind, max_prototypes=500, group=60)

    def prototypes(self, kind: str) -> torch.Tensor:
        return Synthesizer.load(self.files[kind]).source.prototypes[:, 0]

    @torch.no_grad()
    def distances(self, kind: str, candidates: torch.Tensor) -> torch.Tensor:
        """From each vector of a file to each candidate, encoded as in training, in standard deviations."""
        encoded = self.trainer.autoencoder.encode(self.trainer.critic.embed(candidates)).mean(1)
        scale = self.trainer.source.prototypes[:, 0].std(0)
        return torch.cdist(self.prototypes(kind) / scale, encoded / scale)

    def membership(self, kind: str) -> float:
        """How well the distance to the nearest vector of a file tells training patients from others (AUC)."""
        closest = [self.distances(kind, x).amin(0) for x in (self.train, self.others)]
        return float(roc_auc_score(np.repeat([1, 0], PATIENTS), -torch.cat(closest)))


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory) -> Model:
    config = tiny("v2", lengths=(6,), hidden=16, latent=16, batch_size=24, epochs=6, buffer_size=500, lr_decay=True)
    return Model(config, tmp_path_factory.mktemp("files"))


def test_who_stands_behind_a_prototype_that_was_kept_can_be_told(model):
    owners = np.array([model.owner[one.numpy().tobytes()] for one in model.prototypes("kept")])
    named = model.distances("kept", model.train).argmin(1).numpy()
    assert len(owners) == 500 and len(set(owners)) > 200
    assert (named == owners).mean() > 0.3  # chance: 1 in 240


def test_the_bench_writes_down_who_stands_behind_a_prototype(tiny):
    x = CohortEncoder(SCHEMA).fit(table := simulate_cohort(30, months=6, seed=1)).transform(table)
    config = tiny("v2", lengths=(3, 6), epochs=2, batch_size=8, buffer_size=50, learning_rate=1e-9)
    trainer = Trainer(CohortEncoder(SCHEMA).fit(table), config, "cpu")
    trainer.fit(x, epochs=1, progress=False)
    prototypes, owners = attack.with_owners(trainer, x)
    assert len(prototypes) == 50 and (owners >= 0).sum() > 20
    with torch.no_grad():  # nothing has been learnt in between, so they can be made again
        latents = trainer.autoencoder.encode(trainer.critic.embed(x * trainer.weights))
    named, _ = attack.nearest(attack.views(latents, (3, 6)), prototypes)
    assert (named == owners)[owners >= 0].all()


def test_the_benchs_linear_map_finds_owners_where_there_is_one_and_nobody_where_there_is_none():
    random = torch.Generator().manual_seed(0)
    records = attack.views(torch.randn(400, 6, 12, generator=random), (2, 4, 6))
    owners, length = torch.randint(400, (300,), generator=random), torch.randint(3, (300,), generator=random)
    prototypes = records[owners, length] @ torch.randn(12, 8, generator=random)
    for given, least, most in ((prototypes, 0.9, 1.0), (torch.randn(300, 8, generator=random), 0.0, 0.05)):
        found = attack.linear_map(records[owners[:200]], given[:200])
        named, _ = attack.nearest(attack.guessed(found, records), given[200:])
        assert least <= (named == owners[200:]).float().mean() <= most


def test_no_vector_of_the_other_exports_is_anybodys(model):
    everybody = model.trainer.source.prototypes[:, 0].double()
    exact = "donot_use_mm_for_euclid_dist"  # the quick way leaves rounding where the distance is 0
    apart = {k: torch.cdist(model.prototypes(k).double(), everybody, compute_mode=exact).amin(1) for k in model.files}
    assert apart["kept"].max() == 0
    assert apart["gaussian"].min() > 0.01 and apart["clustered"].min() > 0.01
    assert len(apart["clustered"]) == 8  # 500 halved three times: 62 or 63 prototypes each


def test_membership_is_told_from_prototypes_that_were_kept_and_not_from_the_other_exports(model):
    found = {kind: model.membership(kind) for kind in model.files}
    assert found["kept"] > 0.6
    assert found["gaussian"] == pytest.approx(0.5, abs=0.06) and found["clustered"] == pytest.approx(0.5, abs=0.06)


def test_no_file_holds_the_networks_that_these_attacks_need(model):
    for path in model.files.values():
        held = load_checkpoint(path, "synthesizer")
        assert set(held) == {"format", "kind", "config", "encoder", "sampling_generator", "source"}
        assert set(held["source"]) == {"prototypes", "scale"}


# --- samples are not copies -------------------------------------------------------------------------------------------


class Nearness:
    """Training patients of the shipped models, and how near to them other people come who were never seen."""

    def __init__(self) -> None:
        self.model = Synthesizer.pretrained("v2_plus")
        seen, unseen = pretrained.training_cohort(), simulate_cohort(1000, seed=pretrained.HOLDOUT_SEED)
        self.train, others = prepare(ART_DEMO, self.model.encoder, seen=seen, unseen=unseen)
        self.threshold, self.table = copy_threshold(self.train), seen
        self.floor, self.floor_near = self.measure(others)

    def measure(self, cohort: pd.DataFrame | CohortArrays) -> tuple[float, float]:
        """The smallest distance to a training trajectory, and the share of patients nearer than the threshold."""
        (cohort,) = prepare(ART_DEMO, self.model.encoder, cohort=cohort)
        distance = neighbours(cohort, self.train).distance[:, 0]
        return float(distance.min()), float((distance < self.threshold).mean())

    def copied(self, cohort: pd.DataFrame) -> bool:
        """Whether somebody is clearly nearer to a training patient than any of 1,000 others, or too many are near."""
        closest, near = self.measure(cohort)
        return closest < 0.8 * self.floor or near > self.floor_near + 0.02


@pytest.fixture(scope="module")
def nearness() -> Nearness:
    return Nearness()


def test_a_patient_that_v2_plus_samples_is_no_training_patients_copy(nearness):
    assert 0 < nearness.floor < nearness.threshold
    assert not nearness.copied(nearness.model.sample(1000, seed=0))


@pytest.mark.parametrize("noise", [0.0, 0.05], ids=["exact", "laboratory values off by 5 %"])
def test_one_copied_patient_among_a_thousand_is_told(nearness, noise):
    sampled, rng = nearness.model.sample(1000, seed=0), np.random.default_rng(0)
    one = nearness.table[ART_DEMO.columns][lambda t: t["PatientID"] == t["PatientID"].iloc[-1]]
    for name in ("VL", "CD4"):
        one = one.assign(**{name: one[name] * np.exp(noise * rng.standard_normal(len(one)))})
    kept = sampled[sampled["PatientID"] > 0]
    assert nearness.copied(pd.concat([kept, one.assign(PatientID=0)[kept.columns]], ignore_index=True))
