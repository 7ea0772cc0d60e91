"""Courses of any length, with gaps and times of their own, through load, encode, train, sample and back."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hg_helpers as hg
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.load import data_folder, load_cohort, validate_cohort
from hg_helpers.model.heads import until_the_end
from hg_helpers.model.networks import Generator

PBCSEQ = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "pbcseq.csv"

VISITS = hg.Schema(
    [
        hg.Feature("lab", "real"),
        hg.Feature("dose", "real"),
        hg.Feature("ill", "binary", levels=("no", "yes"), codes=(0, 1)),
        hg.Feature("sex", "binary", levels=("f", "m"), static=True),
    ],
    patient="who",
    time="day",
    regular=False,
    missing="measured",
)


def visits(patients: int = 40, most: int = 6, seed: int = 0) -> pd.DataFrame:
    """Courses of 1 to ``most`` visits: lab with gaps, dose with zeros, ill kept and now and then changed."""
    rng = np.random.default_rng(seed)
    rows = []
    for who in range(patients):
        size, sex, ill = 1 + who % most, rng.choice(["f", "m"]), rng.integers(2)
        day = int(rng.integers(0, 30))
        for _ in range(size):
            lab = round(float(rng.lognormal(1, 0.5)), 1)
            rows.append((who, day, lab, 0.0 if rng.random() < 0.4 else float(rng.integers(5, 50)), ill, sex))
            day, ill = day + int(rng.integers(20, 200)), ill ^ (rng.random() < 0.2)
    table = pd.DataFrame(rows, columns=["who", "day", "lab", "dose", "ill", "sex"])
    table["lab"] = table["lab"].where(rng.random(len(table)) > 0.3)
    table["ill"] = table["ill"].where(rng.random(len(table)) > 0.1)
    table.loc[0, ["lab", "ill"]] = [2.0, 1]
    return table


# --- length -----------------------------------------------------------------------------------------------------------


def test_every_patient_and_visit_is_there_and_comes_back():
    table = visits()
    encoder = CohortEncoder(VISITS).fit(table)
    assert encoder.schema.length == 6 and VISITS.length is None
    x = encoder.transform(table)
    assert x.shape == (40, 6, encoder.layout.channels)
    pd.testing.assert_frame_equal(encoder.inverse_transform(x), table)
    again = CohortEncoder.from_state(encoder.state())
    assert again.layout == encoder.layout and torch.equal(again.transform(table), x)
    pd.testing.assert_frame_equal(again.inverse_transform(x), table)


def test_the_layout_holds_what_the_table_needs_behind_its_features():
    encoder = CohortEncoder(VISITS).fit(visits())
    hidden = encoder.layout.names[len(VISITS) :]
    assert hidden == ["lab: measured", "dose: not zero", "ill: measured", "day: first", "day: step", "who: rows"]
    assert encoder.layout.names[: len(VISITS)] == VISITS.names and encoder.layout.course.name == "who: rows"


def test_behind_the_last_visit_that_visit_stands_again():
    table = visits()
    encoder = CohortEncoder(VISITS).fit(table)
    x, sizes = encoder.transform(table), torch.tensor(table.groupby("who").size().to_numpy())
    assert torch.equal(x[..., encoder.layout.spans["who: rows"]].argmax(-1), (sizes - 1)[:, None].expand(-1, 6))
    for course, size in zip(x, sizes, strict=True):
        assert torch.equal(course[size:], course[size - 1].expand(6 - size, -1))
    assert len(set(map(tuple, x.flatten(0, 1).tolist()))) > 0.9 * len(table), "visits before it stay as they are"


def test_the_published_layout_and_complete_tables_have_nothing_hidden(cohort, schema):
    for described in (schema, replace(schema, shorter="keep"), replace(schema, length=None, missing="measured")):
        encoder = CohortEncoder(described).fit(cohort)
        assert encoder.layout == encoder.schema == replace(described, length=6) and encoder.layout.course is None


def test_a_regular_table_may_end_early_too_and_the_published_layout_refuses_it(cohort, schema):
    shorter = cohort[~((cohort["PatientID"] == 7) & (cohort["Timestep"] > 2))].reset_index(drop=True)
    with pytest.raises(ValueError, match="patient 7 has no month 3"):
        validate_cohort(shorter, schema)
    described = replace(schema, shorter="keep")
    encoder = CohortEncoder(described).fit(shorter)
    back = encoder.inverse_transform(encoder.transform(shorter))
    assert back["Timestep"].tolist() == shorter["Timestep"].tolist()
    whole = CohortEncoder(described).fit(cohort)
    with pytest.raises(ValueError, match=r"patient 7 has fewer than 6 rows \(1 such\), and in the training table"):
        whole.transform(shorter)


def test_courses_beyond_the_length_are_cut_and_counted(caplog):
    schema = replace(VISITS, length=4)
    with caplog.at_level(logging.INFO, "hg_helpers"):
        cut = validate_cohort(visits(), schema)
    assert cut.groupby("who").size().max() == 4 and "12 patients have more than 4 rows" in caplog.text
    rows = pd.DataFrame({"who": [1] * 130 + [2] * 3, "day": [*range(130), 0, 1, 2], "lab": 1.5})
    described = hg.Schema([hg.Feature("lab", "real")], "who", "day")
    with caplog.at_level(logging.INFO, "hg_helpers"):
        assert validate_cohort(rows, described).groupby("who").size().tolist() == [120, 3]
    assert "1 patients have more than 120 rows" in caplog.text


def test_patients_with_fewer_visits_are_kept_dropped_or_refused_as_the_schema_says():
    table = visits()
    assert validate_cohort(table, replace(VISITS, length=6))["who"].nunique() == 40
    assert validate_cohort(table, replace(VISITS, length=6, shorter="drop"))["who"].nunique() == 6
    with pytest.raises(ValueError, match="column 'day': patient 0 has"):
        validate_cohort(
            table.assign(day=table.groupby("who").cumcount()), replace(VISITS, regular=True, shorter="error")
        )


# --- gaps and zeros ---------------------------------------------------------------------------------------------------


def test_behind_a_gap_stands_the_patients_own_value():
    table = pd.DataFrame({"who": [0, 0, 0, 1, 1, 1], "day": [0, 1, 2] * 2})
    table["lab"] = [np.nan, 2.0, np.nan, 1.0, np.nan, 3.0]
    schema = hg.Schema([hg.Feature("lab", "real", transform="none")], "who", "day", missing="measured")
    encoder = CohortEncoder(schema).fit(table)
    x = encoder.transform(table)
    assert x[..., 0].tolist() == [[0.5, 0.5, 0.5], [0.0, 0.0, 1.0]]
    assert x[..., 1:].argmax(-1).tolist() == [[0, 1, 0], [1, 0, 1]]
    pd.testing.assert_frame_equal(encoder.inverse_transform(x), table)


def test_a_patient_without_any_value_has_gaps_alone_and_a_column_without_any_is_refused():
    table = visits()
    nobody = table.assign(lab=table["lab"].where(table["who"] != 5))
    encoder = CohortEncoder(VISITS).fit(nobody)
    pd.testing.assert_frame_equal(encoder.inverse_transform(encoder.transform(nobody)), nobody)
    with pytest.raises(ValueError, match="'lab' has no value at all in the rows used; leave it out"):
        CohortEncoder(VISITS).fit(table.assign(lab=np.nan))


def test_gaps_that_the_training_table_had_not_are_refused():
    table = visits()
    encoder = CohortEncoder(VISITS).fit(table.assign(lab=table["lab"].fillna(1.5)))
    with pytest.raises(ValueError, match=r"'lab' has \d+ missing values, and in the training table it had none"):
        encoder.transform(table)


def test_a_gap_of_a_static_feature_is_the_patients_or_the_visits_as_in_the_table():
    table = visits()
    for holes, static in ((table["who"] % 3 == 0, True), (table.groupby("who").cumcount() > 0, False)):
        holed = table.assign(sex=table["sex"].mask(holes))
        encoder = CohortEncoder(VISITS).fit(holed)
        assert encoder.layout["sex: measured"].static is static
        pd.testing.assert_frame_equal(encoder.inverse_transform(encoder.transform(holed)), holed)


@pytest.mark.parametrize(("share", "apart"), [(0.0, False), (0.02, False), (0.1, True), (0.9, True)])
def test_many_exact_zeros_get_a_part_of_their_own(share, apart):
    rng = np.random.default_rng(0)
    values = np.where(rng.random(600) < share, 0.0, rng.normal(20, 2, 600).round(3))
    table = pd.DataFrame({"who": np.arange(600) // 3, "day": np.arange(600) % 3, "dose": values})
    encoder = CohortEncoder(hg.Schema([hg.Feature("dose", "real")], "who", "day")).fit(table)
    assert ("dose: not zero" in encoder.layout.names) == apart
    pd.testing.assert_frame_equal(encoder.inverse_transform(encoder.transform(table)), table)
    soft = torch.rand(200, 3, encoder.layout.channels, generator=torch.Generator().manual_seed(0))
    drawn = encoder.inverse_transform(soft)["dose"]
    if apart:
        assert ((drawn == 0) | (drawn > 10)).all() and 0.4 < (drawn == 0).mean() < 0.6


# --- times ------------------------------------------------------------------------------------------------------------

START = pd.Timestamp("2019-05-17")
DAYS = [0, 3, 40, 41, 5, 100, 2]  # of three patients: 3, 3 and 1 visits

FORMS = {
    "integers": lambda d: d,
    "halves": lambda d: d / 2,
    "floats": lambda d: d * 1.0,
    "datetime64[ns]": lambda d: START + pd.to_timedelta(d, "D"),
    "datetime64[s]": lambda d: (START + pd.to_timedelta(d, "D")).astype("datetime64[s]"),
    "minutes": lambda d: START + pd.to_timedelta(d * 7, "min"),
    "zone": lambda d: (START + pd.to_timedelta(d, "D")).dt.tz_localize("Europe/Berlin"),
    "text": lambda d: (START + pd.to_timedelta(d, "D")).dt.strftime("%Y-%m-%d"),
    "text with time": lambda d: (START + pd.to_timedelta(d, "h")).dt.strftime("%Y-%m-%dT%H:%M:%S"),
    "date objects": lambda d: (START + pd.to_timedelta(d, "D")).dt.date,
    "durations": lambda d: pd.to_timedelta(d, "D"),
}


@pytest.mark.parametrize("form", FORMS)
def test_visit_times_come_back_in_the_columns_own_type(form):
    table = pd.DataFrame({"who": [1, 1, 1, 2, 2, 2, 3], "day": FORMS[form](pd.Series(sorted(DAYS))), "lab": 1.5})
    schema = hg.Schema([hg.Feature("lab", "real")], "who", "day", regular=False)
    encoder = CohortEncoder(schema).fit(table)
    back = CohortEncoder.from_state(encoder.state()).inverse_transform(encoder.transform(table))
    pd.testing.assert_series_equal(back["day"], table["day"])


def test_times_have_as_many_decimals_as_the_tables_however_late_they_are():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"who": np.arange(200) // 10, "lab": rng.normal(20, 2, 200).round(1)})
    table["day"] = (
        (rng.integers(1, 90_000, 200) / 100 + 8000 * (table["who"] % 2)).groupby(table["who"]).cumsum().round(2)
    )
    encoder = CohortEncoder(replace(VISITS, features=(hg.Feature("lab", "real"),))).fit(table)
    pd.testing.assert_frame_equal(encoder.inverse_transform(encoder.transform(table)), table[["who", "lab", "day"]])
    soft = torch.rand(100, 10, encoder.layout.channels, generator=torch.Generator().manual_seed(0))
    days = encoder.inverse_transform(soft)["day"]
    assert (days.round(2) == days).all() and days.nunique() > 500


@pytest.mark.parametrize("form", ["integers", "halves", "minutes", "text", "datetime64[s]", "durations"])
def test_a_regular_table_keeps_its_first_time_and_step(form):
    grid = pd.Series([8, 10, 12] * 4)
    table = pd.DataFrame({"who": np.repeat(range(4), 3), "day": FORMS[form](grid), "lab": np.arange(12.0)})
    encoder = CohortEncoder(hg.Schema([hg.Feature("lab", "real")], "who", "day")).fit(table)
    assert encoder.layout == encoder.schema
    back = encoder.inverse_transform(encoder.transform(table))
    pd.testing.assert_frame_equal(back, table.assign(who=back["who"]))
    with pytest.raises(ValueError, match=r"'day': patient 1 has no month .*12 such|'day': patient 1 has no month"):
        validate_cohort(table.drop(index=4), encoder.schema)


def test_other_dates_than_iso_are_read_and_written_by_their_format(tmp_path):
    days = (START + pd.to_timedelta(pd.Series([0, 30, 400, 5]), "D")).dt.strftime("%d.%m.%Y")
    table = pd.DataFrame({"who": [1, 1, 1, 2], "day": days, "lab": [1.5, 2.5, 3.5, 2.0]})
    table.to_csv(tmp_path / "t.csv", index=False)
    schema = hg.Schema([hg.Feature("lab", "real")], "who", "day", regular=False)
    with pytest.raises(ValueError, match=r"'17.05.2019', which is neither a number nor a date.*date_format"):
        load_cohort(tmp_path / "t.csv", schema)
    cohort = load_cohort(tmp_path / "t.csv", replace(schema, date_format="%d.%m.%Y"))
    encoder = CohortEncoder(replace(schema, date_format="%d.%m.%Y")).fit(cohort)
    pd.testing.assert_frame_equal(
        encoder.inverse_transform(encoder.transform(cohort)).drop(columns="who"), cohort.drop(columns="who")
    )
    with pytest.raises(ValueError, match=r"'31.12.2019', which is not written as the schema's date_format '%Y/%m/%d'"):
        validate_cohort(cohort.assign(day="31.12.2019"), replace(schema, date_format="%Y/%m/%d"))


def test_sampled_visits_never_stand_on_one_day_or_go_back():
    encoder = CohortEncoder(VISITS).fit(visits())
    soft = torch.rand(300, 6, encoder.layout.channels, generator=torch.Generator().manual_seed(0))
    drawn = encoder.inverse_transform(soft)
    steps = drawn.groupby("who")["day"].diff().dropna()
    assert drawn["day"].dtype == np.int64 and steps.min() >= 20 and steps.max() < 200
    assert not drawn.duplicated(["who", "day"]).any()


# --- the model --------------------------------------------------------------------------------------------------------


def test_generated_courses_are_padded_as_real_ones_are_and_everybody_comes_once():
    encoder = CohortEncoder(VISITS).fit(visits())
    layout = encoder.layout
    for heads in ("softmax", "gumbel", "straight_through"):
        torch.manual_seed(0)
        x = Generator(layout, 8, 16, heads=heads, start="he")(5 * torch.randn(200, 6, 8))
        rows = x[..., layout.spans["who: rows"]]
        torch.testing.assert_close(rows, rows[:, :1].expand_as(rows), msg="one length a patient, whatever the heads")
        last = rows[:, 0].argmax(-1)
        assert len(last.unique()) > 1
        for course, end in zip(x, last, strict=True):
            assert torch.equal(course[end:], course[end].expand(6 - end, -1))
        assert (x.diff(dim=1)[last > 2][:, 0] != 0).any(), "before it months differ"


def test_a_visit_behind_the_end_hands_its_derivative_to_the_last_one():
    x = torch.tensor([[[0.3, 0.1, 0.9], [0.4, 0.1, 0.9], [0.5, 0.1, 0.9], [0.6, 0.1, 0.9]]], requires_grad=True)
    cut = until_the_end(x, slice(1, 3))  # two visits
    torch.testing.assert_close(cut[0, :, 0], torch.tensor([0.3, 0.4, 0.4, 0.4]))
    (slope,) = torch.autograd.grad(cut[0, :, 0].sum(), x)
    assert slope[0, :, 0].tolist() == [1, 3, 0, 0]
    assert until_the_end(x, None) is x


@pytest.mark.parametrize("model", ["v1", "v2", "v2_plus"])
def test_every_model_trains_resumes_and_samples_courses_with_gaps_and_ends(tmp_path, tiny, model):
    table = visits()
    encoder = CohortEncoder(VISITS).fit(table)
    trainer = hg.Trainer(encoder, tiny(model, epochs=2), "cpu")
    trainer.fit(encoder.transform(table), progress=False, checkpoint=tmp_path / "m.pt")
    drawn = hg.Synthesizer.load(tmp_path / "m.pt").sample(300, seed=1, decode="sample")
    pd.testing.assert_frame_equal(drawn, trainer.synthesizer().sample(300, seed=1, decode="sample"))
    assert list(drawn.columns) == list(table.columns) and (drawn.dtypes == table.dtypes).all()
    assert drawn["who"].nunique() == 300 and drawn.groupby("who").size().max() <= 6
    validate_cohort(drawn, VISITS)
    trainer.synthesizer().to_csv(tmp_path / "s.csv", 300, seed=1, decode="sample")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "s.csv"), drawn)
    trainer.synthesizer().to_parquet(tmp_path / "s.parquet", 300, seed=1, decode="sample")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "s.parquet"), drawn)


# --- the whole way ----------------------------------------------------------------------------------------------------


@st.composite
def any_table(draw) -> tuple[pd.DataFrame, hg.Schema]:
    """A schema and a table that it describes: kinds, gaps, zeros, lengths, times, codes and ids of all sorts."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = rng.integers(1, draw(st.integers(1, 6)) + 1, draw(st.integers(2, 8)))
    n, regular, gaps = int(sizes.sum()), draw(st.booleans()), draw(st.booleans())
    ids = draw(st.sampled_from([lambda k: k, lambda k: f"P-{k:04d}", lambda k: f"{k}/x", lambda k: k + 0.5]))
    rank = np.concatenate([np.arange(size) for size in sizes])
    number = np.repeat(np.arange(len(sizes)), sizes)
    steps = rng.integers(1, 100, n)
    days = (
        3 * rank + 7
        if regular
        else np.concatenate([rng.integers(50) + steps[number == k].cumsum() for k in range(len(sizes))])
    )
    table = pd.DataFrame(
        {"id": [ids(int(k)) for k in number], "t": FORMS[draw(st.sampled_from(list(FORMS)))](pd.Series(days))}
    )
    features = []
    for k in range(draw(st.integers(1, 4))):
        name, kind = f"column {k}", draw(st.sampled_from(["real", "count", "binary", "categorical", "flag"]))
        if kind in ("real", "count"):
            values = np.exp(rng.normal(size=n)).round(draw(st.sampled_from([1, 2, 4])))
            values = rng.poisson(draw(st.sampled_from([0.1, 1, 30])), n) if kind == "count" else values
            values = np.where(rng.random(n) < draw(st.sampled_from([0, 0.3, 0.8])), 0, values)
            features.append(
                hg.Feature(name, "real", transform=draw(st.sampled_from(["box-cox", "yeo-johnson", "ranks", "none"])))
            )
        elif kind == "flag":
            values, levels = rng.random(n) < 0.3, (False, True)
            features.append(hg.Feature(name, "binary", levels=levels))
        else:
            codes = draw(st.sampled_from([("a", "b", "c"), (0, 1, 2), (0.5, 1.0, 7.0)]))[: 2 if kind == "binary" else 3]
            values = np.array(codes)[rng.integers(len(codes), size=n)]
            features.append(hg.Feature(name, kind, levels=codes, static=draw(st.booleans())))
        table[name] = values
        if gaps and n > 1 and draw(st.booleans()):
            holes = rng.random(n) < 0.4
            holes[rng.integers(n)] = False
            table[name] = table[name].mask(holes)
    length = draw(st.sampled_from([None, int(sizes.max()), 9]))
    schema = hg.Schema(features, "id", "t", length, regular, "measured" if gaps else "error")
    return table[draw(st.permutations(list(table.columns)))], schema


@settings(max_examples=150, deadline=None)
@given(any_table())
def test_everything_comes_back_equal(described):
    table, schema = described
    encoder = CohortEncoder(schema).fit(table.sample(frac=1, random_state=0))
    x = encoder.transform(table)
    assert torch.isfinite(x).all() and x.min() >= 0 and x.max() <= 1 and encoder.clipped == {}
    back = encoder.inverse_transform(x)
    expected = table.sort_values(["id", "t"], ignore_index=True)
    columns = [name for name in table.columns if name != "id"]
    pd.testing.assert_frame_equal(back[columns], expected[columns])
    assert list(back.columns) == list(table.columns)
    sizes = [frame.groupby("id", sort=False).size().tolist() for frame in (back, expected)]
    assert sizes[0] == sizes[1]
    if isinstance(table["id"][0], str):
        assert not set(back["id"]) & set(table["id"])
    again = CohortEncoder.from_state(encoder.state())
    pd.testing.assert_frame_equal(again.inverse_transform(again.transform(table)), back)
    soft = torch.rand(20, x.shape[1], x.shape[2], generator=torch.Generator().manual_seed(0))
    validate_cohort(encoder.inverse_transform(soft), schema)  # what a generator says is a table of the same kind


@pytest.mark.skipif(not PBCSEQ.is_file(), reason=f"no {PBCSEQ}, which is not part of the repository")
def test_pbcseq_comes_back_with_its_days_gaps_and_decimals():
    schema = hg.Schema.from_yaml(data_folder() / "pbcseq.yaml")
    cohort = load_cohort(PBCSEQ, schema)
    encoder = CohortEncoder(schema).fit(cohort)
    back = encoder.inverse_transform(encoder.transform(cohort))
    assert encoder.schema.length == 16 and back["id"].nunique() == 312
    pd.testing.assert_frame_equal(back.drop(columns="id"), cohort.drop(columns="id"))
