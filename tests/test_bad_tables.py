"""Tables edited by hand: each either loads to what it says, or is refused in one sentence that names what is wrong.

Hypothesis chooses the fault, the row and the column; every case goes through ``load_cohort``, what loads also through
the encoder, and a sample of the faults through the command line.
"""

import math

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hg_helpers as hg
from hg_helpers.__main__ import main

SCHEMA = hg.Schema(
    [
        hg.Feature("lab", "real", unit="mg/dL"),
        hg.Feature("count", "real", unit="cells"),
        hg.Feature("sex", "binary", levels=("f", "m"), static=True),
        hg.Feature("drug", "categorical", levels=("none", "A", "B")),
    ],
    patient="who",
    time="month",
    length=3,
    shorter="error",
)
PATIENTS = ["p1", "p2", "p3", "p4", "p5"]


def good() -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [(who, month) for who in PATIENTS for month in range(3)]
    table = pd.DataFrame(rows, columns=["who", "month"])
    table["lab"] = np.exp(random.normal(0, 1, 15)).round(3) + 0.001
    table["count"] = random.integers(100, 900, 15) + 0.5
    table["sex"] = np.repeat(["f", "m", "m", "f", "m"], 3)
    table["drug"] = random.choice(["none", "A", "B"], 15)
    return table


def text(table: pd.DataFrame, **kwargs) -> str:
    return table.to_csv(index=False, lineterminator="\n", **kwargs)


def cell(value):
    """Put a value into a row and column that hypothesis picks."""

    def change(table: pd.DataFrame, row: int, column: str) -> str:
        table = table.astype(object)
        table.loc[row, column] = value
        return text(table)

    return change


def without_row(table, row, column):
    return text(table.drop(index=row))


def twice(table, row, column):
    return text(pd.concat([table, table.loc[[row]]]))


def shuffled(table, row, column):
    return text(table.sample(frac=1, random_state=row))


def renamed(table, row, column):
    return text(table.rename(columns={column: column + "_1"}))


def second_header(table, row, column):
    lines = text(table).splitlines()
    return "\n".join([*lines[: row + 1], lines[0], *lines[row + 1 :]]) + "\n"


def other_case(table, row, column):
    return cell(str(table.loc[row, "drug"]).swapcase())(table, row, "drug")


REAL, LEVELS, KEYS = ["lab", "count"], ["sex", "drug"], ["who", "month"]
#: Fault: what it does, the columns that it may hit, and whether the table still says what it should.
FAULTS = {
    "nothing": (lambda t, r, c: text(t), REAL, True),
    "rows shuffled": (shuffled, REAL, True),
    "BOM": (lambda t, r, c: "\ufeff" + text(t), REAL, True),
    "CRLF": (lambda t, r, c: text(t).replace("\n", "\r\n"), REAL, True),
    "one column more": (lambda t, r, c: text(t.assign(note="x, y")), REAL, True),
    "numbers with a plus and spaces": (cell(" +1.5 "), REAL, True),
    "zero": (cell(0), REAL, True),  # below what the assay sees; the encoder lifts it for the logarithm
    "semicolons": (lambda t, r, c: text(t, sep=";"), REAL, True),
    "semicolons and decimal commas": (lambda t, r, c: text(t, sep=";", decimal=","), REAL, True),
    "decimal comma": (cell("1,5"), REAL, False),
    "number as words": (cell("high"), REAL, False),
    "unit in the cell": (cell("1.5 mg"), REAL, False),
    "missing": (cell(None), REAL + LEVELS + KEYS, False),
    "infinite": (cell("inf"), REAL + LEVELS + KEYS[1:], False),
    "negative": (cell(-2.5), REAL, False),
    "huge": (cell(10**400), REAL, False),
    "huge month": (cell(10**30), ["month"], False),
    "a level that is none": (cell("?"), LEVELS, False),
    "a level in another case": (other_case, ["drug"], None),  # "none" and "NONE", but "A" and "a" as well
    "half a month": (cell(1.5), ["month"], False),
    "a row less": (without_row, REAL, False),
    "a row twice": (twice, REAL, False),
    "a column renamed": (renamed, REAL + LEVELS + KEYS, False),
    "a second header": (second_header, REAL, False),
    "header alone": (lambda t, r, c: text(t.head(0)), REAL, False),
    "empty": (lambda t, r, c: "", REAL, False),
    "one line cut": (lambda t, r, c: text(t)[:-12], REAL, False),
}

#: What the cell holds after a fault that changes one and is none.
STANDS_FOR = {"numbers with a plus and spaces": 1.5, "zero": 0.0}


def read(content: str, folder) -> pd.DataFrame:
    path = folder / "table.csv"
    path.write_bytes(content.encode("utf-8"))
    return hg.load_cohort(path, schema=SCHEMA)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fault=st.sampled_from(list(FAULTS)), row=st.integers(0, 14), data=st.data())
def test_a_table_loads_as_it_is_or_is_refused_in_one_clear_sentence(tmp_path, fault, row, data):
    change, columns, harmless = FAULTS[fault]
    column = data.draw(st.sampled_from(columns))
    content = change(good(), row, column)
    try:
        cohort = read(content, tmp_path)
    except ValueError as refused:
        said = str(refused)
        assert not harmless, f"{fault} was refused: {said}"
        assert "\n" not in said.strip() or len(said) < 600
        named = [column, "table.csv", *PATIENTS, "patient", "month", "row", "column"]
        assert any(name in said for name in named), said
        assert not any(inner in said for inner in ("Traceback", "dtype", "KeyError", "0x")), said
        return
    assert harmless is not False, f"{fault} in {column}, row {row}, was let through"
    expected = good()
    if fault in STANDS_FOR:
        expected.loc[row, column] = STANDS_FOR[fault]
    pd.testing.assert_frame_equal(
        cohort.reset_index(drop=True), expected, check_dtype=False
    )  # nothing lost, nothing moved
    encoder = hg.CohortEncoder(SCHEMA).fit(cohort)
    back = encoder.inverse_transform(encoder.transform(cohort))
    assert np.isfinite(back[REAL].to_numpy()).all() and (back["drug"].to_numpy() == cohort["drug"].to_numpy()).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(max_size=6) | st.floats(allow_nan=True).map(str), row=st.integers(0, 14), data=st.data())
def test_whatever_stands_in_a_cell_it_is_a_number_a_level_or_an_error(tmp_path, value, row, data):
    column = data.draw(st.sampled_from(REAL + LEVELS))
    table = good().astype(object)
    table.loc[row, column] = value
    try:
        cohort = read(text(table), tmp_path)
    except ValueError as refused:
        assert column in str(refused) or "table.csv" in str(refused)
        return
    found = cohort.loc[row, column]
    if column in REAL:
        assert math.isfinite(found) and found > -1e-3 and found == pytest.approx(float(value))
    else:
        assert (
            found == value.strip() and found in dict(zip(LEVELS, (("f", "m"), ("none", "A", "B")), strict=True))[column]
        )


#: What the sentence says beside "error: ".
SAID = {
    "decimal comma": "column 'lab': patient p2, month 1 has '1,5'",
    "missing": "column 'lab'",
    "a row less": "patient p2 has no month 1",
    "a second header": "patient who has 'month'",
    "empty": "it is empty",
}


@pytest.mark.parametrize("fault", ["nothing", *SAID])
def test_the_command_line_says_it_in_one_line_and_leaves_nothing_behind(tmp_path, capsys, fault):
    change, columns, _ = FAULTS[fault]
    (tmp_path / "table.csv").write_text(change(good(), 4, columns[0]))
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(SCHEMA.to_dict()))
    line = ["train", "--data", str(tmp_path / "table.csv"), "--schema", str(tmp_path / "schema.yaml"), "--quiet"]
    ended = main([*line, "--epochs", "1", "--out", str(tmp_path / "model.pt")])
    said = capsys.readouterr()
    if fault == "nothing":  # so that the others are refused for their fault, not for what surrounds it
        assert ended == 0, said.err
        return
    assert ended == 1 and said.out == "" and said.err.startswith("error: ") and "Traceback" not in said.err
    assert len(said.err.splitlines()) == 1 and SAID[fault] in said.err and "table.csv" in said.err
    assert not list(tmp_path.glob("model*"))
