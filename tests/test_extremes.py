"""Cohorts and rates at the edge of sense: finite to the last number, or stopped with words that say what to do."""

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import hg_helpers
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.schema import Schema
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model.synthesizer import Synthesizer
from hg_helpers.model.training import Trainer, TrainingStopped
from hg_helpers.runtime.checkpoint import load_checkpoint

MODELS = ["v1", "v2", "v2_plus"]


def patients(cohort: pd.DataFrame, *numbers: int) -> pd.DataFrame:
    """The cohort's first, second ... patient; the same one may be asked for again and is another person then."""
    ids = cohort["PatientID"].unique()
    return pd.concat(
        [cohort[cohort["PatientID"] == ids[k]].assign(PatientID=i) for i, k in enumerate(numbers)], ignore_index=True
    )


@pytest.fixture(scope="module")
def extremes(cohort: pd.DataFrame, schema: Schema) -> dict[str, tuple[Schema, pd.DataFrame, dict]]:
    """Of each extreme the schema, the table and what it changes in the configuration."""
    names = [feature.name for feature in schema]
    seldom = cohort["Ethnic"] != cohort["Ethnic"].mode()[0]
    return {
        "a rate of 10": (schema, cohort, {"learning_rate": 10.0, "epochs": 4}),
        "a rate of 100": (schema, cohort, {"learning_rate": 100.0}),
        "reals weighted a million times": (schema, cohort, {"real_weight": 1e6}),
        "all columns constant": (schema, cohort.assign(**{n: cohort[n].iloc[0] for n in names}), {}),
        "reals constant, one at zero": (schema, cohort.assign(VL=5.0, CD4=0.0), {}),
        "a level never seen": (schema, cohort[~cohort["PatientID"].isin(cohort.loc[seldom, "PatientID"])], {}),
        "patients all alike": (schema, patients(cohort, *[0] * 20), {}),
        "two patients": (schema, patients(cohort, 0, 1), {}),
        "two patients, one a batch": (schema, patients(cohort, 0, 1), {"batch_size": 1}),
        "two patients alike": (schema, patients(cohort, 0, 0), {}),
        "one month": (replace(schema, length=1), cohort, {}),
        "one month of two alike": (replace(schema, length=1), patients(cohort, 0, 0), {}),
        "one month, one patient a batch": (replace(schema, length=1), patients(cohort, 0, 1), {"batch_size": 1}),
        "240 months": (replace(schema, length=240), simulate_cohort(4, months=240, seed=2), {"epochs": 1}),
    }


EXTREMES = [
    "a rate of 10",
    "a rate of 100",
    "reals weighted a million times",
    "all columns constant",
    "reals constant, one at zero",
    "a level never seen",
    "patients all alike",
    "two patients",
    "two patients, one a batch",
    "two patients alike",
    "one month",
    "one month of two alike",
    "one month, one patient a batch",
    "240 months",
]


def numbers(state) -> list[torch.Tensor]:
    """All tensors of a checkpoint."""
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else []
    return [one for part in inner for one in numbers(part)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", EXTREMES)
def test_an_extreme_stays_finite_or_stops_with_a_remedy(extremes, tiny, tmp_path, name, model):
    assert list(extremes) == EXTREMES
    schema, table, changes = extremes[name]
    encoder, path = CohortEncoder(schema).fit(table), tmp_path / "model.pt"
    trainer = Trainer(encoder, tiny(model, **changes), "cpu")
    try:
        trainer.fit(encoder.transform(table), checkpoint=path, progress=False)
    except TrainingStopped as stopped:
        assert "lower learning_rate" in str(stopped) and "rate" in name  # nothing but the rate may run away
        return
    state = load_checkpoint(path, "trainer")
    assert all(torch.isfinite(one).all() for one in numbers(state)) and len(numbers(state)) > 20
    assert np.isfinite(trainer.history).all(axis=None) and len(trainer.history) > 0
    for decode in ("argmax", "sample"):
        sampled = Synthesizer.load(path).sample(20, decode=decode)
        assert len(sampled) == 20 * schema.length
        assert all(np.isfinite(sampled[f.name]).all() for f in schema.real)
        for feature in schema.real:  # what is constant stays so; nobody leaves the training patients' range
            low, high = table[feature.name].min(), table[feature.name].max()
            assert sampled[feature.name].between(low * (1 - 1e-6) - 1e-6, high * (1 + 1e-6) + 1e-6).all()


@pytest.mark.parametrize("model", MODELS)
def test_one_patient_alone_is_refused_with_the_number_that_it_takes(cohort, schema, tiny, model):
    table = patients(cohort, 0)
    encoder = CohortEncoder(schema).fit(table)
    with pytest.raises(ValueError, match="at least 2 patients, not 1"):
        Trainer(encoder, tiny(model), "cpu").fit(encoder.transform(table), progress=False)


# --- a model that has run away all the same ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran_away(encoder, tiny, x):
    """Trainers whose weights became useless in the very last step, which no loss has seen."""

    def spoil(value):
        def callback(trainer, row):
            if row["step"] == 5:
                with torch.no_grad():
                    for network in filter(None, (trainer.generator, trainer.average)):
                        for weights in network.parameters():
                            weights.fill_(value)

        return callback

    made = {}
    for model in MODELS:
        for value in (math.nan, 1e38):  # finite, but their products are not
            made[model, value] = Trainer(encoder, tiny(model, epochs=1), "cpu")
            made[model, value].fit(x, progress=False, callbacks=[spoil(value)])
    return made


@pytest.mark.parametrize("value", [math.nan, 1e38])
@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_ran_away_gives_no_patients(ran_away, tmp_path, model, value):
    synthesizer = ran_away[model, value].synthesizer()
    for decode in ("argmax", "sample"):  # without this, levels come out as the first of each, and nothing is NaN
        with pytest.raises(ValueError, match=r"no longer finite.*lower learning_rate"):
            synthesizer.sample(3, decode=decode)
    for write in (synthesizer.to_csv, synthesizer.to_parquet):
        with pytest.raises(ValueError, match="no longer finite"):
            write(tmp_path / "table", 3)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("model", MODELS)
def test_a_model_that_ran_away_is_not_written(ran_away, tmp_path, model):
    synthesizer = ran_away[model, math.nan].synthesizer()
    for write in (synthesizer.save, synthesizer.export):
        with pytest.raises(ValueError, match=r"(given|lstm\.input_weight) is no longer finite.*lower learning_rate"):
            write(tmp_path / "model.pt")
    with pytest.raises(TrainingStopped, match="no longer finite"):
        ran_away[model, math.nan].save(tmp_path / "model.pt")
    assert os.listdir(tmp_path) == []


# --- the same numbers in another process ------------------------------------------------------------------------------

TRAINED = """
import sys, torch
torch.set_num_threads(1)
from hg_helpers.model.training import Trainer
for model in sys.argv[2:]:
    trainer = Trainer.load(f"{sys.argv[1]}/{model}.pt", "cpu")
    trainer.fit(torch.load(f"{sys.argv[1]}/x.pt"), progress=False)
    for decode in ("argmax", "sample"):
        trainer.synthesizer().to_csv(f"{sys.argv[1]}/{model} {decode}.csv", 300, seed=4, decode=decode)
    torch.save([p.detach() for p in trainer.generator.parameters()], f"{sys.argv[1]}/{model} weights.pt")
"""


def test_a_new_process_trains_and_samples_the_same_to_the_last_bit(encoder, tiny, x, tmp_path, monkeypatch):
    for name in ("here", "new"):
        (tmp_path / name).mkdir()
        torch.save(x, tmp_path / name / "x.pt")
        for model in MODELS:
            Trainer(encoder, tiny(model, epochs=1), "cpu").save(tmp_path / name / f"{model}.pt")
    paths = os.pathsep.join([str(Path(hg_helpers.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    # the order of a set of strings differs between the two
    surroundings = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", TRAINED, str(tmp_path / "new"), *MODELS]
    new = subprocess.Popen(command, env=surroundings, stderr=subprocess.PIPE)
    monkeypatch.setattr(sys, "argv", ["-c", str(tmp_path / "here"), *MODELS])
    exec(TRAINED, {})
    _, errors = new.communicate(timeout=200)
    assert new.returncode == 0, errors.decode()
    for model in MODELS:
        names = [f"{model} argmax.csv", f"{model} sample.csv", f"{model} weights.pt"]
        one, other = (
            [hashlib.sha256((tmp_path / where / n).read_bytes()).hexdigest() for n in names]
            for where in ("here", "new")
        )
        assert one == other, model
        begun = load_checkpoint(tmp_path / "new" / f"{model}.pt", "trainer")["networks"]["generator"]
        trained = torch.load(tmp_path / "new" / f"{model} weights.pt")
        same = [name for name, old, new in zip(begun, begun.values(), trained, strict=True) if torch.equal(old, new)]
        assert set(same) <= {"follow"}  # it did train; a switch that follows another needs one to follow
