"""The encoding: exact on the way there, complete on the way back, for every schema."""

import copy
import logging
import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.load import validate_cohort
from hg_helpers.cohort.scaling import box_cox_lambda
from hg_helpers.cohort.schema import Feature, Schema


def one_real(values, transform="box-cox", length=1) -> tuple[pd.DataFrame, Schema]:
    """A table with a single real feature, and its schema."""
    schema = Schema([Feature("lab", "real", transform=transform)], length=length)
    rows = np.arange(len(values))
    return pd.DataFrame({"PatientID": rows // length, "Timestep": rows % length, "lab": values}), schema


# --- the Box-Cox parameter --------------------------------------------------------------------------------------------

SHAPES = {
    "lognormal": lambda normal: np.exp(normal),
    "negative lambda": lambda normal: 1 / np.square(3 + 0.4 * normal.clip(-5, 5)),
    "lambda above one": lambda normal: np.sqrt(10 + normal.clip(-5, 5)),
    "two peaks": lambda normal: np.exp(normal + 4 * (normal > 0.5)),
}


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
@pytest.mark.parametrize("shape", SHAPES)
def test_lambda_is_scipys_maximum_likelihood_estimate(shape, scale):
    values = scale * SHAPES[shape](np.random.default_rng(0).normal(size=100_000))
    expected = stats.boxcox_normmax(values, method="mle")
    assert box_cox_lambda(values) == pytest.approx(expected, abs=1e-6)
    assert (shape == "negative lambda") == (expected < -0.3)


def test_lambda_maximises_the_likelihood_written_out():
    values = np.random.default_rng(1).gamma(2.0, size=500)

    def log_likelihood(lam):
        return (lam - 1) * np.log(values).sum() - 250 * np.log(((values**lam - 1) / lam).var())

    best = box_cox_lambda(values)
    assert log_likelihood(best) > max(log_likelihood(best - 1e-3), log_likelihood(best + 1e-3))


# --- the equations ----------------------------------------------------------------------------------------------------


def test_a_real_feature_is_box_cox_of_x_plus_a_thousandth_then_min_max():
    values = np.exp(np.random.default_rng(2).normal(3, 1.5, size=400))
    x = CohortEncoder(one_real(values)[1]).fit(one_real(values)[0]).transform(one_real(values)[0])
    shaped = stats.boxcox(values + 0.001, stats.boxcox_normmax(values + 0.001, method="mle"))
    expected = (shaped - shaped.min()) / (shaped.max() - shaped.min())
    np.testing.assert_allclose(x[:, 0, 0], expected, atol=1e-6)
    assert (x.min(), x.max(), x.dtype) == (0, 1, torch.float32)


@pytest.mark.parametrize("transform", ["yeo-johnson", "none"])
def test_values_of_any_sign_are_transformed_as_the_feature_says(transform):
    values = np.random.default_rng(3).normal(0.5, 2, size=300)
    table, schema = one_real(values, transform)
    x = CohortEncoder(schema).fit(table).transform(table)
    shaped = stats.yeojohnson(values)[0] if transform == "yeo-johnson" else values
    expected = (shaped - shaped.min()) / (shaped.max() - shaped.min())
    np.testing.assert_allclose(x[:, 0, 0], expected, atol=1e-5)


def test_by_ranks_even_numbers_come_back_as_the_training_values_were_spread():
    rng = np.random.default_rng(3)  # visits after half a year or a year, and now and then much later
    days = np.concatenate(
        [rng.normal(184, 9, 500), rng.normal(365, 15, 1000), np.full(400, 390), rng.gamma(2, 600, 60)]
    )
    table, schema = one_real(days.round(), "ranks")
    encoder = CohortEncoder(schema).fit(table)
    assert encoder.inverse_transform(encoder.transform(table))["lab"].tolist() == days.round().tolist()
    drawn = encoder.inverse_transform(torch.linspace(0, 1, 5000).view(-1, 1, 1))["lab"]
    assert stats.ks_2samp(drawn, days.round()).statistic < 0.02
    encoder.transform(one_real(np.array([days.min() - 5, 365.0, days.max() + 5]), "ranks")[0])
    assert encoder.clipped == {"lab": 2}


def test_discrete_features_are_one_hot_in_the_schemas_level_order(cohort, encoder, schema, x):
    table = validate_cohort(cohort, schema)
    for feature in schema.discrete:
        block = x[..., schema.spans[feature.name]].reshape(-1, feature.channels)
        assert torch.equal(block.sum(-1), torch.ones(len(table)))
        assert torch.equal(block.max(-1).values, torch.ones(len(table)))
        assert [feature.codes[i] for i in block.argmax(-1)] == table[feature.name].tolist()


def test_the_demo_schema_gives_22_channels_for_each_patient_and_month(x):
    assert tuple(x.shape) == (40, 6, 22) and x.dtype == torch.float32


# --- there and back ---------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6)


@st.composite
def described_tables(draw) -> tuple[pd.DataFrame, Schema]:
    """A schema of any shape and a table that it describes; columns in any order, rows in any order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    length, patients, regular = draw(st.integers(1, 4)), draw(st.integers(2, 6)), draw(st.booleans())
    n = length * patients
    names = draw(st.lists(TEXT, min_size=3, max_size=8, unique=True))
    columns = {
        names[0]: np.repeat(
            [f"p{i}" for i in range(patients)] if draw(st.booleans()) else range(5, 5 + patients), length
        ),
        names[1]: np.tile(np.arange(length) * (1 if regular else 17) + draw(st.integers(0, 3)), patients),
    }
    features = []
    for name in names[2:]:
        kind = draw(st.sampled_from(["real", "binary", "categorical"]))
        static = draw(st.booleans())
        if kind == "real":
            transform = draw(st.sampled_from(["box-cox", "yeo-johnson", "ranks", "none"]))
            normal, scale = rng.normal(size=n), 10.0 ** draw(st.integers(-2, 5))
            values = scale * np.exp(draw(st.floats(0.05, 1.5)) * normal)
            if draw(st.booleans()):
                values[rng.random(n) < 0.3] = 0.0
            if transform == "yeo-johnson":
                values = 3 * normal + draw(st.floats(-2, 2))
            elif transform == "none":
                values = scale * normal
            features.append(Feature(name, kind, transform=transform, static=static))
            columns[name] = values
        else:
            size = 2 if kind == "binary" else draw(st.integers(2, 5))
            levels = draw(st.lists(TEXT, min_size=size, max_size=size, unique=True))
            number = st.one_of(st.integers(-5, 9), st.sampled_from([0.5, 1.5, -2.5]))
            codes = draw(st.one_of(st.just(()), st.lists(number, min_size=size, max_size=size, unique=True)))
            features.append(Feature(name, kind, tuple(levels), tuple(codes), static=static))
            columns[name] = pd.Index(features[-1].codes).take(rng.integers(0, size, n))
    schema = Schema(draw(st.permutations(features)), names[0], names[1], length, regular)
    table = pd.DataFrame({name: columns[name] for name in draw(st.permutations(names))})
    return table.sample(frac=1, random_state=int(rng.integers(1000))), schema


@settings(max_examples=60, deadline=None)
@given(described_tables())
def test_every_table_comes_back_as_it_went_in(described):
    table, schema = described
    encoder = CohortEncoder(schema).fit(table)
    x = encoder.transform(table)
    back, expected = encoder.inverse_transform(x), validate_cohort(table, schema)
    assert tuple(x.shape) == (expected[schema.patient].nunique(), schema.length, encoder.layout.channels)
    assert x.min() >= 0 and x.max() <= 1 and encoder.clipped == {}
    assert list(back.columns) == list(expected.columns)
    for feature in schema:
        there, again = expected[feature.name].to_numpy(), back[feature.name].to_numpy()
        if feature.is_real:
            np.testing.assert_allclose(again, there, rtol=0, atol=1e-4 * (np.ptp(there) or 1e-9))
        else:
            assert again.tolist() == there.tolist() and back[feature.name].dtype == expected[feature.name].dtype
    patients = expected[schema.patient].nunique()
    ids = [f"p{patients + i}" if isinstance(expected[schema.patient][0], str) else i for i in range(patients)]
    assert back[schema.patient].tolist() == np.repeat(ids, schema.length).tolist()
    assert back[schema.time].tolist() == expected[schema.time].tolist()
    again = CohortEncoder.from_state(encoder.state()).transform(table)
    assert torch.equal(again, x)


def test_permuting_the_features_permutes_the_channels(cohort, encoder, schema, x):
    names = ["Extra pk-En", "VL", "Base Drug Combo", "Gender", "CD4", "Extra PI", "Ethnic"]
    permuted = schema.select(names)
    y = CohortEncoder(permuted).fit(cohort).transform(cohort)
    for name in names:
        assert torch.equal(y[..., permuted.spans[name]], x[..., schema.spans[name]])


def test_rows_in_any_order_give_the_same_tensor(cohort, encoder, x):
    assert torch.equal(encoder.transform(cohort.sample(frac=1, random_state=0)), x)


@pytest.mark.parametrize("row", [0, 9, 100])
def test_a_dropped_row_is_an_error_naming_the_patient(cohort, encoder, row):
    patient = cohort["PatientID"].iloc[row]
    with pytest.raises(ValueError, match=rf"patient {patient}\b"):
        encoder.transform(cohort.drop(index=row))
    with pytest.raises(ValueError, match=rf"patient {patient}\b"):
        CohortEncoder(encoder.schema).fit(cohort.drop(index=row))


def test_a_tensor_of_other_months_and_soft_channels_is_decoded_too(encoder, schema):
    soft = torch.rand(3, 2, schema.channels, generator=torch.Generator().manual_seed(0))
    table = encoder.inverse_transform(soft, first_patient=7)
    assert table["PatientID"].tolist() == [7, 7, 8, 8, 9, 9] and table["Timestep"].tolist() == [0, 1] * 3
    block = soft[..., schema.spans["Ethnic"]].reshape(6, 4)
    assert table["Ethnic"].tolist() == [(1, 2, 3, 4)[i] for i in block.argmax(-1)]


def test_the_largest_channel_wins_and_the_first_of_equals(encoder, schema):
    equal = torch.zeros(1, 1, schema.channels)
    assert encoder.inverse_transform(equal)[["Gender", "Ethnic", "Extra PI"]].values.tolist() == [[1, 1, 0]]


# --- the edges of the range -------------------------------------------------------------------------------------------


def test_values_outside_the_training_range_are_clipped_counted_and_said(caplog):
    table, schema = one_real(np.linspace(1, 100, 50))
    encoder = CohortEncoder(schema).fit(table)
    other = one_real(np.array([0.5, 1.0, 100.0, 101.0, 1e9]))[0]
    with caplog.at_level(logging.INFO, "hg_helpers"):
        x = encoder.transform(other)
    assert x[:, 0, 0].tolist() == [0, 0, 1, 1, 1] and encoder.clipped == {"lab": 3}
    assert "lab 3" in caplog.text
    np.testing.assert_allclose(encoder.inverse_transform(x)["lab"], [1, 1, 100, 100, 100], rtol=1e-6)
    encoder.transform(table)
    assert encoder.clipped == {}  # of the last table only


def test_the_message_counts_each_feature(caplog):
    schema = Schema([Feature("a", "real", transform="none"), Feature("b", "real", transform="none")], length=1)
    table = pd.DataFrame({"PatientID": range(3), "Timestep": 0, "a": [0.0, 1, 2], "b": [0.0, 1, 2]})
    encoder = CohortEncoder(schema).fit(table)
    with caplog.at_level(logging.INFO, "hg_helpers"):
        encoder.transform(table.assign(a=[-1.0, 1, 3], b=[0.0, 2, 4]))
    (said,) = caplog.messages
    assert re.fullmatch(r"values outside .*: a 2, b 1", said)


def test_what_a_generator_says_outside_zero_to_one_is_the_end_of_the_range():
    table, schema = one_real(np.linspace(1, 100, 50), "none")
    soft = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5]).view(-1, 1, 1)
    back = CohortEncoder(schema).fit(table).inverse_transform(soft)["lab"]
    np.testing.assert_allclose(back, [1, 1, 50.5, 100, 100])


def test_the_training_patients_alone_decide_about_the_range():
    table, schema = one_real(np.linspace(1, 100, 50))
    encoder = CohortEncoder(schema).fit(table)
    before = encoder.state()
    encoder.transform(one_real(np.linspace(0, 1e6, 50))[0])
    assert encoder.state() == before


def test_zeros_come_back_as_zeros_and_never_below():
    values = np.exp(np.random.default_rng(4).normal(size=300))
    values[::3], values[1] = 0.0, -1e-9  # rounding dust, which the cohort's check lets in
    table, schema = one_real(values)
    encoder = CohortEncoder(schema).fit(table)
    back = encoder.inverse_transform(encoder.transform(table))["lab"].to_numpy()
    assert back.min() == 0.0
    np.testing.assert_allclose(back[::3], 0.0, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 36.6, 1e9])
@pytest.mark.parametrize("transform", ["box-cox", "yeo-johnson", "ranks", "none"])
def test_a_constant_stays_constant_whatever_the_generator_says(value, transform):
    table, schema = one_real(np.full(6, value), transform)
    encoder = CohortEncoder(schema).fit(table)
    assert torch.equal(encoder.transform(table), torch.zeros(6, 1, 1))
    assert encoder.inverse_transform(torch.rand(4, 1, 1))["lab"].tolist() == [value] * 4
    encoder.transform(one_real(np.array([value, value + 0.5]), transform)[0])
    assert encoder.clipped == {"lab": 1}


@pytest.mark.parametrize("values", [[5.0, 5.0], [-1.0, 3.0]])
def test_what_is_not_reshaped_is_stored_as_lambda_one_in_units_of_one(values):
    table, schema = one_real(np.array(values), "box-cox" if values[0] == values[1] else "none")
    lowest, span = min(values), max(values) - min(values)
    assert CohortEncoder(schema).fit(table).state()["codes"] == {"lab": ["none", 1.0, lowest, span, 1.0, 0, None]}


def body_temperature() -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.where(rng.random(2000) < 0.05, 37 + rng.gamma(2, 0.7, 2000), rng.normal(36.8, 0.3, 2000))


def test_values_far_from_zero_with_a_tail_keep_their_digits():
    # lambda is about -30 here: 37**-30 beside 1 is nothing but rounding, unless the unit is chosen with care
    temperature = body_temperature()
    table, schema = one_real(temperature)
    encoder = CohortEncoder(schema).fit(table)
    x = encoder.transform(table)
    assert len(x.unique()) > 1900
    np.testing.assert_allclose(encoder.inverse_transform(x)["lab"], temperature, atol=1e-3)


def test_the_encoding_does_not_depend_on_the_unit():
    values = np.exp(np.random.default_rng(6).normal(5, 1, size=500))
    for unit in (1e3, 1e6):
        here, there = one_real(values), one_real(values * unit)
        x, y = (CohortEncoder(schema).fit(table).transform(table) for table, schema in (here, there))
        np.testing.assert_allclose(x, y, atol=1e-4)  # up to the thousandth that is added before


@pytest.mark.filterwarnings("error")  # one error in words, without numpy's warnings about the way there
def test_a_transform_that_cannot_be_undone_gives_way_to_scaling_alone_and_says_so(caplog):
    for values in (body_temperature(), np.array([-1.0, 0.0, 1e200])):  # of the second scipy finds no parameter at all
        with caplog.at_level(logging.INFO, "hg_helpers"):
            table, schema = one_real(values, "yeo-johnson")
            encoder = CohortEncoder(schema).fit(table)
        assert "column 'lab': its values do not survive the yeo-johnson transform" in caplog.text
        caplog.clear()
        assert encoder.state()["codes"]["lab"][0] == "none"
        back = encoder.inverse_transform(encoder.transform(table))["lab"]
        np.testing.assert_allclose(back, values, atol=1e-6 * np.ptp(values))


@pytest.mark.filterwarnings("error")
def test_values_that_nothing_brings_back_are_refused_naming_the_column():
    table, schema = one_real(np.array([-1.5e308, 0.0, 1.5e308]), "none")  # the range overflows
    with pytest.raises(ValueError, match=r"'lab'.*-1\.5e\+308 to 1\.5e\+308.*wrong$"):  # no advice to do as it does
        CohortEncoder(schema).fit(table)
    table, schema = one_real(np.array([1e-300, 1.0, 1e300]))  # the search overflows on its way and arrives
    assert CohortEncoder(schema).fit(table).transform(table)[:, 0, 0].tolist() == pytest.approx([0, 0.01, 1], abs=0.02)


@pytest.mark.filterwarnings("error")
def test_values_that_differ_though_their_logarithms_do_not_are_told_apart():
    table, schema = one_real(1e9 + np.array([0.0, 0.0, 1e-6]))  # any lambda is as likely as another: variance 0
    assert CohortEncoder(schema).fit(table).transform(table)[:, 0, 0].tolist() == [0, 0, 1]


def test_box_cox_of_a_negative_value_is_refused_with_the_way_out():
    table, schema = one_real(np.array([1.0, 2.0, -3.0]))
    with pytest.raises(ValueError, match=r"'lab'.*patient 2.*-3\.0.*yeo-johnson"):
        CohortEncoder(schema).fit(table)


@pytest.mark.parametrize("values", [[1.0, 2.0], [0.0, 1.0], [5.0, 5.0, 5.1]])
def test_two_or_three_values_are_enough(values):
    table, schema = one_real(np.array(values))
    encoder = CohortEncoder(schema).fit(table)
    np.testing.assert_allclose(encoder.inverse_transform(encoder.transform(table))["lab"], values, atol=1e-6)


# --- misuse and storage -----------------------------------------------------------------------------------------------


def test_an_encoder_that_has_seen_nothing_says_so(cohort):
    for use in (
        lambda e: e.transform(cohort),
        lambda e: e.inverse_transform(torch.zeros(1, 6, 22)),
        lambda e: e.state(),
    ):
        with pytest.raises(RuntimeError, match=r"fit\(train\)"):
            use(CohortEncoder(ART_DEMO))
    assert CohortEncoder(ART_DEMO).columns == ART_DEMO.columns and CohortEncoder(ART_DEMO).clipped == {}


@pytest.mark.parametrize("shape", [(2, 6, 21), (6, 22), (2, 6, 22, 1)])
def test_a_tensor_of_the_wrong_shape_is_refused(encoder, shape):
    with pytest.raises(ValueError, match=r"patients, months, 22"):
        encoder.inverse_transform(torch.zeros(shape))


def test_the_state_survives_a_checkpoint_without_running_code(tmp_path, cohort, encoder, x):
    torch.save(encoder.state(), tmp_path / "encoder.pt")
    again = CohortEncoder.from_state(torch.load(tmp_path / "encoder.pt", weights_only=True))
    assert again.schema == encoder.schema and again.columns == encoder.columns
    assert torch.equal(again.transform(cohort), x)
    pd.testing.assert_frame_equal(again.inverse_transform(x), encoder.inverse_transform(x))


def test_an_encoder_can_be_copied_and_pickled(cohort, encoder, x):
    for again in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert torch.equal(again.transform(cohort), x)


def test_decoded_months_begin_where_the_cohorts_do(cohort, schema):
    later = cohort.assign(Timestep=cohort["Timestep"] + 12)
    encoder = CohortEncoder(schema).fit(later)
    assert encoder.inverse_transform(encoder.transform(later))["Timestep"].tolist() == later["Timestep"].tolist()
    visits = replace(schema, regular=False)
    encoder = CohortEncoder(visits).fit(later)
    assert encoder.inverse_transform(encoder.transform(later))["Timestep"].tolist() == later["Timestep"].tolist()
