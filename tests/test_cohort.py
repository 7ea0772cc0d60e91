"""What a good table is, and every message about a bad one."""

import gzip
import logging
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from hg_helpers.cohort.art import ART_DEMO, ART_FULL
from hg_helpers.cohort.load import load_cohort, split_patients, validate_cohort
from hg_helpers.cohort.schema import Feature, Schema
from hg_helpers.runtime.download import data_folder

ROOT = Path(__file__).resolve().parent.parent
PBCSEQ = ROOT.parent / "shared" / "data" / "pbcseq.csv"

MONTHS = Schema(
    [
        Feature("load", "real", unit="copies/mL"),
        Feature("sex", "binary", levels=("Male", "Female"), codes=(1, 2), static=True),
        Feature("drug", "categorical", levels=("none", "old", "new")),
    ],
    patient="who",
    time="month",
    length=4,
    shorter="error",
)
VISITS = replace(MONTHS, regular=False, shorter="drop")


def make_table(patients=("a", "b", "c"), months=4, seed=0) -> pd.DataFrame:
    """A table as MONTHS describes it, sorted, with a column more."""
    rng = np.random.default_rng(seed)
    rows = len(patients) * months
    return pd.DataFrame(
        {
            "load": rng.lognormal(3, 1, rows).round(2),
            "month": np.tile(np.arange(months), len(patients)),
            "drug": rng.choice(["none", "old", "new"], rows),
            "note": "free text",
            "who": np.repeat(list(patients), months),
            "sex": np.repeat(rng.choice([1, 2], len(patients)), months),
        }
    )


def with_value(column, value, row=6, table=None) -> pd.DataFrame:
    """The table with one value changed; row 6 is patient b's month 2."""
    table = make_table() if table is None else table
    column_values = table[column].astype(object)
    column_values.iloc[row] = value
    return table.assign(**{column: column_values})


def published_table(patients: int, seed: int = 0) -> pd.DataFrame:
    """Random values in the published layout."""
    rng = np.random.default_rng(seed)
    rows = patients * 60
    table = {f.name: rng.lognormal(4, 1, rows).round(2) if f.is_real else rng.choice(f.codes, rows) for f in ART_FULL}
    for feature in ART_FULL.static:
        table[feature.name] = np.repeat(rng.choice(feature.codes, patients), 60)
    return pd.DataFrame(table).assign(PatientID=np.arange(rows) // 60, Timestep=np.arange(rows) % 60)


# --- a good table ---------------------------------------------------------------------------------------------------


def test_a_good_table_comes_back_with_the_schemas_columns_in_the_tables_order():
    table = make_table()
    cohort = validate_cohort(table, MONTHS)
    assert_frame_equal(cohort, table[["load", "month", "drug", "who", "sex"]])
    assert list(cohort.attrs) == ["types"]  # what synthetic tables are to have


@pytest.mark.parametrize("schema", [MONTHS, VISITS])
@pytest.mark.parametrize("patients", [("a", "b", "c"), (3, 10, 200), (1.5, 2.5, 3.5)], ids=["text", "int", "float"])
def test_the_order_of_rows_and_their_index_do_not_matter_and_the_callers_table_stays_as_it_is(schema, patients):
    table = make_table(patients, months=6)
    expected = validate_cohort(table, schema)
    sampled = table[table["month"] < 4].sample(frac=1, random_state=2)
    assert_frame_equal(validate_cohort(sampled, schema), expected)
    shuffled = table.sample(frac=1, random_state=1).set_index(np.zeros(len(table), dtype=int))
    before = shuffled.copy()
    assert_frame_equal(validate_cohort(shuffled, schema), expected)
    assert_frame_equal(shuffled, before)
    assert expected["who"].tolist() == np.repeat(list(patients), 4).tolist()
    assert expected["month"].tolist() == [0, 1, 2, 3] * 3


@pytest.mark.parametrize("schema", [MONTHS, VISITS])
def test_validating_twice_changes_nothing(schema, caplog):
    schema = replace(schema, missing="forward")
    once = validate_cohort(with_value("load", None, table=make_table(months=5)), schema)
    caplog.clear()
    assert_frame_equal(validate_cohort(once, schema), once)
    assert caplog.records == []


def test_numbers_as_text_or_floats_or_categories_become_the_codes_and_float64():
    table = make_table()
    expected = validate_cohort(table, MONTHS)
    as_text = table.astype({"load": str, "sex": str, "month": str})
    as_floats = table.astype({"sex": float, "month": float})
    as_categories = table.astype({"sex": "category", "drug": "category", "who": "category", "month": "category"})
    nullable = table.convert_dtypes()
    for form in (as_text, as_floats, as_categories, nullable):
        cohort = validate_cohort(form, MONTHS)
        assert_frame_equal(cohort, expected, check_dtype=False)
        assert (cohort["sex"].dtype, cohort["load"].dtype, cohort["month"].dtype) == ("int64", "float64", "int64")


def test_months_may_begin_with_any_number_as_long_as_it_is_the_same():
    table = make_table()
    assert validate_cohort(table.assign(month=table["month"] - 7), MONTHS)["month"].min() == -7


def test_codes_of_true_and_false_and_of_halves_are_kept_as_such():
    schema = Schema(
        [Feature("ill", "binary", levels=(False, True)), Feature("edema", "categorical", levels=(0, 0.5, 1))],
        *("who", "month"),
        length=1,
    )
    table = pd.DataFrame({"who": [1, 2, 3], "month": 0, "ill": [1, 0, 1], "edema": ["0.5", "1", "0"]})
    cohort = validate_cohort(table, schema)
    assert cohort["ill"].tolist() == [True, False, True] and cohort["ill"].dtype == bool
    assert cohort["edema"].tolist() == [0.5, 1.0, 0.0]


def test_the_public_size_is_checked_in_well_under_a_second():
    table = published_table(8916)
    shuffled = table.sample(frac=1, random_state=0)
    validate_cohort(published_table(2), ART_FULL)  # the first call pays for imports
    seconds = []
    for one in (table, shuffled):
        runs = []
        for _ in range(3):  # the first also pays for memory that the process has not had yet
            started = time.process_time()
            cohort = validate_cohort(one, ART_FULL)
            runs.append(time.process_time() - started)
            assert len(cohort) == 534_960
        seconds.append(min(runs))
    assert seconds[0] < 1 and seconds[1] < 2, seconds


# --- columns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        (make_table().drop(columns="load"), ["no column 'load'", "month, drug, note, who, sex", "pass schema="]),
        (make_table().rename(columns={"drug": "drugs"}), ["no column 'drug'", "did you mean 'drugs'?"]),
        (make_table().rename(columns={"sex": " SEX"}), ["no column 'sex'", "did you mean ' SEX'?"]),
        (make_table().drop(columns=["who", "sex"]), ["no column 'who', 'sex'"]),
        (make_table().set_index(["who", "month"]), ["'who', 'month'", "pass table.reset_index()"]),
        (pd.DataFrame(columns=["who;month;load;sex;drug"]), ["not separated by commas?", "sep="]),
        (make_table().iloc[:0], ["the table has no rows"]),
        (make_table().rename(columns={"note": "sex"}), ["2 columns 'sex'", "drop all but one"]),
        ({"who": [1]}, ["a cohort is a pandas DataFrame, not dict"]),
    ],
)
def test_a_missing_or_double_column_is_named_with_what_may_have_been_meant(table, messages):
    with pytest.raises(ValueError) as caught:
        validate_cohort(table, MONTHS)
    for message in messages:
        assert message in str(caught.value)


# --- patients and months --------------------------------------------------------------------------------------------


def refused(table, schema, *messages):
    with pytest.raises(ValueError) as caught:
        validate_cohort(table, schema)
    for message in messages:
        assert message in str(caught.value), f"{message!r} is not in {str(caught.value)!r}"


def test_a_dropped_row_is_an_error_naming_the_patient_and_the_month():
    for row, absent in (
        (5, "patient b has no month 1;"),
        (7, "patient b has no month 3;"),
        (4, "patient b has no month 0;"),
    ):
        refused(
            make_table().drop(index=row), MONTHS, absent, "1 of 3 patients", "regular=False", "4 consecutive months"
        )


def test_every_single_dropped_row_of_a_larger_cohort_is_found():
    table = published_table(20)
    rng = np.random.default_rng(1)
    for row in rng.choice(len(table), 40, replace=False):
        shuffled = table.drop(index=row).sample(frac=1, random_state=int(row))
        refused(shuffled, ART_FULL, f"patient {row // 60} has no month {row % 60};", "1 of 20 patients")


def test_a_gap_beyond_the_months_that_are_used_is_none(caplog):
    table = make_table(months=7).drop(index=5)
    with caplog.at_level(logging.INFO, logger="hg_helpers"):
        cohort = validate_cohort(table, MONTHS)
    assert len(cohort) == 12 and "3 patients have more than 4 rows" in caplog.text


def test_an_early_start_is_named_as_such():
    table = make_table()
    table.loc[table["who"] == "b", "month"] -= 1
    refused(table, MONTHS, "patient b begins with month -1, the others with month 0")


def test_a_length_that_no_patient_reaches_is_said_with_the_longest():
    refused(make_table(), replace(MONTHS, length=9), "patient a has no month 4", "no patient has more than 4 rows")


@pytest.mark.parametrize(("schema", "unit"), [(MONTHS, "month"), (replace(VISITS, time="day"), "day")])
def test_a_double_row_is_an_error_naming_the_patient_and_the_month(schema, unit):
    table = pd.concat([make_table(months=6), make_table(months=6).iloc[[8]]]).rename(columns={"month": schema.time})
    refused(table, schema, f"patient b, {unit} 2 stands in more than one row (1 such rows", "keep one of each")


def test_a_month_between_two_months_is_named():
    refused(with_value("month", 1.5), MONTHS, "'month'", "patient b has 1.5", "whole number of steps", "regular=False")


@pytest.mark.parametrize("value", [np.inf, "soon", "2020-01-31"])
def test_a_month_that_is_none_is_named_and_not_the_months_beside_it(value):
    refused(with_value("month", value), MONTHS, "'month'", f"patient b has {value!r}", "neither a number nor a date")


@pytest.mark.parametrize("column", ["who", "month"])
@pytest.mark.parametrize("schema", [MONTHS, VISITS])
def test_a_row_without_patient_or_time_is_an_error_naming_the_row(column, schema):
    refused(with_value(column, None), schema, f"column {column!r} has 1 missing values, the first in row 7")


def test_patients_named_by_numbers_and_text_at_once_are_refused():
    refused(with_value("who", 7), MONTHS, "column 'who' mixes numbers and text", ".astype(str)")


ZONES = ["2021-01-01T12:00+01:00", "2021-01-01T12:00+11:00", "2021-01-01T12:00+05:30", "2021-01-01T12:00+12:00"]
DATES = ["2021-03-01", "2021-01-31", "2021-02-15", "2020-12-31"]


@pytest.mark.parametrize(
    "times",
    [
        *(DATES, ZONES, pd.to_datetime(DATES), pd.to_datetime(DATES).tz_localize("Europe/Berlin"), [40.5, 20, 30, 10]),
        *(["40", "20", "30.5", "9"], pd.to_timedelta([9, 5, 7, 1], unit="D"), list(pd.to_datetime(DATES).date)),
    ],
    ids=["text", "text with zones", "dates", "with zone", "numbers", "numbers as text", "durations", "date objects"],
)
def test_visits_are_ranked_by_number_or_date_and_keep_their_time_as_it_stands(times):
    schema = replace(VISITS, length=3)
    table = make_table(["a", "b"]).assign(month=[*times, *times], load=[4.0, 2.0, 3.0, 1.0] * 2)
    cohort = validate_cohort(table, schema)
    assert cohort["load"].tolist() == [1.0, 2.0, 3.0] * 2
    assert cohort["month"].tolist() == [times[3], times[1], times[2]] * 2
    assert_frame_equal(validate_cohort(cohort, schema), cohort)


@pytest.mark.parametrize("value", ["soon", "31.12.2020"])
def test_a_time_that_cannot_be_ordered_is_named(value):
    table = make_table().assign(month=DATES * 3)
    refused(
        with_value("month", value, table=table), VISITS, "'month'", "patient b", repr(value), "a date like 2024-01-31"
    )


def test_patients_with_too_few_visits_are_left_out_and_counted(caplog):
    table = make_table(["a", "b", "c", "d"], months=6).drop(index=[6, 7, 8, 18])
    with caplog.at_level(logging.INFO, logger="hg_helpers"):
        cohort = validate_cohort(table, VISITS)
    assert cohort["who"].unique().tolist() == ["a", "c", "d"]
    assert cohort.loc[cohort["who"] == "d", "month"].tolist() == [1, 2, 3, 4]
    assert "left out 1 of 4 patients, who have fewer than 4 visits" in caplog.text
    assert [r.levelname for r in caplog.records if "left out 1 of 4" in r.getMessage()] == ["WARNING"]


def test_no_patient_with_enough_visits_is_an_error():
    refused(make_table(), replace(VISITS, length=5), "every patient has fewer than 5 visits (the most is 4)")


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ("12,5", ["has '12,5', which is not a number", "a decimal comma?", "decimal=','"]),
        ("abc", ["has 'abc', which is not a number", "correct it"]),
        ("<20", ["has '<20', which is not a number", "detection limit"]),
        (pd.Timestamp("2020-01-01"), ["which is not a number"]),
        (np.inf, ["has inf, which is infinite"]),
        (-np.inf, ["has -inf, which is infinite"]),
        (-3.0, ["has -3.0, but Box-Cox needs values of zero or more", 'transform="yeo-johnson"']),
        (-0.001, ["has -0.001, but Box-Cox"]),
    ],
)
def test_a_value_that_is_no_usable_number_is_named_with_patient_month_and_remedy(value, messages):
    refused(with_value("load", value), MONTHS, "column 'load': patient b, month 2", "(1 such rows in all)", *messages)
    refused(with_value("load", value), VISITS, "column 'load': patient b, month 2")


def test_a_column_of_dates_is_no_real_column():
    refused(make_table().assign(load=pd.Timestamp("2020-01-01")), MONTHS, "'load'", "not a number", "12 such rows")


def test_zero_dust_and_negative_values_are_fine_where_the_transform_takes_them():
    assert validate_cohort(with_value("load", 0), MONTHS)["load"].iloc[6] == 0
    assert validate_cohort(with_value("load", -1e-9), MONTHS)["load"].iloc[6] == -1e-9
    for transform in ("yeo-johnson", "none"):
        schema = replace(MONTHS, features=(Feature("load", "real", transform=transform), *MONTHS.features[1:]))
        assert validate_cohort(with_value("load", -3), schema)["load"].iloc[6] == -3


@pytest.mark.parametrize(
    ("column", "value", "messages"),
    [
        ("sex", 3, ["has 3, which is not one of the allowed 1, 2 (1 such rows in all; they hold 3)", "add the level"]),
        ("sex", "Female", ["has 'Female'", "These are the levels' names", "leave `codes` out"]),
        ("sex", "two", ["has 'two'", "1, 2"]),
        ("drug", "New", ["has 'New'", "'none', 'old', 'new'", "Did you mean 'new'? Only case or blanks differ"]),
        ("drug", " old ", ["has ' old '", "Did you mean 'old'?"]),
        ("drug", "nome", ["has 'nome'", "Did you mean 'none'?"]),
        ("drug", "aspirin", ["has 'aspirin'", "Correct them, add the level to the schema, or say"]),
        ("drug", 2, ["has 2", "The schema's codes are text"]),
    ],
)
def test_an_unknown_level_is_named_with_patient_month_count_and_what_may_have_been_meant(column, value, messages):
    refused(with_value(column, value), MONTHS, f"column {column!r}: patient b, month 2", *messages)


def test_many_unknown_levels_are_counted_and_the_first_five_shown():
    refused(
        make_table().assign(sex=np.arange(12) + 1),
        MONTHS,
        "patient a, month 2 has 3",
        "10 such rows in all; they hold 3, 4, 5, 6, 7 ...",
    )


def test_faults_in_rows_that_are_not_used_do_not_matter():
    table = with_value("load", "abc", row=11, table=make_table(months=6))  # patient b's sixth month
    assert len(validate_cohort(table, MONTHS)) == 12


# --- missing values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, np.nan, " "])
def test_missing_values_are_refused_with_column_count_and_first_patient(value):
    table = with_value("drug", value, row=8, table=with_value("load", value, row=7, table=with_value("load", value)))
    refused(
        table,
        MONTHS,
        "column 'load' has 2 missing values, the first for patient b, month 2",
        "'drug' has 1",
        "missing='forward'",
    )


@pytest.mark.parametrize("schema", [MONTHS, VISITS])
def test_filling_equals_forward_fill_by_patient_then_median_or_most_frequent_level(schema, caplog):
    patients = [f"p{i:02}" for i in range(30)]
    whole, rng = make_table(patients, months=4, seed=3), np.random.default_rng(4)
    table = whole.copy()
    for name in ("load", "drug", "sex"):
        table[name] = table[name].where(rng.random(len(table)) > 0.4)
    table.loc[3::4, "sex"] = whole["sex"]  # each patient has it once
    expected = table.copy()
    for name in ("load", "drug", "sex"):
        forward = table.groupby("who")[name].ffill()
        if name == "sex":  # static, hence of the same patient
            forward = forward.groupby(table["who"]).bfill()
        typical = table[name].median() if name == "load" else table[name].value_counts().index[0]
        expected[name] = forward.fillna(typical)
    cohort = validate_cohort(table.sample(frac=1, random_state=5), replace(schema, missing="forward"))
    assert_frame_equal(cohort, expected.drop(columns="note"), check_dtype=False)
    observed = table["load"].notna()
    assert (cohort.loc[observed, "load"] == whole.loc[observed, "load"]).all()
    left = int(table.groupby("who")["load"].ffill().isna().sum())
    count = int((~observed).sum())
    assert 0 < left < count
    (told,) = [r.getMessage() for r in caplog.records if "filled" in r.getMessage()]
    assert f"'load' {count}, {count / 120:.1%} ({count - left} carried forward, {left} by the median" in told
    assert re.search(r"'sex' (\d+), .*?% \(\1 from the same patient\)", told) and "by the most frequent level" in told


def test_a_static_feature_is_never_filled_from_other_people():
    schema = replace(MONTHS, missing="forward")
    table = make_table().assign(sex=[np.nan, np.nan, 2, np.nan, 1, 1, 1, 1, 1, 1, 1, 1])
    assert validate_cohort(table, schema)["sex"].tolist() == [2] * 4 + [1] * 8
    refused(
        table.assign(sex=[np.nan] * 4 + [1.0] * 8),
        schema,
        *("column 'sex': patient a has no value at all (1 such patients)", "missing='measured'"),
    )


def test_nothing_is_carried_from_one_patient_to_the_next():
    table = make_table()
    table["load"] = [1.0, 1, 1, 1, np.nan, 5, 5, 5, 9, 9, 9, 9]
    assert validate_cohort(table, replace(MONTHS, missing="forward"))["load"].iloc[4] == 5  # the median, not 1


def test_a_column_without_any_value_cannot_be_filled():
    refused(make_table().assign(load=np.nan), replace(MONTHS, missing="forward"), "'load' has no value at all")


def test_static_features_that_change_are_counted_and_kept(caplog):
    table = make_table().assign(sex=[1, 2, 1, 2, 1, 1, 1, 1, 2, 1, 2, 2])
    cohort = validate_cohort(table, MONTHS)
    assert cohort["sex"].tolist() == table["sex"].tolist()
    assert "static feature 'sex' changes within 2 of 3 patients" in caplog.text


# --- loading --------------------------------------------------------------------------------------------------------


def test_the_bundled_cohort_is_the_default():
    cohort = load_cohort()
    assert list(cohort.columns) == [*ART_FULL.names, "PatientID", "Timestep"]
    assert cohort.shape == (1000 * 60, 15)
    assert_frame_equal(load_cohort(data_folder() / "art_hiv_demo.csv.gz"), cohort)
    assert list(load_cohort(schema=ART_DEMO).columns) == [*ART_DEMO.names, "PatientID", "Timestep"]


def test_a_table_is_the_same_from_csv_gzip_parquet_and_memory(tmp_path):
    table = published_table(3)
    expected = load_cohort(table)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "a.CSV.gz", index=False, compression="gzip")
    table.to_parquet(tmp_path / "a.parquet")
    for name in ("a.csv", "a.CSV.gz", "a.parquet"):
        assert_frame_equal(load_cohort(tmp_path / name), expected)
        assert_frame_equal(load_cohort(str(tmp_path / name)), expected)
    assert list(expected.columns) == list(table.columns)


def test_the_older_release_becomes_the_published_layout(tmp_path):
    table = published_table(3)
    table.rename(columns={"Timestep": "Timepoints"}).to_csv(tmp_path / "older.csv")  # with its unnamed index column
    assert_frame_equal(load_cohort(tmp_path / "older.csv"), load_cohort(table))


def test_levels_that_look_like_something_else_stay_text_in_a_csv(tmp_path):
    schema = Schema(
        [
            Feature("therapy", "categorical", levels=("None", "NA", "drug")),
            Feature("ward", "categorical", levels=("01", "02", "1")),
            Feature("smoker", "binary", levels=("True", "False")),
            Feature("dose", "real"),
        ],
        *("who", "month"),
        length=3,
        missing="forward",
    )
    table = pd.DataFrame({"who": 1, "month": [0, 1, 2], "therapy": ["None", "NA", "drug"], "ward": ["01", "1", "02"]})
    table = table.assign(smoker=["True", "False", "True"], dose=[1.5, np.nan, 2.0])
    table.to_csv(tmp_path / "levels.csv", index=False)
    expected = table.assign(dose=[1.5, 1.5, 2.0])
    assert_frame_equal(load_cohort(tmp_path / "levels.csv", schema), expected, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cohort.xlsx", b"PK", "cohort.xlsx cannot be read as a table: "),
        ("cohort.txt", b"VL\n1\n", "must be a .csv, .csv.gz, .parquet, .xlsx file"),
        ("cohort.csv", b"", "cohort.csv cannot be read as a table in UTF-8: it is empty"),
        ("cohort.csv", "VL,Größe\n1,ä\n".encode("latin-1"), "cannot be read as a table in UTF-8"),
        ("cohort.csv", b"VL,CD4\n1,2,3\n1,2\n", "its rows have more values than its header has names"),
        ("cohort.csv", b"VL,CD4\n1,2\n1,2,3\n", "cannot be read as a table"),
        ("cohort.csv", b"VL\n1\n", "cohort.csv: the table has no column 'PatientID', 'Timestep'"),
        ("cohort.csv.gz", b"VL\n1\n", "cohort.csv.gz cannot be read as a table"),
        ("cohort.csv.gz", gzip.compress(b"VL\n1\n" * 999, mtime=0)[:-12], "cohort.csv.gz cannot be read as a table"),
        ("cohort.parquet", b"VL\n1\n", "cohort.parquet cannot be read as a table: "),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_cohort(tmp_path / name)
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.csv"):
        load_cohort(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="is a folder without Parquet files"):
        load_cohort(tmp_path)


def test_sources_and_schemas_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="source must be a path, a DataFrame, 'figshare' or None, not list"):
        load_cohort([1, 2])
    with pytest.raises(ValueError, match=r"schema must be a Schema, not 'data/pbcseq.yaml'; Schema.from_yaml"):
        load_cohort(make_table(), "data/pbcseq.yaml")
    with pytest.raises(ValueError, match="missing 'drop' is not one of 'error', 'measured', 'forward'"):
        load_cohort(make_table(), MONTHS, missing="drop")


def test_missing_overrides_the_schemas_own_in_both_directions():
    table = with_value("load", None)
    assert load_cohort(table, MONTHS, missing="forward")["load"].notna().all()
    with pytest.raises(ValueError, match="has 1 missing values"):
        load_cohort(table, replace(MONTHS, missing="forward"), missing="error")


# --- somebody else's table ------------------------------------------------------------------------------------------

needs_pbcseq = pytest.mark.skipif(not PBCSEQ.is_file(), reason=f"no {PBCSEQ}, which is not part of the repository")


def test_the_schema_of_pbcseq_is_about_twenty_lines():
    path = data_folder() / "pbcseq.yaml"
    schema = Schema.from_yaml(path)
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 22
    assert (len(schema.real), len(schema.discrete), schema.channels) == (7, 7, 7 + 2 * 5 + 3 + 4)
    assert [f.name for f in schema.static] == ["sex", "trt"] and not schema.regular


@needs_pbcseq
def test_pbcseq_keeps_all_its_patients_visits_and_gaps(caplog):
    schema = Schema.from_yaml(data_folder() / "pbcseq.yaml")
    with caplog.at_level(logging.INFO, logger="hg_helpers"):
        cohort = load_cohort(PBCSEQ, schema)
    assert caplog.messages == ["left out 3 columns that the schema does not name: 'futime', 'status', 'age'"]
    raw = pd.read_csv(PBCSEQ).sort_values(["id", "day"], ignore_index=True)
    assert_frame_equal(cohort, raw[cohort.columns], check_dtype=False)
    train, holdout = split_patients(cohort, schema=schema)
    assert (train["id"].nunique(), holdout["id"].nunique()) == (250, 62)


@needs_pbcseq
def test_pbcseq_with_six_visits_and_the_gaps_filled_counts_whom_and_what_that_costs(caplog):
    schema = replace(Schema.from_yaml(data_folder() / "pbcseq.yaml"), length=6, shorter="drop", missing="forward")
    with caplog.at_level(logging.INFO, logger="hg_helpers"):
        cohort = load_cohort(PBCSEQ, schema)
    assert cohort.shape == (153 * 6, 16) and cohort["id"].nunique() == 153
    assert not cohort.isna().any(axis=None)
    assert "left out 159 of 312 patients, who have fewer than 6 visits" in caplog.text
    for told in ("'platelet' 16, 1.7% (12 carried forward, 4 by the median", "'hepato' 8, 0.9% (8 carried forward)"):
        assert told in caplog.text
    assert cohort["ascites"].dtype == "int64", "codes, as the schema writes them"
    with pytest.raises(ValueError, match=r"pbcseq.csv: column 'chol' has .*'hepato' has 8"):
        load_cohort(PBCSEQ, schema, missing="error")


# --- splitting ------------------------------------------------------------------------------------------------------


def ids(table) -> set:
    return set(table["PatientID"])


@pytest.mark.parametrize("holdout", [0.2, 0.5, 0.001, 0.999, 1, 7, np.int64(3), np.float32(0.25)])
def test_a_split_is_by_patient_loses_no_row_and_leaves_someone_on_each_side(holdout):
    cohort = published_table(30).sample(frac=1, random_state=2).reset_index(drop=True)
    train, held = split_patients(cohort, holdout)
    assert not ids(train) & ids(held) and ids(train) | ids(held) == set(range(30))
    wanted = {0.001: 1, 0.999: 29}.get(holdout, holdout if holdout >= 1 else round(holdout * 30))
    assert len(ids(held)) == wanted
    for part in (train, held):
        as_it_stood = cohort[cohort["PatientID"].isin(ids(part))].reset_index(drop=True)
        assert_frame_equal(part, as_it_stood)


@pytest.mark.parametrize(
    "rename", [int, str, lambda i: f"Ünal-{i}", float, lambda i: pd.Timestamp("2020") + pd.Timedelta(days=i), bool]
)
def test_a_split_takes_patient_ids_of_any_type_and_does_not_depend_on_the_order_of_rows(rename):
    cohort = published_table(30 if rename is not bool else 2)
    cohort["PatientID"] = cohort["PatientID"].map(rename)
    shuffled = cohort.sample(frac=1, random_state=2)
    assert ids(split_patients(cohort, 0.3, seed=5)[1]) == ids(split_patients(shuffled, 0.3, seed=5)[1])
    as_category = cohort.astype({"PatientID": "category"})
    assert ids(split_patients(cohort, 0.3, seed=5)[1]) == ids(split_patients(as_category, 0.3, seed=5)[1])


def test_a_split_is_the_same_for_the_same_seed_and_another_for_another():
    cohort = published_table(60)
    held = [frozenset(ids(split_patients(cohort, 0.5, seed=seed)[1])) for seed in (0, 0, 1, 2)]
    assert held[0] == held[1] and len(set(held)) == 3
    np.random.seed(0)  # the global state must not matter
    assert ids(split_patients(cohort, 0.5)[1]) == held[0]


@pytest.mark.parametrize("holdout", [0, 1.0, 0.0, -0.1, 1.5, 30, -1, True, "0.2", None, float("nan")])
def test_a_holdout_that_makes_no_sense_is_refused_with_what_does(holdout):
    with pytest.raises(ValueError, match="share between 0 and 1 or a number of patients from 1 to 29"):
        split_patients(published_table(30), holdout)


def test_a_table_that_cannot_be_split_is_refused():
    with pytest.raises(ValueError, match="no patient column 'PatientID'; pass schema="):
        split_patients(make_table())
    with pytest.raises(ValueError, match="at least 2 patients, not 1"):
        split_patients(make_table(["a"]), schema=MONTHS)
    with pytest.raises(ValueError, match="'who' has 1 missing values"):
        split_patients(with_value("who", None), schema=MONTHS)
    assert len(split_patients(make_table(), schema=MONTHS)[1]) == 4
