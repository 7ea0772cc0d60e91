"""Where noise comes from: the distributions, the buffer's bookkeeping, and that drawing never changes a model."""

import copy

import numpy as np
import pytest
import torch

from hg_helpers.model.latent import (
    MEMORIES,
    SOURCES,
    GaussianPrototypes,
    LatentBuffer,
    NoisyBuffer,
    PersistentNoise,
    UniformNoise,
    group_means,
)


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(patients, months=2, width=3, seed=0) -> torch.Tensor:
    return torch.randn(patients, months, width, generator=seeded(seed))


def filled(source=LatentBuffer, patients=5, months=2, width=3) -> LatentBuffer:
    buffer = source(width)
    buffer.update(latents(patients, months, width), seeded())
    return buffer


def holding(prototypes, scale=0.0, source=LatentBuffer) -> LatentBuffer:
    """A buffer that remembers exactly these (n, Z)."""
    buffer = source(prototypes.shape[1])
    buffer.prototypes = prototypes[:, None].clone()
    buffer.scale = torch.full((1, 1, prototypes.shape[1]), scale)
    return buffer


# --- sources without memory -------------------------------------------------------------------------------------------


def test_uniform_noise_is_uniform_on_the_unit_interval_and_new_each_month():
    z = UniformNoise(4).draw(500, 60, seeded())
    assert z.shape == (500, 60, 4) and z.min() >= 0 and z.max() < 1
    assert z.mean() == pytest.approx(0.5, abs=0.005) and z.var() == pytest.approx(1 / 12, abs=0.001)
    # independent months: a patient's mean varies by 1 / L of one month's variance
    assert z.mean(1).var() == pytest.approx(1 / 12 / 60, rel=0.1)


def test_persistent_noise_keeps_a_normal_draw_for_all_of_a_patients_months():
    z = PersistentNoise(4).draw(2000, 60, seeded())
    assert z.shape == (2000, 60, 4)
    monthly = z - z.mean(1, keepdim=True)
    assert (z.amax(1) - z.amin(1)).max() <= 2  # of the months' own part, U(-1, 1)
    assert monthly.var() == pytest.approx(1 / 3 * 59 / 60, rel=0.02)
    own = z.mean(1)
    assert own.mean() == pytest.approx(0, abs=0.03) and own.var() == pytest.approx(1 + 1 / 3 / 60, rel=0.04)
    assert (own.abs() > 2).float().mean() == pytest.approx(0.0455, abs=0.01)  # normal, not uniform
    assert np.corrcoef(own.numpy().T)[0, 1] == pytest.approx(0, abs=0.06)  # its own in each dimension


# --- the buffer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patients", [1, 2, 10_000, 10_001])
def test_the_buffer_remembers_each_patient_up_to_ten_thousand(patients):
    buffer, t = LatentBuffer(3), latents(patients)
    buffer.update(t, seeded())
    kept = min(patients, 10_000)
    assert buffer.prototypes.shape == (kept, 1, 3)
    known = {tuple(row) for row in t.mean(1).tolist()}
    rows = [tuple(row) for row in buffer.prototypes[:, 0].tolist()]
    assert len(set(rows)) == kept and set(rows) <= known


def test_batches_of_one_patient_accumulate():
    buffer = LatentBuffer(3)
    for seed in range(4):
        buffer.update(latents(1, seed=seed), seeded())
    expected = torch.cat([latents(1, seed=seed).mean(1, keepdim=True) for seed in range(4)])
    assert torch.equal(buffer.prototypes, expected)


def test_the_share_of_distinct_prototypes_stays_one_when_the_buffer_is_full():
    buffer, random, newest = LatentBuffer(2, capacity=100), seeded(), 0
    for batch in range(60):
        first = batch * 32
        buffer.update(torch.arange(first, first + 32.0).view(32, 1, 1).expand(32, 2, 2), random)
        newest = first + 32
        ids = buffer.prototypes[:, 0, 0].tolist()
        assert len(set(ids)) == len(ids) == min(newest, 100)
    # a random subset stays: neither the newest alone nor the oldest
    assert min(ids) < newest - 100 and max(ids) >= newest - 32
    shares = [sum(i >= newest - 32 * k for i in ids) / 100 for k in (1, 2)]
    assert 0.05 < shares[0] < 0.5 and shares[0] < shares[1] < 0.9


def test_a_buffer_that_is_just_full_has_nothing_to_choose():
    buffer, random = LatentBuffer(3, capacity=5), seeded()
    buffer.update(latents(5), random)
    assert torch.equal(buffer.prototypes, latents(5).mean(1, keepdim=True))
    assert torch.equal(random.get_state(), seeded().get_state())


def test_which_prototypes_stay_is_the_generators_choice_alone():
    kept = []
    for seed in (0, 0, 1):
        buffer = LatentBuffer(3, capacity=5)
        torch.manual_seed(int(torch.randint(100, ())))
        buffer.update(latents(9), seeded(seed))
        kept.append(buffer.prototypes)
    assert torch.equal(kept[0], kept[1]) and not torch.equal(kept[0], kept[2])


def test_a_prototype_is_the_mean_over_a_patients_months():
    t = latents(4, months=7)
    buffer = LatentBuffer(3)
    buffer.update(t, seeded())
    np.testing.assert_allclose(buffer.prototypes[:, 0], t.numpy().mean(axis=1), atol=1e-6)


def test_the_scale_starts_at_one_and_becomes_the_mean_of_itself_and_the_batchs_deviation():
    buffer, expected = LatentBuffer(3), np.ones(3)
    assert torch.equal(buffer.scale, torch.ones(1, 1, 3))
    for seed, patients in enumerate((4, 1, 9)):
        t = (seed + 1) * latents(patients, months=5, seed=seed)
        buffer.update(t, seeded())
        expected = (expected + t.numpy().reshape(-1, 3).std(axis=0, ddof=1)) / 2
        np.testing.assert_allclose(buffer.scale[0, 0], expected, rtol=1e-5)
    assert buffer.scale.shape == (1, 1, 3)


@pytest.mark.parametrize(("patients", "months"), [(2, 1), (1, 2)])
def test_two_patient_months_are_enough_for_a_spread(patients, months):
    buffer, t = LatentBuffer(3), latents(patients, months)
    buffer.update(t, seeded())
    first, second = t.flatten(0, 1)
    torch.testing.assert_close(buffer.scale[0, 0], (1 + (first - second).abs() / 2**0.5) / 2)


def test_a_single_patient_month_says_nothing_about_the_spread():
    buffer = LatentBuffer(3)
    buffer.update(latents(1, months=1), seeded())
    assert torch.equal(buffer.scale, torch.ones(1, 1, 3)) and len(buffer.prototypes) == 1


def test_the_buffer_holds_numbers_and_no_graph():
    t = latents(4).requires_grad_()
    buffer = LatentBuffer(3)
    buffer.update(t * 2, seeded())
    assert not buffer.prototypes.requires_grad and not buffer.scale.requires_grad


def test_noise_from_the_buffer_is_z_times_the_scale_plus_a_prototype():
    scale = 2.5
    buffer = holding(torch.zeros(1, 3), scale)
    torch.testing.assert_close(buffer.draw(6, 4, seeded()), scale * torch.rand(6, 4, 3, generator=seeded()))
    far = torch.arange(5.0)[:, None].expand(5, 3) * 1000 + torch.tensor([1.0, 2.0, 3.0])
    z = holding(far, scale).draw(200, 4, seeded())
    chosen = (z[..., 0] / 1000).floor()  # (B, L)
    assert torch.equal(chosen, chosen[:, :1].expand(-1, 4))  # one prototype for all months
    assert set(chosen[:, 0].tolist()) == set(range(5))
    rest = (z - far[chosen.long()]) / scale
    assert rest.min() > -1e-3 and rest.max() < 1 + 1e-3 and rest.std(1).min() > 0
    assert rest.mean() == pytest.approx(0.5, abs=0.02)


def test_the_noisy_buffer_gives_each_patient_a_prototype_and_a_noise_of_its_own_that_stay():
    far = torch.arange(3.0)[:, None].expand(3, 4) * 1000
    z = holding(far, scale=7.0, source=NoisyBuffer).draw(2000, 60, seeded())
    chosen = (z[:, :1, 0] / 1000).round()
    assert torch.equal((z[..., 0] / 1000).round(), chosen.expand(-1, 60))  # one prototype for all months
    torch.testing.assert_close(z - far[chosen.long()], PersistentNoise(4).draw(2000, 60, seeded()), atol=1e-3, rtol=0)


def test_each_dimension_has_its_own_scale():
    buffer = holding(torch.zeros(1, 2))
    buffer.scale = torch.tensor([[[1.0, 10.0]]])
    z = buffer.draw(500, 4, seeded())
    assert z[..., 0].max() <= 1 and 9 < z[..., 1].max() <= 10


def test_prototypes_are_drawn_evenly_and_with_replacement():
    buffer = holding(torch.arange(4.0)[:, None])
    counts = np.bincount(buffer.choose(4000, seeded())[:, 0, 0].long().numpy())
    assert counts.tolist() == pytest.approx([1000] * 4, abs=120)


@pytest.mark.parametrize("source", [LatentBuffer, NoisyBuffer, GaussianPrototypes])
def test_drawing_from_an_empty_buffer_is_an_error_that_says_what_fills_it(source):
    for draw in (lambda b: b.draw(2, 3, seeded()), lambda b: b.choose(2, seeded())):
        with pytest.raises(RuntimeError, match=r"empty.*train at least one batch"):
            draw(source(3))


# --- moments instead of patients --------------------------------------------------------------------------------------


def test_gaussian_prototypes_have_the_moments_of_those_they_replace():
    points = latents(7, months=1, width=4)[:, 0] @ latents(4, months=1, width=4, seed=1)[:, 0] + 3
    drawn = holding(points, source=GaussianPrototypes).choose(200_000, seeded())[:, 0]
    np.testing.assert_allclose(drawn.mean(0), points.mean(0), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.numpy().T), np.cov(points.numpy().T), atol=0.15)


@pytest.mark.parametrize("n", [2, 5])
def test_gaussian_prototypes_are_the_formula_and_nobodys_own(n):
    points = latents(n, months=1)[:, 0]
    centre = points.mean(0)
    e = torch.randn(8, n, generator=seeded())
    away = [sum(e[b, i] * (points[i] - centre) for i in range(n)) / (n - 1) ** 0.5 for b in range(8)]
    expected = centre + torch.stack(away)
    drawn = holding(points, source=GaussianPrototypes).choose(8, seeded())
    torch.testing.assert_close(drawn[:, 0], expected)
    assert torch.cdist(drawn[:, 0], points).min() > 1e-3


def test_gaussian_prototypes_stay_with_the_patient_and_one_alone_is_itself():
    z = filled(GaussianPrototypes).draw(6, 4, seeded())
    held = holding(latents(5, months=1)[:, 0], source=GaussianPrototypes).draw(6, 4, seeded())
    assert torch.equal(held, held[:, :1].expand(-1, 4, -1)) and z.std(1).min() > 0
    one = torch.tensor([[1.0, 2.0]])
    assert torch.equal(holding(one, source=GaussianPrototypes).choose(3, seeded())[:, 0], one.expand(3, -1))


def test_groups_are_neighbours_in_the_dimension_that_varies_most():
    apart = torch.tensor([[0.0, 9.0, 0.0], [1.0, -9.0, 0.0], [0.0, -8.0, 0.0], [1.0, 8.0, 0.0]])[:, None]
    assert group_means(apart, 2)[:, 0].tolist() == [[0.5, -8.5, 0.0], [0.5, 8.5, 0.0]]


# --- memory and randomness --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("training", [True, False])
def test_drawing_leaves_the_state_equal_in_training_and_in_evaluation(name, training):
    source = filled(SOURCES[name]) if name in MEMORIES else SOURCES[name](3)
    source.train(training)
    before = copy.deepcopy(source.state_dict())
    source.draw(4, 5, seeded())
    after = source.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert bool(before) == (name in MEMORIES)


@pytest.mark.parametrize("name", SOURCES)
def test_draws_are_a_function_of_the_generator_that_is_passed(name):
    source = filled(SOURCES[name]) if name in MEMORIES else SOURCES[name](3)
    untouched = torch.random.get_rng_state()
    z = source.draw(4, 5, seeded())
    assert torch.equal(torch.random.get_rng_state(), untouched)
    assert torch.equal(source.draw(4, 5, seeded()), z) and not torch.equal(source.draw(4, 5, seeded(1)), z)


@pytest.mark.parametrize("source", [LatentBuffer, NoisyBuffer, GaussianPrototypes])
def test_the_state_is_restored_with_another_number_of_prototypes(source):
    small, large = filled(source, patients=2), filled(source, patients=9)
    for before, after in ((small, large), (large, source(3)), (source(3), large)):
        after = copy.deepcopy(after)
        after.load_state_dict(before.state_dict())
        assert torch.equal(after.prototypes, before.prototypes) and torch.equal(after.scale, before.scale)
    after = source(3)
    after.load_state_dict(large.state_dict())
    assert torch.equal(after.draw(4, 5, seeded()), large.draw(4, 5, seeded()))
    after.update(latents(1), seeded())  # goes on from there, and the source of the state is not touched
    assert len(after.prototypes) == 10 and len(large.prototypes) == 9


def test_prototypes_of_another_width_are_refused():
    with pytest.raises(RuntimeError, match="prototypes"):
        LatentBuffer(4).load_state_dict(filled().state_dict())
