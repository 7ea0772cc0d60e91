"""Notebook 1's exercises: a right answer passes, each likely mistake is named, and nothing that is typed in crashes."""

import numpy as np
import pytest

from hg_helpers import exercises

# --- right answers --------------------------------------------------------------------------------------------------


def switches(table, columns):
    before = table.groupby("PatientID")[columns].shift()
    changed = table[columns].ne(before).any(axis=1) & before.notna().all(axis=1)
    return changed.groupby(table["PatientID"]).sum()


def box_cox(x, lam):
    return np.log(x) if lam == 0 else (x**lam - 1) / lam


def log_likelihood(x, lam):
    return -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * np.log(x).sum()


def scale(train, new):
    return np.clip((new - train.min()) / (train.max() - train.min()), 0, 1)


def decode(block, codes):
    return np.asarray(codes)[block.argmax(axis=1)]


def sequences(table, column, months):
    return table.sort_values(["PatientID", "Timestep"])[column].to_numpy().reshape(-1, months)


RIGHT = {
    "check_switches": switches,
    "check_box_cox": box_cox,
    "check_log_likelihood": log_likelihood,
    "check_scale": scale,
    "check_decode": decode,
    "check_sequences": sequences,
}


# --- wrong ones, and a piece of the message that must name the mistake ------------------------------------------------


def across_patients(table, columns):
    before = table[columns].shift()
    changed = table[columns].ne(before).any(axis=1) & before.notna().all(axis=1)
    return changed.groupby(table["PatientID"]).sum().tolist()


def first_month_counts(table, columns):
    changed = table[columns].ne(table.groupby("PatientID")[columns].shift()).any(axis=1)
    return changed.groupby(table["PatientID"]).sum().tolist()


def distinct_regimens(table, columns):
    return [len(part.drop_duplicates()) - 1 for _, part in table.groupby("PatientID")[columns]]


def column_by_column(table, columns):
    before = table.groupby("PatientID")[columns].shift()
    changed = (table[columns].ne(before) & before.notna()).sum(axis=1)
    return changed.groupby(table["PatientID"]).sum().tolist()


WRONG = [
    ("check_switches", across_patients, "groupby('PatientID')"),
    ("check_switches", first_month_counts, "one too many"),
    ("check_switches", distinct_regimens, "comes back"),
    ("check_switches", column_by_column, "any(axis=1)"),
    ("check_switches", lambda t, c: switches(t, c[:1]), "only the first column"),
    ("check_switches", lambda t, c: switches(t, c).sum(), "sum over all patients"),
    ("check_box_cox", lambda x, lam: x**lam, "x**lam alone"),
    ("check_box_cox", lambda x, lam: x**lam - 1, "division by lambda is missing"),
    ("check_box_cox", lambda x, lam: x**lam / lam, "minus 1 is missing"),
    ("check_box_cox", lambda x, lam: (x**lam - 1) / lam, "divides"),
    ("check_box_cox", lambda x, lam: np.array([(v**lam - 1) / lam for v in x.tolist()]), "divides"),
    ("check_box_cox", lambda x, lam: np.log10(x) if lam == 0 else box_cox(x, lam), "base 10"),
    ("check_log_likelihood", lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()), "slope term"),
    ("check_log_likelihood", lambda x, lam: -log_likelihood(x, lam), "sign is turned round"),
    (
        "check_log_likelihood",
        lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var(ddof=1)) + (lam - 1) * np.log(x).sum(),
        "n - 1",
    ),
    (
        "check_log_likelihood",
        lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).std()) + (lam - 1) * np.log(x).sum(),
        "standard deviation",
    ),
    (
        "check_log_likelihood",
        lambda x, lam: -len(x) / 2 * np.log(box_cox(x, lam).var()) + (lam - 1) * x.sum(),
        "sum their logarithms",
    ),
    ("check_scale", lambda train, new: scale(new, new), "minimum and range from the new values"),
    (
        "check_scale",
        lambda train, new: (new - train.min()) / (train.max() - train.min()),
        "must be clipped",
    ),
    ("check_scale", lambda train, new: (new - train.mean()) / train.std(), "standardisation"),
    ("check_scale", lambda train, new: scale(np.r_[train, new], new), "widen the range"),
    ("check_scale", lambda train, new: np.clip(new / train.max(), 0, 1), "minimum is not subtracted"),
    ("check_decode", lambda block, codes: block.argmax(axis=1), "positions"),
    ("check_decode", lambda block, codes: block.argmax(axis=1) + 1, "plus one"),
    ("check_decode", lambda block, codes: block.argmax(axis=0), "axis=1"),
    ("check_decode", lambda block, codes: np.asarray(codes)[block.argmax(axis=0)], "axis=1"),
    ("check_decode", lambda block, codes: block.max(axis=1), "largest shares"),
    ("check_decode", lambda block, codes: block @ np.asarray(codes), "averages the codes"),
    ("check_sequences", lambda t, c, m: t[c].to_numpy().reshape(-1, m), "mixes patients"),
    ("check_sequences", lambda t, c, m: t[c].to_numpy().reshape(m, -1).T, "sorted by month"),
    ("check_sequences", lambda t, c, m: sequences(t, c, m).T, "patients come first"),
    ("check_sequences", lambda t, c, m: np.stack([p[c] for _, p in t.groupby("PatientID")]), "months are not in order"),
    (
        "check_sequences",
        lambda t, c, m: t.sort_values(["Timestep", "PatientID"])[c].to_numpy().reshape(-1, m),
        "patient first",
    ),
]


@pytest.mark.parametrize("check", RIGHT)
def test_a_right_answer_passes(check, capsys):
    assert getattr(exercises, check)(RIGHT[check]) is True
    told = capsys.readouterr().out
    assert told.startswith("Right: ") and told.count("\n") == 1


@pytest.mark.parametrize("check", RIGHT)
@pytest.mark.parametrize("stub", [..., None, lambda *_: ..., lambda *_: None], ids=["...", "None", "-> ...", "-> None"])
def test_a_stub_is_told_that_nothing_is_filled_in(check, stub, capsys):
    assert getattr(exercises, check)(stub) is False
    told = capsys.readouterr().out
    assert told.startswith("Not yet: nothing has been filled in yet") and told.count("\n") == 1


@pytest.mark.parametrize(("check", "answer", "named"), WRONG, ids=[f"{c}-{n}" for c, _, n in WRONG])
def test_a_likely_mistake_is_named(check, answer, named, capsys):
    assert getattr(exercises, check)(answer) is False
    told = capsys.readouterr().out
    assert told.startswith("Not yet: ") and named in told and told.count("\n") == 1


class Hostile:
    """Comparable with nothing, not even by its shape."""

    def __array__(self, *_, **__):
        raise RuntimeError("no numbers in here")

    @property
    def shape(self):
        raise RuntimeError("no shape either")


NONSENSE = ["hello", b"x", {}, {"a": 1}, [[1, 2], [3]], [], np.zeros((7, 2)), float("nan"), True, object(), Hostile()]


@pytest.mark.parametrize("check", RIGHT)
def test_nonsense_gets_a_message_and_no_crash(check, capsys):
    for nonsense in NONSENSE:
        for answer in (nonsense, lambda *_, value=nonsense: value):
            assert getattr(exercises, check)(answer) is False
            told = capsys.readouterr().out
            assert told.startswith("Not yet: ") and told.count("\n") == 1


@pytest.mark.parametrize("check", RIGHT)
def test_a_function_that_raises_is_told_its_error(check, capsys):
    def broken(*_):
        raise KeyError("VL")

    assert getattr(exercises, check)(broken) is False
    assert "KeyError" in capsys.readouterr().out
    assert getattr(exercises, check)(lambda: 1) is False  # too few parameters
    assert "TypeError" in capsys.readouterr().out


def test_an_answer_cannot_change_what_it_is_compared_with():
    def destructive(train, new):
        out = scale(train, new)
        train[:], new[:] = 0, 0
        return out

    assert exercises.check_scale(destructive)
