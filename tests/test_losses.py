"""Each loss against its own equation, written out in loops or taken from an independent library."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.autograd import grad, gradcheck

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.model.latent import Autoencoder
from hg_helpers.model.losses import (
    RealMoments,
    autoencoder_loss,
    co_moments,
    correlation_loss,
    correlation_matrix,
    gradient_penalty,
    moment_loss,
)
from hg_helpers.model.networks import Critic
from hg_helpers.runtime.distributed import ALONE, Peers


def random(*shape, seed=0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- gradient penalty -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def critic() -> Critic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Critic(ART_DEMO, 6).double()


def patients(n=4, months=3, seed=0) -> torch.Tensor:
    return torch.sigmoid(random(n, months, 22, seed=seed))


@pytest.mark.parametrize("n", [1, 4])
def test_the_penalty_is_the_equation_patient_by_patient(critic, n):
    real, fake = patients(n), patients(n, seed=1)
    mix = torch.rand(n, 1, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    total = 0.0
    for i in range(n):
        between = (mix[i] * real[i] + (1 - mix[i]) * fake[i]).requires_grad_()  # (L, C)
        (slope,) = torch.autograd.grad(critic(between[None])[0, 0], between)
        norm = sum(float(g) ** 2 for g in slope.flatten()) ** 0.5  # over months and channels together
        total += (norm - 1) ** 2
    penalty = gradient_penalty(critic, real, fake, mix)
    assert penalty.shape == () and penalty.item() == pytest.approx(total / n, rel=1e-9)


def test_the_penalty_of_a_linear_critic_is_known():
    weight = random(3, 5)

    def critic(x):
        return (x * weight).sum((1, 2))[:, None]

    penalty = gradient_penalty(critic, random(6, 3, 5), random(6, 3, 5, seed=1), random(6, 1, 1).sigmoid())
    assert penalty.item() == pytest.approx((weight.norm().item() - 1) ** 2)


def test_mixing_weights_real_patients_by_a_and_fake_ones_by_one_minus_a():
    seen = []

    def critic(x):
        seen.append(x.detach().clone())
        return x.square().sum((1, 2))[:, None]

    real, fake, mix = patients(3), patients(3, seed=1), torch.tensor([0.0, 1.0, 0.25]).double().view(3, 1, 1)
    gradient_penalty(critic, real, fake, mix)
    torch.testing.assert_close(seen[0][0], fake[0])
    torch.testing.assert_close(seen[0][1], real[1])
    torch.testing.assert_close(seen[0][2], 0.25 * real[2] + 0.75 * fake[2])


def test_the_penalty_teaches_the_critic_and_nobody_else(critic):
    real, fake = patients().requires_grad_(), patients(seed=1).requires_grad_()
    penalty = gradient_penalty(critic, real, fake, torch.full((4, 1, 1), 0.5).double())
    trained = [p for name, p in critic.named_parameters() if name != "score.bias"]  # a constant has no slope
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(penalty, trained, retain_graph=True))
    penalty.backward()
    assert real.grad is None and fake.grad is None
    critic.zero_grad(set_to_none=True)


def test_a_critic_without_any_slope_has_penalty_one_and_finite_gradients():
    flat = torch.nn.Linear(5, 1)
    with torch.no_grad():
        flat.weight.zero_()
    x = torch.rand(4, 3, 5)
    penalty = gradient_penalty(lambda x: flat(x).sum(1), x, x, torch.rand(4, 1, 1))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-4) and torch.isfinite(flat.weight.grad).all()


# --- correlation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 6, 5), (2, 3, 4), (5000, 1, 2)])
def test_correlations_are_numpys_over_all_patient_months(shape):
    x = random(*shape) @ random(shape[-1], shape[-1], seed=1) + 5
    expected = np.corrcoef(x.numpy().reshape(-1, shape[-1]).T)
    np.testing.assert_allclose(correlation_matrix(x), expected, atol=1e-10)
    np.testing.assert_allclose(correlation_matrix(x.float()), expected, atol=1e-4)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, 1e-3, 123.456])
def test_a_constant_channel_has_correlation_zero(constant):
    x = random(30, 6, 4, dtype=torch.float32)
    x[..., 1] = constant
    found = correlation_matrix(x)
    assert torch.equal(found[1], torch.zeros(4)) and torch.equal(found[:, 1], torch.zeros(4))
    others = [0, 2, 3]
    expected = np.corrcoef(x.numpy().reshape(-1, 4).T.astype(np.float64)[others])
    np.testing.assert_allclose(found[others][:, others], expected, atol=1e-5)


def test_a_channel_of_large_numbers_does_not_make_the_others_constant():
    x = random(50, 4, 3) * torch.tensor([1.0, 1e6, 1e-3])
    np.testing.assert_allclose(correlation_matrix(x), np.corrcoef(x.numpy().reshape(-1, 3).T), atol=1e-6)


def test_a_rare_level_is_not_taken_for_a_constant():
    x = torch.zeros(500, 60, 2)
    x[0, 0] = 1.0  # one patient-month of 30,000
    np.testing.assert_allclose(correlation_matrix(x), np.ones((2, 2)), atol=1e-5)


def test_all_channels_constant_or_a_single_row_give_zeros_and_finite_gradients():
    for x in (torch.ones(4, 3, 5), torch.rand(1, 1, 5)):
        x.requires_grad_()
        found = correlation_matrix(x)
        assert torch.equal(found, torch.zeros(5, 5))
        correlation_loss(x, torch.eye(5)).backward()
        assert torch.isfinite(x.grad).all()


def test_the_encoded_cohorts_correlations_are_numpys(x):
    flat = x.numpy().reshape(-1, x.shape[-1]).astype(np.float64)
    with np.errstate(all="ignore"):
        expected = np.nan_to_num(np.corrcoef(flat.T))
    np.testing.assert_allclose(correlation_matrix(x), expected, atol=1e-4)


def test_the_correlation_loss_is_the_mean_absolute_difference_written_out():
    fake, real = random(10, 4, 3), random(20, 4, 3, seed=1) @ random(3, 3, seed=2)
    a, b = (np.corrcoef(t.numpy().reshape(-1, 3).T) for t in (fake, real))
    total = sum(abs(a[i, j] - b[i, j]) for i in range(3) for j in range(3))
    assert correlation_loss(fake, correlation_matrix(real)).item() == pytest.approx(total / 9)


def test_the_older_codes_cap_is_written_out_entry_by_entry_and_leaves_a_share_of_1_minus_r_with_a_derivative():
    fake, target, cap = random(50, 4, 3), torch.eye(3).double() * 0.7 - 0.3, random(3, 3, seed=1).sigmoid()
    found, total = correlation_matrix(fake), 0.0
    for i, j in np.ndindex(3, 3):
        capped = []
        for r, u in ((found[i, j].item(), cap[i, j].item()), (target[i, j].item(), cap[i, j].item())):
            capped.append(max(-u, min(u, r)))
        total += abs(capped[0] - capped[1])
    assert correlation_loss(fake, target, cap).item() == pytest.approx(total / 9)
    assert correlation_loss(fake, target, torch.ones(3, 3)).item() == pytest.approx(
        correlation_loss(fake, target).item()
    )

    x = torch.randn(400, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pair = torch.cat([x, 0.75 * x + random(400, 1, 1, seed=1) * 0.66], -1).requires_grad_()
    r, draws = correlation_matrix(pair)[0, 1].item(), torch.rand(2000, 1, 1, generator=torch.Generator().manual_seed(0))
    moved = [bool(grad(correlation_loss(pair, -torch.eye(2).double(), u), pair)[0].abs().sum() > 1e-9) for u in draws]
    assert np.mean(moved) == pytest.approx(1 - r, abs=0.05) and 0.6 < r < 0.9


def test_every_difference_of_correlations_reaches_the_generator():
    # the older code compared both with a random level first, so that small correlations hardly ever had a gradient
    fake, target = random(200, 2, 3), torch.eye(3).double()
    fake.requires_grad_()
    for _ in range(3):
        (slope,) = torch.autograd.grad(correlation_loss(fake, target), fake)
        assert (slope != 0).all()


def test_the_correlation_matrix_passes_gradcheck():
    assert gradcheck(correlation_matrix, random(4, 3, 3).requires_grad_())


# --- co-moments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1, 2])
def test_co_moments_are_mean_products_of_values_changes_and_the_patients_means(power):
    x = random(4, 3, 2)
    found = co_moments(x, power)
    one = np.concatenate([x.numpy(), np.ones((4, 3, 1))], -1)
    for b, i, j in np.ndindex(4, 3, 3):
        values = [one[b, t, i] * one[b, t, j] for t in range(3)]
        changes = [(one[b, t] - one[b, t - 1])[[i, j]].prod() for t in (1, 2)]
        products = values, changes, one[b, :, i].mean() * one[b, :, j].mean()
        expected = [np.mean(np.power(part, power)) for part in products]
        assert found[b, :, i, j].tolist() == pytest.approx(expected)


def test_co_moments_of_levels_are_shares_switching_and_who_keeps_what():
    # two patients, three months, two levels: a a b, and b b b
    levels = torch.tensor([[[1, 0], [1, 0], [0, 1]], [[0, 1], [0, 1], [0, 1]]]).float()
    values, changes, patients = co_moments(levels).mean(0)
    torch.testing.assert_close(values[2], torch.tensor([2 / 6, 4 / 6, 1]))  # with the constant: shares
    assert values[0, 1] == 0  # nobody has both in a month
    torch.testing.assert_close(changes[:2, :2], torch.tensor([[1, -1], [-1, 1]]) / 4)  # one switch in four
    torch.testing.assert_close(patients[0, 0], torch.tensor((2 / 3) ** 2 / 2))


def test_a_single_month_has_no_change():
    found = co_moments(random(5, 1, 2))
    assert torch.equal(found[:, 1], torch.zeros(5, 3, 3).double()) and (found[:, 0, 2, 2] == 1).all()


def test_co_moments_pass_gradcheck():
    assert gradcheck(co_moments, random(3, 3, 2).requires_grad_())


@pytest.mark.parametrize("n", [2, 5])
def test_the_moment_loss_is_the_mean_product_of_different_patients_differences(n):
    fake, target, squared = random(n, 3, 2, 2), random(3, 2, 2, seed=1), random(3, 2, 2, seed=2).square()
    pairs = [
        ((fake[a] - target) * (fake[b] - target) / (squared + 1e-3)).sum() for a in range(n) for b in range(n) if a != b
    ]
    torch.testing.assert_close(moment_loss(fake, target, squared), sum(pairs) / (n * (n - 1)))
    alone = ((fake[:1] - target).square() / (squared + 1e-3)).sum()
    torch.testing.assert_close(moment_loss(fake[:1], target, squared), alone)


def test_the_moment_loss_does_not_ask_patients_to_be_alike():
    # patients as the real ones are: in the mean over many batches the loss is 0, however small a batch is
    patients = random(6000, 3, 2, 2)
    target, squared = patients.mean(0), patients.square().mean(0)
    found = torch.stack([moment_loss(batch, target, squared) for batch in patients.split(4)])
    assert abs(found.mean()) < 4 * found.std() / len(found) ** 0.5
    assert (found.std() > 0.5) and found.min() < 0 < found.max()


@pytest.mark.parametrize("months", [3, 6])
def test_real_moments_are_the_training_patients_at_that_length_in_standard_units(x, schema, months):
    real = x.double().repeat(30, 1, 1)  # 1200 patients: more than one block
    units = real.clone()
    for name in ("VL", "CD4"):  # units of all months, whatever the length
        values = real[..., schema.spans[name]].numpy()
        units[..., schema.spans[name]] = torch.tensor((values - values.mean()) / values.std(ddof=1))
    target, squared = (co_moments(units[:, :months], power).mean(0) for power in (1, 2))
    expected = moment_loss(co_moments(units[:7, :months]), target, squared)
    torch.testing.assert_close(RealMoments(real, schema, (3, 6)).loss(real[:7, :months]), expected)


def test_a_real_channel_without_spread_counts_in_thousandths(x, schema):
    still = x.clone()
    still[..., schema.spans["VL"]] = 0.5
    moved = still[:5].clone()
    moved[..., schema.spans["VL"]] += 1e-3  # one unit
    real = RealMoments(still, schema, (6,))
    # 1 / 1e-3 for each product that no real patient has: its square and twice that with the constant 1, of values and
    # of patients' means, and less than two times (22 + 1) of those with the other channels
    assert 6e3 < real.loss(moved) - real.loss(still[:5]) < 6e3 + 4 * 23e3


# --- autoencoder ------------------------------------------------------------------------------------------------------


def test_the_reconstruction_error_is_the_mean_over_all_entries():
    e, again = random(3, 4, 5), random(3, 4, 5, seed=1)
    total = sum((float(a) - float(b)) ** 2 for a, b in zip(e.flatten(), again.flatten(), strict=True))
    error, _ = autoencoder_loss(again, e, random(3, 4, 2))
    assert error.item() == pytest.approx(total / 60)


@pytest.mark.parametrize("shape", [(6, 4), (2, 1)])
def test_the_divergence_is_that_of_the_aggregates_moments_from_a_standard_normal(shape):
    latent = random(*shape, 3) * torch.tensor([0.2, 1.0, 3.0]) + torch.tensor([1.0, 0.0, -2.0])
    rows = latent.numpy().reshape(-1, 3)
    normal = torch.distributions.Normal(torch.tensor(rows.mean(0)), torch.tensor(rows.std(0, ddof=1)))
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum()
    _, divergence = autoencoder_loss(latent, latent, latent)
    assert divergence.item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_textbook_divergence_is_averaged_over_samples_and_summed_over_dimensions():
    mean, log_variance = random(3, 4, 2), random(3, 4, 2, seed=1)
    total = 0.0
    for m, v in zip(mean.flatten().tolist(), log_variance.exp().flatten().tolist(), strict=True):
        total += 0.5 * (m**2 + v - 1 - np.log(v))
    _, divergence = autoencoder_loss(mean, mean, mean, (mean, log_variance))
    assert divergence.item() == pytest.approx(total / 12)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(-1).mean()
    assert divergence.item() == pytest.approx(expected.item())


def test_a_standard_normal_latent_costs_nothing():
    latent = random(1000, 4, 2)
    latent = (latent - latent.mean((0, 1))) / latent.std((0, 1))
    assert autoencoder_loss(latent, latent, latent)[1].item() == pytest.approx(0, abs=1e-9)
    zero = torch.zeros(2, 3, 4)
    assert autoencoder_loss(zero, zero, zero, (zero, zero))[1].item() == 0


@pytest.mark.parametrize("shape", [(5, 4), (1, 1)])
def test_a_latent_without_variance_has_a_finite_loss_and_finite_gradients(shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = Autoencoder(6, 3, 4)
    e = torch.rand(1, 1, 6).expand(*shape, 6)  # identical rows
    reconstruction, latent, posterior = autoencoder(e)
    error, divergence = autoencoder_loss(reconstruction, e, latent, posterior)
    (error + divergence).backward()
    assert torch.isfinite(error + divergence)
    assert all(torch.isfinite(p.grad).all() for p in autoencoder.parameters())
    mean = latent.detach()[0, 0].double()
    floor = 0.5 * (mean.square() + 1e-8 - 1 - np.log(1e-8)).sum()  # variance floored at 1e-8
    assert divergence.item() == pytest.approx(floor.item(), rel=1e-4)


# --- a batch shared by two processes ----------------------------------------------------------------------------------

REAL, FAKE, MIX = random(7, 3, 2), random(7, 3, 2, seed=1), random(7, 1, 1, seed=2).sigmoid()
REAL_MOMENTS = RealMoments(REAL, ART_DEMO.select(["VL", "CD4"]), [3])


def penalty(w, peers):
    real, fake, mix = map(peers.share, (REAL, FAKE, MIX))
    return peers.mean(gradient_penalty(lambda x: (x.square() * w[0]).sum((1, 2))[:, None], real, fake, mix))


def autoencoder(w, peers, posterior=None):
    own = peers.share(w)
    joined = [peers.join(part) for part in (own.sin(), peers.share(REAL), own, posterior and posterior(own))]
    return sum(autoencoder_loss(*joined))


#: each of some numbers w to be learnt (7, 3, 2) and this process among its peers, as the training steps do it
SHARED = {
    "penalty": penalty,
    "correlation": lambda w, peers: correlation_loss(peers.join(peers.share(w)), torch.eye(2).double()),
    "aggregate": autoencoder,
    "textbook": lambda w, peers: autoencoder(w, peers, lambda own: (own, own.cos())),
    "moments": lambda w, peers: REAL_MOMENTS.loss(peers.join(peers.share(w))),
}


@pytest.mark.parametrize("name", SHARED)
def test_two_shares_of_a_batch_have_its_loss_and_together_its_gradient(monkeypatch, name):
    # two threads in place of the two processes of test_peers.py: no start-up, and each loss on its own
    barrier, parts = threading.Barrier(2, timeout=20), {}

    def all_reduce(own):
        parts[threading.get_ident()] = own.clone()
        barrier.wait()
        own.copy_(sum(parts.values()))
        barrier.wait()

    def process(rank):
        peers, w = Peers(), random(7, 3, 2, seed=3).requires_grad_()
        peers.rank, peers.size = rank, 2
        try:
            loss = SHARED[name](w, peers)  # 3 patients and 4
        except Exception:
            barrier.abort()
            raise
        return loss.detach(), torch.autograd.grad(loss, w)[0]

    monkeypatch.setattr("hg_helpers.runtime.distributed.dist.all_reduce", all_reduce)
    with ThreadPoolExecutor(2) as threads:
        (first, slope), (second, other) = threads.map(process, (0, 1))
    w = random(7, 3, 2, seed=3).requires_grad_()
    whole = SHARED[name](w, ALONE)
    torch.testing.assert_close(torch.stack([first, second]), whole.detach().expand(2))
    torch.testing.assert_close(slope + other, torch.autograd.grad(whole, w)[0])
