"""The checks of notebook 05: right answers pass, likely mistakes are named, nonsense gets a message."""

import numpy as np
import pandas as pd
import pytest

from hg_helpers import exercises

CHECKS = {
    name: getattr(exercises, name)
    for name in (
        "check_floor",
        "check_ks",
        "check_mean_correlation",
        "check_coverage",
        "check_suspects",
    )
}


def halves(cohort, metric, patients, seed, second=None):
    ids = np.random.default_rng(seed).permutation(cohort["PatientID"].unique())
    first, other = ids[:patients], ids[patients : 2 * patients]
    if second == "same":
        other = first
    if second == "rest":
        other = ids[patients:]
    return metric(*(cohort[cohort["PatientID"].isin(chosen)] for chosen in (first, other)))


def rows(cohort, metric, patients, seed):
    order = cohort.sample(frac=1, random_state=seed)
    half = len(order) // 2
    return metric(order.iloc[:half], order.iloc[half:])


def gap(a, b, at=None):
    at = np.concatenate([a, b]) if at is None else at
    return (a[:, None] <= at).mean(axis=0) - (b[:, None] <= at).mean(axis=0)


def covered(real, synthetic):
    kept = real >= 0.005
    return synthetic[kept] >= 0.25 * real[kept]


RIGHT = {
    "check_floor": halves,
    "check_ks": lambda a, b: np.abs(gap(a, b)).max(),
    "check_mean_correlation": lambda r: np.tanh(np.arctanh(r[~np.isnan(r)]).mean()),
    "check_coverage": lambda r, s: covered(r, s).mean(),
    "check_suspects": {"A": "single mode", "B": "real", "C": "shuffled", "D": "copies"},
}

MISTAKES = [
    ("check_floor", lambda c, m, n, s: halves(c, m, n, s, "same"), "comparing people with themselves"),
    ("check_floor", rows, "rows were drawn, not patients"),
    ("check_floor", lambda c, m, n, s: halves(c, m, n, s, "rest"), "not 5"),
    ("check_floor", lambda c, m, n, s: halves(c, m, n, 0), "three different seeds"),
    ("check_floor", lambda c, m, n, s: halves(c, m, n, s) + 1, "is not what your function returns"),
    ("check_floor", lambda c, m, n, s: 0.125, "never called"),
    ("check_ks", lambda a, b: gap(a, b).max(), "sign"),
    ("check_ks", lambda a, b: np.abs(gap(a, b)).mean(), "mean gap"),
    ("check_ks", lambda a, b: np.abs(gap(a, b, a)).max(), "first sample only"),
    ("check_ks", lambda a, b: np.abs(gap(a, b) * 2).max(), "the answer is"),
    ("check_mean_correlation", np.nanmean, "averages the correlations themselves"),
    ("check_mean_correlation", lambda r: np.nanmean(np.arctanh(r)), "still on Fisher's scale"),
    ("check_mean_correlation", lambda r: np.tanh(np.nan_to_num(np.arctanh(r)).mean()), "counted as 0"),
    ("check_mean_correlation", lambda r: np.tanh(np.arctanh(r).mean()), "leave NaN out first"),
    ("check_coverage", lambda r, s: (s[r >= 0.005] > 0).mean(), "anybody there was enough"),
    ("check_coverage", lambda r, s: (s >= 0.25 * r).mean(), "below 0.5 %"),
    ("check_coverage", lambda r, s: (s[r >= 0.005] >= 0.25).mean(), "taken as a share of months"),
    ("check_coverage", lambda r, s: (r[r >= 0.005] * covered(r, s)).sum(), "weighted by their share"),
    ("check_coverage", lambda r, s: (r[r >= 0.005] >= 0.25 * s[r >= 0.005]).mean(), "wrong way round"),
    ("check_suspects", {**RIGHT["check_suspects"], "B": "copies", "D": "real"}, "who was copied"),
    ("check_suspects", {**RIGHT["check_suspects"], "A": "shuffled", "C": "single mode"}, "2 of 4 are right. Look at A"),
    ("check_suspects", {**RIGHT["check_suspects"], "C": "real"}, "Look at C again"),
    ("check_suspects", {**RIGHT["check_suspects"], "C": "honest"}, "none of"),
]


@pytest.mark.parametrize("name", CHECKS)
def test_the_right_answer_passes(name, capsys):
    assert CHECKS[name](RIGHT[name]) is True
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_told_so(name, capsys):
    stubs = [..., None]
    stubs += [dict.fromkeys("ABCD", ...)] if name == "check_suspects" else [lambda *_: ..., lambda *_: None]
    for stub in stubs:
        assert CHECKS[name](stub) is False
        assert "nothing has been filled in yet" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "answer", "words"), MISTAKES)
def test_a_likely_mistake_is_named(name, answer, words, capsys):
    assert CHECKS[name](answer) is False
    out = capsys.readouterr().out
    assert out.startswith("Not yet: ") and words in out and out.count("\n") == 1


@pytest.mark.parametrize("name", CHECKS)
def test_nonsense_gets_a_message_and_no_crash(name, capsys):
    def broken(*_):
        raise ZeroDivisionError("too bad")

    answers = ["words", 7, np.ones((2, 3)), [1, "a"], {}, {"A": []}, pd.DataFrame(), broken]
    answers += [lambda: 1, lambda *_: "words", lambda *_: np.ones((4, 2)), lambda *_: float("nan")]
    for answer in answers:
        assert CHECKS[name](answer) is False
        assert capsys.readouterr().out.startswith("Not yet: ")


def test_a_function_that_raises_is_told_which_error(capsys):
    for check in ("check_floor", "check_ks", "check_coverage"):
        CHECKS[check](lambda *_: 1 / 0)
        assert "ZeroDivisionError: division by zero" in capsys.readouterr().out


def test_the_suspects_can_be_told_apart_by_their_scores():
    table = exercises.suspects()
    floor = table["floor"]
    assert table.loc["coverage_patient"].drop("floor").idxmin() == "A" and table.loc["coverage_patient", "A"] < 0.5
    assert table.loc["autocorrelation_difference", "C"] > 5 * floor["autocorrelation_difference"]
    assert table.loc["near_copies", "D"] == 1 and table.loc["near_copies", ["A", "B", "C"]].max() < 0.1
    assert (table.loc["ks"].drop("floor") < floor["ks"] + 0.05).all()
