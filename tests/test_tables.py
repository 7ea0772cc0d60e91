"""A table comes back as it was written: numbers with their decimals, codes, ids and types, or it is refused by name."""

import logging
import unicodedata
import uuid

import numpy as np
import pandas as pd
import pytest
import torch

import hg_helpers as hg
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.load import load_cohort, split_patients, validate_cohort
from hg_helpers.metrics.arrays import as_arrays


def grid(patients: int, visits: int, **columns) -> pd.DataFrame:
    """One row a patient and visit."""
    rows = [(patient, visit) for patient in range(patients) for visit in range(visits)]
    return pd.DataFrame(rows, columns=["id", "t"]).assign(**columns)


def described(*features, **more) -> hg.Schema:
    return hg.Schema(features, patient="id", time="t", **more)


def round_trip(table: pd.DataFrame, schema: hg.Schema) -> pd.DataFrame:
    encoder = CohortEncoder(schema).fit(table)
    return encoder.inverse_transform(encoder.transform(table))


def sampled(table: pd.DataFrame, schema: hg.Schema, patients: int = 50) -> pd.DataFrame:
    """What random channels decode to: any value that a generator may say."""
    encoder = CohortEncoder(schema).fit(table)
    shape = (patients, encoder.schema.length, encoder.layout.channels)
    return encoder.inverse_transform(torch.rand(shape, generator=torch.Generator().manual_seed(0)))


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 1, 5, 100, 1e4])
@pytest.mark.parametrize("transform", ["box-cox", "yeo-johnson", "none"])
def test_counts_however_rare_come_back_as_the_same_counts(rate, transform):
    counts = np.random.default_rng(0).poisson(rate, 3600)
    table, schema = grid(300, 12, stays=counts), described(hg.Feature("stays", "real", transform=transform), length=12)
    back = round_trip(table, schema)["stays"]
    assert back.dtype == np.int64 and back.tolist() == counts.tolist()
    drawn = sampled(table, schema)["stays"]
    assert drawn.dtype == np.int64 and drawn.between(counts.min(), counts.max()).all()


def test_counts_whose_shape_presses_them_together_are_only_scaled_and_the_log_says_so(caplog):
    counts = 1 + np.random.default_rng(0).poisson(0.05, 3600)
    with caplog.at_level(logging.INFO, "hg_helpers"):
        encoder = CohortEncoder(described(hg.Feature("stays", "real"), length=12)).fit(grid(300, 12, stays=counts))
    assert encoder.state()["codes"]["stays"][0] == "none"
    assert "column 'stays': its values do not survive the box-cox transform" in caplog.text


@pytest.mark.parametrize("places", [0, 1, 2, 5])
@pytest.mark.parametrize("transform", ["box-cox", "yeo-johnson", "none"])
def test_values_come_back_with_as_many_decimals_as_they_had(places, transform):
    values = np.random.default_rng(1).lognormal(1, 0.7, 300).round(places)
    table, schema = grid(100, 3, lab=values), described(hg.Feature("lab", "real", transform=transform), length=3)
    assert round_trip(table, schema)["lab"].tolist() == values.tolist()
    drawn = sampled(table, schema)["lab"]
    assert (drawn.round(places) == drawn).all() and drawn.nunique() > 5
    assert drawn.astype(str).str.len().max() <= 4 + places, "as a person writes them, not 0.30000000000000004"


def test_values_without_a_limit_of_decimals_come_back_to_the_digits_that_the_tensor_holds():
    for shift, scale in ((0, 1), (0, 1e-8), (0, 1e9), (1e6, 1)):
        values = shift + scale * np.random.default_rng(2).normal(size=300)
        table, schema = grid(100, 3, lab=values), described(hg.Feature("lab", "real", transform="none"), length=3)
        np.testing.assert_allclose(round_trip(table, schema)["lab"], values, rtol=0, atol=3e-7 * np.ptp(values))


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.9e-3, 1.0, 1e6])
def test_negative_values_are_refused_by_box_cox_whatever_the_unit(size):
    table = grid(5, 2, lab=size * np.linspace(-1, 1, 10))
    with pytest.raises(ValueError, match=r"'lab': patient 0, month 0 has -.*Box-Cox.*yeo-johnson"):
        validate_cohort(table, described(hg.Feature("lab", "real"), length=2))
    dust = grid(5, 2, lab=size * np.array([-1e-12, *np.linspace(0, 1, 9)]))
    assert round_trip(dust, described(hg.Feature("lab", "real"), length=2))["lab"].min() == 0


def test_a_constant_column_is_named_and_stays(caplog):
    table = grid(4, 2, lab=36.6, ward="A", age=[50, 50, 51, 51, 52, 52, 53, 53])
    schema = described(
        *(hg.Feature("lab", "real"), hg.Feature("ward", "binary", levels=("A", "B")), hg.Feature("age", "real")),
        length=2,
    )
    with caplog.at_level(logging.INFO, "hg_helpers"):
        back = round_trip(table, schema)
    assert "constant in the training table, hence in every synthetic one: lab, ward" in caplog.text
    pd.testing.assert_frame_equal(back, table)


def test_columns_that_are_not_modelled_are_named(caplog):
    with caplog.at_level(logging.INFO, "hg_helpers"):
        validate_cohort(grid(2, 1, lab=1.0, note="x", ward=2), described(hg.Feature("lab", "real"), length=1))
    assert "left out 2 columns that the schema does not name: 'note', 'ward'" in caplog.text


# --- codes and levels -------------------------------------------------------------------------------------------------

LONG = (900000000000207008, 900000000000207009, 7)


@pytest.mark.parametrize("form", [lambda c: c, lambda c: c.astype(str), lambda c: c.astype("Int64"), "csv"])
def test_long_codes_that_are_one_number_as_floats_stay_apart(tmp_path, form):
    codes = np.array(LONG)[np.random.default_rng(0).integers(0, 3, 60)]
    table = grid(20, 3, drug=codes)
    schema = described(hg.Feature("drug", "categorical", levels=("a", "b", "c"), codes=LONG), length=3)
    if form == "csv":
        table.astype({"drug": object}).to_csv(tmp_path / "codes.csv", index=False)
        cohort = load_cohort(tmp_path / "codes.csv", schema)
    else:
        cohort = validate_cohort(table.assign(drug=form(table["drug"])), schema)
    assert cohort["drug"].tolist() == codes.tolist()
    assert round_trip(cohort, schema)["drug"].tolist() == codes.tolist()


def test_long_codes_in_a_column_of_floats_are_refused():
    schema = described(hg.Feature("drug", "categorical", levels=("a", "b", "c"), codes=LONG), length=1)
    with pytest.raises(ValueError, match="'drug' holds decimal numbers, which cannot tell codes as long as these"):
        validate_cohort(grid(2, 1, drug=[7.0, 7.0]), schema)


@pytest.mark.parametrize("dtype", ["int64", "Int64"])
def test_whole_numbers_that_floats_merge_are_no_quantity(dtype):
    table = grid(2, 1, lab=pd.Series([2**53, 2**53 + 1], dtype=dtype))
    with pytest.raises(ValueError, match="'lab': patient 0, month 0 has 9007199254740992, too long for a quantity"):
        validate_cohort(table, described(hg.Feature("lab", "real"), length=1))


def test_codes_that_are_decimal_numbers_are_written_in_full(tmp_path):
    codes, rng = (44054006.0, 44054007.0), np.random.default_rng(0)
    table = grid(30, 2, what=rng.choice(codes, 60), lab=rng.lognormal(0, 1, 60))
    schema = described(hg.Feature("what", "binary", levels=codes), hg.Feature("lab", "real"), length=2)
    encoder = CohortEncoder(schema).fit(table)
    trainer = hg.Trainer(encoder, hg.TrainConfig.v1(hidden=4, latent=4, epochs=1, lengths=(2,)), device="cpu")
    trainer.fit(encoder.transform(table), progress=False)
    trainer.synthesizer().to_csv(tmp_path / "s.csv", 300, decode="sample")
    again = pd.read_csv(tmp_path / "s.csv")
    assert set(again["what"]) == set(codes)
    pd.testing.assert_frame_equal(again, trainer.synthesizer().sample(300, decode="sample"))
    assert again["lab"].astype(str).str.replace(r"\D", "", regex=True).str.lstrip("0").str.len().max() <= 7


def test_accents_may_be_written_in_either_unicode_form():
    composed, apart = unicodedata.normalize("NFC", "Größe é"), unicodedata.normalize("NFD", "Größe é")
    assert composed != apart
    schema = described(hg.Feature(composed, "binary", levels=(composed, "none")), length=2)
    for levels, name in (([apart, composed] * 2, apart), ([composed] * 4, composed)):
        table = pd.DataFrame({"id": ["b", "b", apart, composed], "t": [0, 1, 0, 1], name: levels})
        cohort = validate_cohort(table, schema)
        assert cohort[composed].tolist() == [composed] * 4 and cohort["id"].nunique() == 2
        assert cohort["id"].tolist() == [composed] * 2 + ["b"] * 2
        assert [len(part) for part in split_patients(table, 1, schema=schema)] == [2, 2]
    assert hg.Feature(apart, "binary", levels=(apart, "none")) == schema[composed], "of the schema too"


def test_levels_without_an_order_are_refused():
    with pytest.raises(ValueError, match="a schema needs a list"):
        hg.Schema({hg.Feature("x", "real"), hg.Feature("y", "real")})
    for levels in ({"a", "b"}, frozenset("ab")):
        with pytest.raises(ValueError, match=r"feature 'x': levels must be a list of values, not .*a set has no order"):
            hg.Feature("x", "binary", levels=levels)
        with pytest.raises(ValueError, match=r"codes must be a list of values, not .*a set has no order"):
            hg.Feature("x", "binary", levels=("a", "b"), codes={1, 2})


def test_more_levels_than_a_short_integer_counts_are_kept_apart():
    levels = tuple(range(10, 33_100))
    table = grid(2, 2, code=[10, 32_900, 33_099, 500])
    schema = described(hg.Feature("code", "categorical", levels=levels), length=2)
    assert round_trip(table, schema)["code"].tolist() == table["code"].tolist()
    assert sorted(as_arrays(table, schema).levels.ravel()) == [0, 490, 32_890, 33_089]


# --- ids --------------------------------------------------------------------------------------------------------------


def test_ids_that_are_one_number_and_two_texts_are_two_patients(tmp_path):
    (tmp_path / "ids.csv").write_text("id,t,lab\n007,0,1.5\n7,0,2.5\n08,0,3.5\n")
    cohort = load_cohort(tmp_path / "ids.csv", described(hg.Feature("lab", "real"), length=1))
    assert cohort["id"].tolist() == ["007", "08", "7"] and cohort["lab"].tolist() == [1.5, 3.5, 2.5]


@pytest.mark.parametrize(
    ("text", "ids"), [("1,2,30", [1, 2, 30]), ("1.5,2.5,3.0", [1.5, 2.5, 3.0]), ("a,b,c", list("abc"))]
)
def test_ids_of_a_file_are_numbers_where_they_are_written_as_such(tmp_path, text, ids):
    (tmp_path / "ids.csv").write_text("id,t,lab\n" + "".join(f"{one},0,1.5\n" for one in text.split(",")))
    cohort = load_cohort(tmp_path / "ids.csv", described(hg.Feature("lab", "real"), length=1))
    assert cohort["id"].tolist() == ids


@pytest.mark.parametrize(
    ("ids", "new"),
    [
        (["P-0012", "P-0007", "P-0100"], ["P-0101", "P-0102"]),
        (["S01P3", "S01P12", "S01P5"], ["S01P13", "S01P14"]),
        (["7/x", "8/x", "9/x"], ["10/x", "11/x"]),
        (["007", "008", "011"], ["012", "013"]),
        (["P98", "P99", "Q1"], ["P100", "P101"]),
        (["C1", "C3", "C2", "T1", "T2", "SD1", "LA1"], ["C4", "C5"]),
        (["anna", "bert", "eve"], ["synthetic-0", "synthetic-1"]),
        ([3, 9, 27], [0, 1]),
        ([uuid.UUID(int=5), uuid.UUID(int=2**90), uuid.UUID(int=7**30)], ["synthetic-0", "synthetic-1"]),
    ],
)
def test_new_ids_follow_the_pattern_of_the_real_ones_and_are_nobodys(ids, new):
    table = pd.DataFrame({"id": ids, "t": 0, "lab": 2.0 ** np.arange(len(ids))})
    schema = described(hg.Feature("lab", "real"), length=1)
    encoder = CohortEncoder(schema).fit(table)
    x = encoder.transform(table)
    assert encoder.inverse_transform(x[:2])["id"].tolist() == new
    assert CohortEncoder.from_state(encoder.state()).inverse_transform(x[1:2], 1)["id"].tolist() == new[1:]
    if isinstance(ids[0], str):
        assert not set(new) & set(ids)


# --- columns and their types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"visits": "int32", "lab": "float32", "ill": "int8"},
        {"visits": "Int64", "lab": "Float64", "smoker": "boolean", "sex": "string", "ill": "Int64"},
        {"sex": "category", "visits": "float64", "ill": "category"},
    ],
)
def test_columns_come_back_in_their_order_and_types(form):
    rng = np.random.default_rng(3)
    table = grid(10, 2).assign(
        smoker=rng.random(20) < 0.5, lab=rng.lognormal(0, 1, 20).round(2), visits=rng.integers(0, 9, 20)
    )
    table = table.assign(sex=rng.choice(["f", "m"], 20), ill=rng.choice([0, 1], 20)).astype(form)
    table = table[["lab", "t", "smoker", "id", "sex", "visits", "ill"]]
    schema = described(
        hg.Feature("smoker", "binary", levels=(False, True)),
        hg.Feature("visits", "real"),
        hg.Feature("ill", "binary", levels=("no", "yes"), codes=(0, 1)),
        hg.Feature("sex", "binary", levels=("f", "m")),
        hg.Feature("lab", "real"),
        length=2,
    )
    pd.testing.assert_frame_equal(round_trip(table, schema), table)
    encoder = CohortEncoder(schema).fit(table)
    again = CohortEncoder.from_state(encoder.state())
    pd.testing.assert_frame_equal(again.inverse_transform(again.transform(table)), table)
    assert (sampled(table, schema).dtypes == table.dtypes).all()


def test_types_outlive_the_way_from_a_table_to_a_model(tiny):
    rng, form = np.random.default_rng(0), {"lab": "Int64", "ill": "boolean", "dose": "float32", "ward": "string"}
    table = grid(20, 4, lab=rng.integers(1, 9, 80), ill=rng.random(80) < 0.5, dose=rng.integers(1, 9, 80) / 4)
    table = table.assign(ward=rng.choice(["a", "b"], 80)).astype(form | {"id": "Int32"})
    for name in form:
        table[name] = table[name].mask(rng.random(80) < 0.3)
    schema = described(
        *(hg.Feature("lab", "real"), hg.Feature("dose", "real"), hg.Feature("ill", "binary", levels=(False, True))),
        hg.Feature("ward", "binary", levels=("a", "b")),
        missing="measured",
    )
    train, _ = split_patients(load_cohort(table, schema), 0.2, schema=schema)
    encoder = CohortEncoder(schema).fit(train, validated=True)
    again = CohortEncoder(schema).fit(validate_cohort(train, schema))
    for one in (encoder, again, CohortEncoder.from_state(encoder.state())):
        back = one.inverse_transform(one.transform(train))
        assert back.dtypes.to_dict() == table.dtypes.to_dict() and back["ill"].isna().any()
    assert CohortEncoder(schema).fit(train.astype({"lab": "float32"})).state()["types"]["lab"] == "float32", (
        "a newer one"
    )


def test_whole_numbers_with_gaps_are_written_as_they_were(tmp_path, tiny):
    rows = [f"{i // 4},{i % 4},{'' if i % 3 else i},{'NA' if i % 5 == 0 else i % 2},{i}.0," for i in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["id,t,lab,ill,half,", *rows]) + "\n")
    features = [hg.Feature("lab", "real"), hg.Feature("ill", "binary", levels=(0, 1)), hg.Feature("half", "real")]
    cohort = load_cohort(tmp_path / "t.csv", described(*features, missing="measured"))
    encoder = CohortEncoder(described(*features, missing="measured")).fit(cohort)
    trainer = hg.Trainer(encoder, tiny(lengths=(2,), epochs=1), "cpu")
    trainer.fit(encoder.transform(cohort), progress=False)
    trainer.synthesizer().to_csv(tmp_path / "s.csv", 40, decode="sample")
    written = pd.read_csv(tmp_path / "s.csv", dtype=str)
    for name, form in (("lab", r"\d+"), ("ill", "[01]"), ("half", r"\d+\.0")):
        assert written[name].dropna().str.fullmatch(form).all() and written[name].notna().any()


def test_columns_of_several_levels_are_refused():
    table = grid(2, 1, lab=1.0)
    table.columns = pd.MultiIndex.from_product([["all"], table.columns])
    with pytest.raises(ValueError, match=r"columns have 2 levels; give each one name"):
        validate_cohort(table, described(hg.Feature("lab", "real"), length=1))


def test_fitting_an_encoder_anew_does_not_reach_into_a_model_that_was_made_with_it():
    schema = described(hg.Feature("lab", "real"), length=2)
    table = grid(20, 2, lab=np.random.default_rng(4).lognormal(0, 1, 40).round(2))
    encoder = CohortEncoder(schema).fit(table)
    trainer = hg.Trainer(encoder, hg.TrainConfig.v1(hidden=4, latent=4, epochs=1, lengths=(2,)), device="cpu")
    trainer.fit(encoder.transform(table), progress=False)
    synthesizer = trainer.synthesizer()
    before = [model.sample(30) for model in (synthesizer, trainer.synthesizer())]
    encoder.fit(table.assign(lab=table["lab"] * 1000 + 7))
    for model, old in zip((synthesizer, trainer.synthesizer()), before, strict=True):
        pd.testing.assert_frame_equal(model.sample(30), old)
