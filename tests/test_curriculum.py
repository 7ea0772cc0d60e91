"""Every patient at every length in every epoch, in an order that can be taken up again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hg_helpers.model.config import curriculum_batches


def order_at(length, **changes) -> list[int]:
    """Patients in the order in which they are visited at this length."""
    settings = {"patients": 30, "lengths": (10, 20, 60), "batch_size": 7, "seed": 0, "epoch": 0, **changes}
    return torch.cat([patients for months, patients in curriculum_batches(**settings) if months == length]).tolist()


@settings(max_examples=60, deadline=None)
@given(
    patients=st.integers(2, 70), batch_size=st.integers(1, 80), seed=st.integers(0, 2**40), epoch=st.integers(0, 500)
)
def test_every_patient_is_seen_once_at_each_length_whatever_the_batch_size(patients, batch_size, seed, epoch):
    batches = list(curriculum_batches(patients, (2, 5, 9), batch_size, seed, epoch))
    assert [length for length, _ in batches] == sorted(length for length, _ in batches)
    for months in (2, 5, 9):
        groups = [group for length, group in batches if length == months]
        assert len(groups) == int(np.ceil(patients / batch_size))
        assert sorted(torch.cat(groups).tolist()) == list(range(patients))
        sizes = [len(group) for group in groups]
        assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1


def test_300_patients_in_batches_of_256_leave_nobody_out():
    assert [len(group) for _, group in curriculum_batches(300, (60,), 256, 0, 0)] == [150, 150]


def test_a_batch_larger_than_the_cohort_is_the_cohort():
    ((length, group),) = curriculum_batches(3, (60,), 256, 0, 0)
    assert length == 60 and sorted(group.tolist()) == [0, 1, 2]


def test_lengths_are_visited_in_the_order_given():
    assert [length for length, _ in curriculum_batches(2, (30, 10, 60), 2, 0, 0)] == [30, 10, 60]


def test_the_order_is_a_function_of_seed_epoch_and_length_alone():
    here = order_at(20)
    torch.manual_seed(123)
    np.random.seed(123)
    assert order_at(20) == here
    assert order_at(20, lengths=(20,)) == here  # whatever was visited before
    assert order_at(20, batch_size=30) == here


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}])
def test_the_order_changes_with_seed_and_epoch(change):
    assert order_at(20, **change) != order_at(20)


def test_the_order_changes_with_the_length():
    assert order_at(20) != order_at(10) and order_at(20) != order_at(60)


def test_seed_and_epoch_are_not_interchangeable():
    assert order_at(20, seed=1, epoch=2) != order_at(20, seed=2, epoch=1)


def test_batches_are_indices_for_a_tensor():
    x = torch.arange(12.0).view(4, 3)
    for length, patients in curriculum_batches(4, (2,), 3, 0, 0):
        assert patients.dtype == torch.int64 and x[patients, :length].shape == (2, 2)
