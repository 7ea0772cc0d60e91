"""Bootstrap intervals: the weighted forms equal the metrics, and their spread is that of new samples."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import coverage, joint_tv, ks
from hg_helpers.metrics.arrays import as_arrays
from hg_helpers.metrics.comparisons import auc_replicates, cluster_replicates, draw_weights, interval, ks_replicates
from hg_helpers.metrics.diversity import is_counted, is_covered
from hg_helpers.metrics.fidelity import joint_shares, total_variation

SCHEMA = replace(ART_DEMO, length=6)


@pytest.fixture(scope="module")
def many():
    return as_arrays(simulate_cohort(3000, months=6, seed=1), SCHEMA)


def test_patients_are_drawn_with_replacement():
    weights = draw_weights(50, 400, np.random.default_rng(0))
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)


@pytest.mark.parametrize("by", ["month", "patient"])
def test_a_replicate_is_the_metric_of_the_drawn_patients(many, by):
    rng = np.random.default_rng(0)
    a, b = many.take(np.arange(40)), many.take(np.arange(100, 130))
    weights = [draw_weights(len(c), 2, rng) for c in (a, b)]
    names = [f.name for f in SCHEMA.discrete][:3]
    _, shares = joint_shares((a, b), names, by, weights)
    found = ks_replicates(a.reals[:, :, 0], b.reals[:, :, 0], weights)
    for i in range(2):
        drawn = [c.take(np.repeat(np.arange(len(c)), w[i].astype(int))) for c, w in zip((a, b), weights, strict=True)]
        assert found[i] == pytest.approx(ks(*drawn, SCHEMA)[1]["value"][0], abs=1e-12)
        assert total_variation(shares)[i] == pytest.approx(joint_tv(*drawn, SCHEMA, names, by)[0], abs=1e-12)
        counted = is_counted(shares[0][i])
        covered = is_covered(*(s[:, counted] for s in shares))
        assert covered[i].mean() == coverage(*drawn, SCHEMA, names, by)[0]


def test_weighted_auc_equals_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    label, score = rng.random(30) < 0.4, rng.integers(0, 8, 30) / 8
    weights = draw_weights(30, 3, rng)
    repeated = [np.repeat(np.arange(30), w.astype(int)) for w in weights]
    expected = [roc_auc_score(label[rows], score[rows]) for rows in repeated]
    assert auc_replicates(label, score, weights) == pytest.approx(expected)
    assert np.isnan(auc_replicates(np.ones(3, dtype=bool), np.arange(3.0), np.ones((1, 3)))).all()


def test_the_interval_keeps_the_spread_and_lies_round_the_value():
    replicates = np.linspace(0.3, 0.5, 1001)  # distances drawn too large, as a bootstrap does
    low, high = interval(0.2, replicates, (0, 1))
    assert (low + high) / 2 == pytest.approx(0.2)
    assert high - low == pytest.approx(0.95 * 0.2)
    assert interval(0.02, replicates, (0, 1))[0] == 0  # a distance is not negative
    assert np.isnan(interval(np.nan, replicates, (0, 1))).all()
    assert np.isnan(interval(0.2, np.full(10, np.nan), (0, 1))).all()


def test_the_spread_is_that_of_new_samples(many):
    """The point of it all: sd over replicates against sd over fresh patients."""
    rng = np.random.default_rng(0)
    truth, spread = [], []
    for _ in range(40):
        order = rng.permutation(len(many))
        a, b = many.take(order[:150]), many.take(order[150:450])
        weights = [draw_weights(len(c), 60, rng) for c in (a, b)]
        _, shares = joint_shares((a, b), None, "month", weights)
        truth.append((ks(a, b, SCHEMA)[1]["value"][0], joint_tv(a, b, SCHEMA)[0]))
        spread.append((ks_replicates(a.reals[:, :, 0], b.reals[:, :, 0], weights).std(), total_variation(shares).std()))
    ratio = np.mean(spread, axis=0) / np.std(truth, axis=0)
    assert ((ratio > 0.7) & (ratio < 1.5)).all()
    # months drawn one by one, as if a patient's were strangers, would be far too sure of themselves
    months = ks_replicates(
        a.reals[:, :, 0].reshape(-1, 1),
        b.reals[:, :, 0].reshape(-1, 1),
        [draw_weights(c.reals[:, :, 0].size, 60, rng) for c in (a, b)],
    )
    assert months.std() < 0.75 * spread[-1][0]


def test_clusters_are_drawn_whole_and_too_few_of_them_say_nothing():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(20), 50)
    values = (cluster % 2).astype(float)  # all of a cluster alike
    assert cluster_replicates(values, cluster, 2000, rng).std() == pytest.approx(0.5 / np.sqrt(20), rel=0.1)
    assert np.isnan(cluster_replicates(values, cluster // 10, 5, rng)).all()
