"""Times to an outcome, Kaplan-Meier and fitted Q iteration: by hand, against other libraries, and what is refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import hg_helpers as hg
from hg_helpers.metrics import fitted_q, kaplan_meier, restricted_mean, time_to_outcome

TOY, SCHEMA = hg.exercises.toy_cohort(), hg.exercises.toy_schema()


def test_times_are_those_until_the_outcome_is_first_below_whatever_the_order_of_rows():
    for table in (TOY, TOY.sample(frac=1, random_state=1)):
        found = time_to_outcome(table, SCHEMA)  # below 1,000
        assert found.index.tolist() == [0, 1, 2]
        assert found["start"].tolist() == [100_000, 10_000, 1_000]
        assert found["months"].tolist() == [3, 3, 1] and found["reached"].all()
    strict = time_to_outcome(TOY, SCHEMA, threshold=100)
    assert strict["months"].tolist() == [3, 3, 3] and not strict["reached"].any()  # seen until month 3, never below


def test_a_schema_without_an_outcome_or_threshold_is_an_error():
    plain = hg.Schema([dataclasses.replace(SCHEMA["VL"], role=None, threshold=None), *SCHEMA.features[1:]], length=4)
    with pytest.raises(ValueError, match="role 'outcome'"):
        time_to_outcome(TOY, plain, threshold=5)
    unknown = hg.Schema([dataclasses.replace(SCHEMA["VL"], threshold=None), *SCHEMA.features[1:]], length=4)
    with pytest.raises(ValueError, match="no threshold"):
        time_to_outcome(TOY, unknown)
    assert time_to_outcome(TOY, unknown, threshold=1000)["months"].tolist() == [3, 3, 1]


def test_kaplan_meier_is_scipys_curve():
    rng = np.random.default_rng(0)
    months, reached = rng.integers(0, 20, 200), rng.random(200) < 0.5
    found = kaplan_meier(months, reached)
    scipys = stats.ecdf(stats.CensoredData(uncensored=months[reached], right=months[~reached])).cdf
    assert found["reached"].to_numpy() == pytest.approx(scipys.evaluate(found.index.to_numpy()))
    assert found["at_risk"][0] == 200 and found["events"].sum() == reached.sum()


def test_the_restricted_mean_is_the_mean_wait_where_nobody_is_lost():
    months = np.array([0, 3, 9, 4, 30])
    curve = kaplan_meier(months, np.ones(5, dtype=bool))
    for until in (1, 5, 12, 40):
        assert restricted_mean(curve, until) == pytest.approx(np.minimum(months, until).mean())


@pytest.mark.parametrize(
    ("months", "reached", "says"),
    [
        ([], [], "at least one patient"),
        ([-1, 2], [True, True], "months must be 2 whole numbers from 0 on; entry 0 is -1"),
        ([2.5, 3], [True, True], "months .* entry 0 is 2.5"),  # rounded down it would be another course
        ([1, None], [True, True], "months .* entry 1 is nan"),
        (["1", "soon"], [True, True], "months .* entry 1 is 'soon'"),
        ([1, 2], [0, 2], "reached must be 2 whole numbers from 0 to 1; entry 1 is 2"),  # R's 2 for an event
        ([1, 2], [True, None], "reached .* entry 1 is None"),
        ([1, 2], [True], "reached must be 2 whole numbers from 0 to 1; it has 1"),
    ],
)
def test_kaplan_meier_of_what_is_no_course_is_an_error(months, reached, says):
    with pytest.raises(ValueError, match=says):
        kaplan_meier(months, reached)


def test_kaplan_meier_takes_what_a_table_holds():
    expected = kaplan_meier([1, 2, 2], [True, False, True])
    for reached in (pd.Series([1, 0, 1], index=[7, 8, 9]), pd.array([True, False, True], dtype="boolean"), [1.0, 0, 1]):
        assert kaplan_meier(pd.Series([1.0, 2, 2]), reached).equals(expected)


def test_where_visits_have_times_of_their_own_the_wait_is_a_time_and_no_count_of_visits():
    lab = hg.Feature("lab", "real", role="outcome", threshold=10)
    schema = hg.Schema([lab], patient="who", time="day", regular=False)
    days = [3, 40, 200, 0, 15]  # the first patient comes on day 3, is below 10 at the third visit; the second never is
    table = pd.DataFrame({"who": [1, 1, 1, 2, 2], "day": days, "lab": [50.0, 20, 5, 30, 11]})
    dates = pd.Timestamp("2001-02-27") + pd.to_timedelta(table["day"], unit="D")
    for given in (table, table.sample(frac=1, random_state=0), table.assign(day=dates)):
        found = time_to_outcome(given, schema)
        assert found["time"].tolist() == [197, 15] and found["reached"].tolist() == [True, False]
        assert "months" not in found
    german = time_to_outcome(
        table.assign(day=dates.dt.strftime("%d.%m.%Y")), dataclasses.replace(schema, date_format="%d.%m.%Y")
    )
    assert german["time"].tolist() == [197, 15]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        # else it would be the next state's first action, or the last state's
        ({"action": [0, 2]}, "action must be 2 whole numbers from 0 to 1; entry 1 is 2"),
        ({"state": [0, -1]}, "state must be 2 whole numbers from 0 to 1; entry 1 is -1"),
        ({"following": [0, 5]}, "following .* entry 1 is 5"),
        ({"following": [0]}, "following must be 2 whole numbers from 0 to 1; it has 1"),
        ({"reward": [0.0, np.nan]}, "reward must be 2 numbers"),
        ({"reward": [0.0, 1.0, 2.0]}, "reward must be 2 numbers"),
    ],
)
def test_a_decision_that_cannot_be_is_refused_and_not_booked_on_another_one(wrong, says):
    steps = {"state": [0, 1], "action": [0, 1], "reward": [0.0, 1.0], "following": [1, 1]}
    fitted_q(**steps, shape=(2, 2))
    with pytest.raises(ValueError, match=says):
        fitted_q(**(steps | wrong), shape=(2, 2))


def test_fitted_q_solves_a_process_whose_values_are_known():
    # two states; action 0 stays, action 1 goes to the other; state 1 pays 1 a step, a move costs 0.5
    state, action = np.repeat([0, 0, 1, 1], 20), np.tile(np.repeat([0, 1], 20), 2)
    following = np.where(action == 0, state, 1 - state)
    reward = following - 0.5 * action
    found = fitted_q(state, action, reward, following, shape=(2, 2), discount=0.9)
    stays_well = 1 / (1 - 0.9)
    moves = 0.5 + 0.9 * stays_well
    expected = [[0.9 * moves, moves], [stays_well, -0.5 + 0.9 * moves]]
    assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_what_was_hardly_ever_done_is_left_out_and_cannot_lend_its_value():
    state, action = np.array([0] * 10 + [1] * 10 + [1]), np.array([0] * 20 + [1])
    following, reward = np.array([1] * 10 + [1] * 11), np.array([0.0] * 20 + [100.0])
    found = fitted_q(state, action, reward, following, shape=(3, 2), minimum=10)
    assert np.isnan(found).tolist() == [[False, True], [False, True], [True, True]]
    assert found[:2, 0].tolist() == [0, 0]
    assert fitted_q(state, action, reward, following, shape=(3, 2), minimum=1)[0, 0] > 50


@pytest.mark.parametrize("discount", [1, 1.5, -0.1, float("nan")])
def test_a_discount_with_which_values_grow_without_end_is_refused(discount):
    one = np.zeros(1, dtype=int)
    with pytest.raises(ValueError, match="discount must be at least 0 and below 1"):
        fitted_q(one, one, one, one, shape=(1, 1), discount=discount)


def test_the_shipped_courses_are_those_of_nine_runs():
    made = pd.read_csv(hg.data_folder() / "results" / "disparity.csv")
    assert (made.groupby(["model", "seed"]).size() == 800).all()
    assert made.groupby("model")["seed"].nunique().to_dict() == {"v1": 3, "v2": 3, "v2_plus": 3}
    assert made["suppressed"].between(0, 1).all() and made["months"].between(0, 59).all()
