"""The shipped models are those that the data card describes."""

import re
from pathlib import Path

import pytest

from hg_helpers import metrics
from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.model.synthesizer import Synthesizer
from tests.bench import pretrained

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def card() -> dict[str, dict[str, float]]:
    """The data card's table: ``{row: {model: number}}``."""
    text = (DATA / "README.md").read_text(encoding="utf-8").split("# Data card: `pretrained/`")[1]
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in re.findall(r"^\|.*\|$", text, re.M)]
    return {row[0]: dict(zip(head[1:], map(float, row[1:]), strict=True)) for row in rows}


@pytest.fixture(scope="module")
def others():
    return simulate_cohort(pretrained.PATIENTS, seed=pretrained.HOLDOUT_SEED)


@pytest.mark.parametrize("name", list(pretrained.CONFIGS))
def test_a_shipped_model_scores_what_the_data_card_says(name, card, others):
    assert (DATA / "pretrained" / f"{name}.pt").stat().st_size < 4e6
    found = pretrained.card(others, Synthesizer.pretrained(name).sample(4000, seed=0))
    assert set(found) == set(card)
    for row, value in found.items():  # another processor rounds otherwise, which moves few of 4,000 patients
        assert value == pytest.approx(card[row][name], abs=0.02, rel=0.05), row


def test_the_floor_is_what_the_data_card_says(card, others):
    found = pretrained.card(others, pretrained.training_cohort())
    assert {row: round(value, 2) for row, value in found.items()} == {row: card[row]["floor"] for row in card}


def test_a_run_that_was_stopped_goes_on_and_exports(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(pretrained, "PATIENTS", 40)
    monkeypatch.setattr(pretrained, "CONFIGS", {"v2": tiny("v2", epochs=2)})
    for _ in range(2):  # the second call finds a finished run and only exports
        pretrained.make("v2", tmp_path / "out", tmp_path / "work")
    shipped = Synthesizer.load(tmp_path / "out" / "v2.pt")
    assert shipped.config == tiny("v2", epochs=2)
    assert len(shipped.sample(3)) == 180
    assert metrics.coverage(pretrained.training_cohort(), shipped.sample(40), ART_DEMO)[0] >= 0
