"""What all metrics keep: tables or arrays in, the same numbers out, and what is said of each in one place."""

import inspect

import numpy as np
import pandas as pd
import pytest
from metric_tables import binary, real, schema_of, table

from hg_helpers import metrics
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.metrics import BEST, METRICS, as_arrays

LAB = real("lab", role="outcome", threshold=0.5)
SCHEMA = schema_of(LAB, real("other"), binary("sex", static=True), binary("drug", role="regimen"), months=8)
FUNCTIONS = {name: getattr(metrics, name) for name in metrics.__all__ if name in METRICS}
PAIRS = [name for name, metric in FUNCTIONS.items() if "train" not in inspect.signature(metric).parameters]
PAIRS = [name for name in PAIRS if METRICS[name].group != "visits"]  # of other tables: test_metrics_visits.py


def cohort(seed: int, patients: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    words = np.array(["no", "yes"])
    sex = np.repeat(rng.integers(0, 2, (patients, 1)), 8, axis=1)
    labs = rng.random((2, patients, 8))
    return table(SCHEMA, *labs, words[sex], words[rng.integers(0, 2, (patients, 8))])


@pytest.mark.parametrize("name", PAIRS)
def test_arrays_give_what_tables_give_and_need_no_schema(name):
    compute, (a, b) = FUNCTIONS[name], (cohort(1), cohort(2))
    encoder = CohortEncoder(SCHEMA).fit(a)
    value, behind = compute(a, b, SCHEMA)
    same, also = compute(*(as_arrays(c, SCHEMA, encoder) for c in (a, b)))
    assert value == same
    pd.testing.assert_frame_equal(behind, also)
    assert compute(as_arrays(a, SCHEMA, encoder), b)[0] == value  # the second table takes the first one's scale


def test_every_metric_of_the_report_is_registered_with_its_best_value_in_its_range():
    assert list(BEST) == [m.name for group in metrics.report.GROUPS for m in METRICS.values() if m.group == group]
    for name, metric in METRICS.items():
        assert metric.limits[0] <= BEST[name] <= metric.limits[1]


@pytest.mark.parametrize("name", PAIRS)
def test_values_lie_in_the_registered_range(name):
    low, high = METRICS[name].limits
    for a, b in ((1, 2), (3, 3)):
        value, _ = FUNCTIONS[name](cohort(a), cohort(b), SCHEMA)
        assert low <= value <= high


def test_arrays_of_another_schema_without_a_scale_or_with_two_scales_are_refused():
    a, b = cohort(1), cohort(2)
    arrays = as_arrays(a, SCHEMA)
    other = SCHEMA.select(["lab", "drug"])
    with pytest.raises(ValueError, match="another schema"):
        metrics.ks(arrays, b, other)
    with pytest.raises(ValueError, match="another schema"):
        metrics.ks(arrays, as_arrays(b, other))
    with pytest.raises(ValueError, match=r"no scale.*as_arrays"):
        metrics.wasserstein(arrays, arrays)
    with pytest.raises(ValueError, match="different encoders"):
        metrics.wasserstein(*(as_arrays(c, SCHEMA, CohortEncoder(SCHEMA).fit(c)) for c in (a, b)))
    encoder = CohortEncoder(SCHEMA).fit(a)
    before = as_arrays(a, SCHEMA, encoder)
    encoder.fit(b)  # arrays that were made before keep their scale, and say so
    with pytest.raises(ValueError, match="different encoders"):
        metrics.wasserstein(before, as_arrays(b, SCHEMA, encoder))
    with pytest.raises(ValueError, match="schema must be a Schema"):
        metrics.ks(a, b)


def test_an_encoder_is_taken_by_keyword_and_behind_the_schema_and_sets_the_scale():
    a, b = cohort(1), cohort(2)
    wide = CohortEncoder(SCHEMA).fit(pd.concat([a, a.assign(id=a["id"] + 100, lab=a["lab"] * 10)]))
    lab = [metrics.wasserstein(a, b, SCHEMA, **scale)[1]["value"][0] for scale in ({}, {"encoder": wide})]
    assert lab[1] < lab[0] / 5
    assert metrics.wasserstein(a, b, SCHEMA, wide)[1]["value"][0] == lab[1]


def test_signatures_say_what_a_reader_can_pass():
    assert list(inspect.signature(metrics.coverage).parameters) == [
        "real",
        "synthetic",
        "schema",
        "features",
        "by",
        "floor",
        "minimum",
    ]
    assert list(inspect.signature(metrics.prdc_density).parameters) == ["real", "synthetic", "schema", "k", "encoder"]
    with pytest.raises(TypeError, match="synthetic"):
        metrics.ks(cohort(1))
