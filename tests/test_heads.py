"""Heads, second critic and transformer of v2_plus and v2.5: what a month's value is made of."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.autograd import grad

from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.schema import Feature, Schema
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.metrics import coverage
from hg_helpers.model.config import TrainConfig
from hg_helpers.model.heads import Draws, MeasurementNoise, hold_or_switch, one_level
from hg_helpers.model.losses import AROUND, LAGS, Summaries, ranks, summarise, summary_critic
from hg_helpers.model.networks import CRITICS, Generator, Transformer
from hg_helpers.model.resume import accept
from hg_helpers.model.training import Trainer

SMALL = Schema(
    [
        Feature("sex", "binary", ("f", "m"), static=True),
        Feature("age", "real", static=True),
        Feature("lab", "real"),
        Feature("drug", "categorical", ("a", "b", "c")),
        Feature("boost", "binary", ("no", "yes")),
    ],
    length=6,
)
HEADS = {"heads": "straight_through", "static_heads": True, "gumbel_noise": "patient"}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def built(schema=SMALL, **options) -> Generator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Generator(schema, 5, 8, **options)


# --- hold or switch ---------------------------------------------------------------------------------------------------


def levels(patients, months, number, seed=0):
    return torch.eye(number, dtype=torch.float64)[random(patients, months, number, seed=seed).argmax(-1)]


def held_by_hand(candidate, switch):
    """Level after level, with numbers in place of tensors."""
    out = candidate.clone()
    for patient in range(len(candidate)):
        for month in range(1, candidate.shape[1]):
            taken = switch[patient, month, 0] > 0
            out[patient, month] = candidate[patient, month] if taken else out[patient, month - 1]
    return out


@pytest.mark.parametrize("months", [1, 2, 3, 60])
def test_a_level_is_held_until_a_month_switches_it(months):
    candidate, switch = levels(4, months, 3), random(4, months, 1, seed=1)
    found = hold_or_switch(candidate, switch)
    assert torch.equal(found, held_by_hand(candidate, switch))
    assert torch.equal(found.sum(-1), torch.ones(4, months, dtype=torch.float64))


def test_the_first_month_takes_its_candidate_whatever_its_switch_says():
    candidate = levels(3, 4, 3)
    assert torch.equal(hold_or_switch(candidate, torch.full((3, 4, 1), -9.0)), candidate[:, :1].expand(-1, 4, -1))


def test_a_switch_has_the_derivative_of_what_it_changes_until_the_next_one():
    candidate, switch = levels(5, 8, 3), random(5, 8, 1, seed=1).requires_grad_()
    towards = random(5, 8, 3, seed=2)
    held = hold_or_switch(candidate, switch)
    (slope,) = grad((held * towards).sum(), switch)
    soft = torch.sigmoid(switch.detach() / 0.66)
    for patient in range(5):
        for month in range(8):
            expected = 0.0
            if month:
                for later in range(month, 8):
                    if later > month and switch[patient, later, 0] > 0:
                        break
                    jump = candidate[patient, month] - held[patient, month - 1]
                    expected += (towards[patient, later] * jump).sum().item()
                expected *= float(soft[patient, month] * (1 - soft[patient, month]) / 0.66)
            assert slope[patient, month, 0].item() == pytest.approx(expected, abs=1e-12)


def test_candidates_have_the_derivative_of_the_months_that_hold_them():
    candidate, switch = levels(2, 5, 3).requires_grad_(), random(2, 5, 1, seed=1)
    (slope,) = grad(hold_or_switch(candidate, switch).sum(), candidate)
    lengths = torch.zeros(2, 5)
    for patient in range(2):
        held = 0
        for month in range(5):
            held = month if month == 0 or switch[patient, month, 0] > 0 else held
            lengths[patient, held] += 1
    assert torch.equal(slope[..., 0].float(), lengths)


@pytest.mark.parametrize("logit", [-3.0, 0.0, 1.0])
def test_a_switch_logit_is_the_log_odds_of_a_switch(logit):
    generator = built(hold_or_switch=True, **HEADS)
    drawn = generator.draws(2000, 6, torch.Generator().manual_seed(1)).switch
    share = (logit + drawn > 0).float().mean().item()
    assert share == pytest.approx(1 / (1 + math.exp(-logit)), abs=0.02)


def test_a_new_generator_rarely_switches_and_a_month_decides_for_all_features_at_once():
    generator = built(hold_or_switch=True, **HEADS)
    assert generator.body[-1].bias[-2:].tolist() == [-3.0, -3.0]
    draws = generator.draws(400, 6, torch.Generator().manual_seed(1))
    assert draws.switch.shape == (400, 6, 1)
    with torch.no_grad():
        x = generator(random(400, 6, 5, dtype=torch.float32), draws)
    for name in ("drug", "boost"):
        block = x[..., SMALL.spans[name]]
        assert (block.diff(dim=1).abs().sum(-1) > 0).float().mean() < 0.2


def test_a_feature_follows_one_that_has_just_switched_where_it_has_learnt_to():
    generator = built(hold_or_switch=True, **HEADS)
    z, gumbel = random(300, 6, 5, dtype=torch.float32), 10 * random(300, 6, 9, dtype=torch.float32)
    with torch.no_grad():
        generator.follow[1] = 50.0  # boost, after drug
        x = generator(z, generator.draws(300, 6, torch.Generator().manual_seed(1))._replace(gumbel=gumbel))
        candidate = one_level((generator.logits(z)[..., :9] + gumbel)[..., 7:9])
    moved = x[..., 4:7].diff(dim=1).abs().sum(-1) > 0
    assert moved.sum() > 20
    assert torch.equal(x[:, 1:, 7:9][moved], candidate[:, 1:][moved])  # each time that the drug is another one


# --- measurement noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [0.0, 0.6, 0.9])
def test_errors_have_variance_one_and_the_memory_that_they_are_given(memory):
    noise = MeasurementNoise(2)
    with torch.no_grad():
        noise.memory[0] = math.atanh(memory)
        e = noise.errors(random(20_000, 12, 2, dtype=torch.float32))
    torch.testing.assert_close(e[..., 0].var(0), torch.ones(12), atol=0.05, rtol=0)
    for lag in (1, 3):
        found = (e[:, lag:, 0] * e[:, :-lag, 0]).mean().item()
        assert found == pytest.approx(memory**lag, abs=0.03)
    assert (e[:, 1:, 1] * e[:, :-1, 1]).mean().abs() < 0.02  # the other feature's errors have none
    assert (e[..., 0] * e[..., 1]).mean().abs() < 0.02


def test_errors_are_the_recursion_of_the_docstring():
    noise, n = MeasurementNoise(1).double(), random(3, 7, 1)
    with torch.no_grad():
        noise.memory[0] = 0.8
        r = math.tanh(0.8)
        expected = [n[:, 0]]
        for month in range(1, 7):
            expected.append(r * expected[-1] + math.sqrt(1 - r * r) * n[:, month])
        torch.testing.assert_close(noise.errors(n), torch.stack(expected, 1))


def test_an_assay_errs_alike_in_everybody_at_a_level():
    noise = MeasurementNoise(2).double()
    level = torch.rand(1, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(noise.width(level).expand(3, 4, 2), noise.width(level.expand(3, 4, 2)))
    assert (noise.width(torch.rand(50, 6, 2, dtype=torch.float64)) > 0).all()


def test_each_draw_moves_its_own_month_and_feature_alone():
    schema = Schema([*SMALL.features, Feature("second", "real")], length=6)
    generator = built(schema, measurement_noise=True, **HEADS)
    draws = generator.draws(2, 6, torch.Generator().manual_seed(0))
    z = random(2, 6, 5, dtype=torch.float32)
    with torch.no_grad():
        before = generator(z, draws)
        draws.assay[0, 3, 1] += 1.0
        moved = generator(z, draws) != before
    assert moved.nonzero().tolist() == [[0, 3, schema.spans["second"].start]]


# --- both, and the chain ----------------------------------------------------------------------------------------------


def test_values_know_of_a_switch_only_where_they_are_to_respond_to_it():
    z = random(40, 6, 5, dtype=torch.float32)
    for responds in (False, True):
        generator = built(hold_or_switch=True, switch_response=responds, **HEADS)
        draws = generator.draws(40, 6, torch.Generator().manual_seed(1))
        other = draws._replace(switch=draws.switch.flip(0))
        with torch.no_grad():
            same = torch.equal(generator(z, draws)[..., 3], generator(z, other)[..., 3])
        assert same is not responds
    nothing_to_switch = Generator(Schema([SMALL["lab"], SMALL["sex"]], length=6), 5, 8, "softmax", switch_response=True)
    assert nothing_to_switch(z).isfinite().all()


@pytest.mark.parametrize("months", [1, 2, 6])
def test_static_features_are_the_same_with_and_without_the_heads(months):
    plain, both = built(**HEADS), built(hold_or_switch=True, measurement_noise=True, **HEADS)
    with torch.no_grad():
        for kept, new in zip(both.body[-1].parameters(), plain.body[-1].parameters(), strict=True):
            kept[: len(new)] = new
    z, gumbel = random(20, months, 5, dtype=torch.float32), random(20, 1, 9, dtype=torch.float32)
    draws = both.draws(20, months, torch.Generator().manual_seed(0))._replace(gumbel=gumbel)
    with torch.no_grad():
        one, other = plain(z, Draws(gumbel)), both(z, draws)
    torch.testing.assert_close(one[..., :3], other[..., :3])  # sex and age
    assert torch.equal(other[..., :3], other[:, :1, :3].expand(-1, months, -1))
    assert (one[..., 3] != other[..., 3]).all()


def test_a_chained_feature_is_given_the_levels_before_it_and_not_those_after():
    generator = built(chain=True, **HEADS)
    with torch.no_grad():
        generator.given[SMALL.spans["drug"], SMALL.spans["boost"]] = 200.0 * torch.tensor([[1.0, 0], [0, 1], [1, 0]])
        generator.given[SMALL.spans["boost"], SMALL.spans["drug"]] = 200.0  # never read: boost comes after drug
        generator.given[SMALL.spans["sex"], SMALL.spans["lab"]] = torch.tensor([[30.0], [-30.0]])
        z, draws = random(200, 6, 5, dtype=torch.float32), generator.draws(200, 6, torch.Generator().manual_seed(0))
        x, free = generator(z, draws), built(**HEADS)(z, draws)
    drug, boost = x[..., 4:7].argmax(-1), x[..., 7:9].argmax(-1)
    assert torch.equal(boost, (drug == 1).long()) and 0 < boost.float().mean() < 1
    assert torch.equal(x[..., 4:7], free[..., 4:7])
    assert ((x[..., 3] > 0.5) == (x[..., 0] > 0.5)).all()
    torch.testing.assert_close(x[..., 2], free[..., 2])  # age is static and has been given nothing


def test_a_chain_of_zeros_changes_nothing():
    z, draws = random(9, 6, 5, dtype=torch.float32), Draws(random(9, 1, 9, dtype=torch.float32))
    with torch.no_grad():
        torch.testing.assert_close(built(chain=True, **HEADS)(z, draws), built(**HEADS)(z, draws))


def test_starting_at_real_patients_gives_their_shares_pairs_and_means_before_the_first_step():
    cohort = simulate_cohort(300, seed=3)
    encoder = CohortEncoder(ART_DEMO).fit(cohort)
    trainer = Trainer(encoder, TrainConfig.v2_plus(hidden=16, latent=8, epochs=1), device="cpu")
    accept(trainer, encoder.transform(cohort))
    z = torch.randn(2000, 3, 8, generator=torch.Generator().manual_seed(0))
    draws = trainer.generator.draws(2000, 3, torch.Generator().manual_seed(1))
    with torch.no_grad():
        x, real = trainer.generator(z, draws).flatten(0, 1), encoder.transform(cohort).flatten(0, 1)
    for feature in ART_DEMO:
        span = ART_DEMO.spans[feature.name]
        torch.testing.assert_close(x[:, span].mean(0), real[:, span].mean(0), atol=0.08, rtol=0)
    base, pi = ART_DEMO.spans["Base Drug Combo"], ART_DEMO.spans["Extra PI"]
    pairs = [(rows[:, base].T @ rows[:, pi] / len(rows)) for rows in (x, real)]
    torch.testing.assert_close(*pairs, atol=0.06, rtol=0)
    assert pairs[0][3, 1] > 3 * pairs[0][3].sum() * x[:, pi].mean(0)[1]  # boosters come with their base
    for kept, new in zip(trainer.average.parameters(), trainer.generator.parameters(), strict=True):
        assert torch.equal(kept, new)


@pytest.mark.parametrize("model", ["v1", "v2", "v2_plus", "v2_5"])
@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("heads", ["softmax", "straight_through"])
def test_every_head_can_be_switched_alone_at_any_length_under_both_decodings(model, length, heads):
    schema = replace(SMALL, length=length)
    x = torch.zeros(12, length, schema.channels)
    rows = torch.arange(12)
    x[rows, :, rows % 2], x[rows, :, 4 + rows % 3], x[rows, :, 7 + rows % 2] = 1.0, 1.0, 1.0
    x[..., 2:4] = torch.rand(12, 1, 2, generator=torch.Generator().manual_seed(0))
    table = _table(schema, length)
    encoder = CohortEncoder(schema).fit(table)
    common = {"hidden": 8, "latent": 4, "epochs": 1, "batch_size": 6, "heads": heads, "seed": 1}
    for change in ("hold_or_switch", "measurement_noise", "chain", "switch_response"):
        for on in (True, False):
            trainer = Trainer(encoder, getattr(TrainConfig, model)(**{**common, change: on}), device="cpu")
            trainer.fit(encoder.transform(table), progress=False)
            for decode in ("argmax", "sample"):
                made = trainer.synthesizer().sample(300, seed=2, decode=decode)
                assert made.shape == (300 * length, 7) and not made.isna().any().any()
                first = trainer.synthesizer().sample(30, seed=2, decode=decode)
                assert first.equals(made[: 30 * length])


def _table(schema, length):
    rng = torch.Generator().manual_seed(5)
    rows = []
    for patient in range(12):
        for month in range(length):
            lab = 1.0 + float(torch.rand(1, generator=rng))
            row = (patient, month, "fm"[patient % 2], 30.0 + patient, lab, "abc"[(patient + month // 3) % 3])
            rows.append((*row, ("no", "yes")[patient % 3 == 0]))
    return pd.DataFrame(rows, columns=[schema.patient, schema.time, "sex", "age", "lab", "drug", "boost"])


def test_training_learns_how_often_a_regimen_changes_on_a_table_of_six_visits():
    """The window of 21 months that these heads replace froze every level of a table as short as this for good."""
    schema = Schema([Feature("lab", "real"), Feature("stage", "categorical", (1, 2, 3))], length=6)
    rng = torch.Generator().manual_seed(0)
    rows = []
    for patient in range(200):
        stage = int(torch.randint(3, (1,), generator=rng))
        for visit in range(6):
            if visit and torch.rand(1, generator=rng) < 0.15:
                stage = int(torch.randint(3, (1,), generator=rng))
            rows.append((patient, visit, 1.0 + stage + float(torch.rand(1, generator=rng)), stage + 1))
    table = pd.DataFrame(rows, columns=[schema.patient, schema.time, "lab", "stage"])
    encoder = CohortEncoder(schema).fit(table)
    config = TrainConfig.v2_plus(preset="workshop", hidden=16, latent=8, batch_size=32, epochs=30)
    trainer = Trainer(encoder, config, device="cpu")
    trainer.fit(encoder.transform(table), progress=False)
    made = trainer.synthesizer().sample(500, seed=1)
    assert coverage(table, made, schema)[0] == 1.0
    changed = [(t.groupby(schema.patient)["stage"].diff().abs() > 0).mean() for t in (table, made)]
    assert 0.5 < changed[1] / changed[0] < 2.0


# --- summaries --------------------------------------------------------------------------------------------------------


def test_summaries_of_the_training_patients_are_centred_and_in_units_of_their_spread():
    cohort = simulate_cohort(200, seed=1)
    x = CohortEncoder(ART_DEMO).fit(cohort).transform(cohort)
    summaries = Summaries(x, ART_DEMO, [10, 60])
    for length in (10, 60):
        lines = summaries(x[:, :length])
        assert lines.mean(0).abs().max() < 1e-3 and lines.std(0).max() < 1.02
        assert (lines.std(0) > 0.9).float().mean() > 0.6  # rare levels have less, never more


def test_a_line_holds_what_its_docstring_says():
    x = torch.zeros(1, 4, SMALL.channels)
    x[0, :, 3] = torch.tensor([0.2, 0.6, 0.6, 1.0])
    x[0, :, 0] = 1.0
    x[0, [0, 1, 2, 3], [4, 4, 5, 5]] = 1.0
    x[0, [0, 1, 2, 3], [7, 8, 8, 8]] = 1.0
    line = summarise(x, SMALL, torch.linspace(0, 1, 51).expand(2, 51))[0]
    assert line.isfinite().all()
    # reals come first: mean, spread, least, most, first, last, changes over LAGS months, root mean square of steps
    of_lab = line[: 2 * (6 + len(LAGS) + 1)].unflatten(0, (-1, 2))[:, 1]
    spread = math.sqrt((0.4**2 + 0.4**2) / 4 + 1e-6)
    expected = [0.6, spread, 0.2, 1.0, 0.2, 1.0, 0.8 / 3, 0.4, 0.0, 0.0, math.sqrt(0.32 / 3 + 1e-6)]
    torch.testing.assert_close(of_lab, torch.tensor(expected), atol=1e-6, rtol=1e-5)
    assert line[-1] == pytest.approx(2 / 4)  # a change in two of four months, of either feature
    torch.testing.assert_close(line[-5:-1], torch.tensor([1 / 4, 1 / 4, 3 / 4, 1 / 4]))  # drug's changes, boost


def test_the_line_of_switches_holds_the_values_around_a_change():
    x = torch.zeros(2, 6, SMALL.channels)
    x[:, :, 3] = torch.tensor([0.5, 0.9, 0.9, 0.1, 0.1, 0.5])  # mean 0.5
    x[:, :, 0], x[:, :, 7] = 1.0, 1.0
    x[0, :3, 4], x[0, 3:, 5] = 1.0, 1.0  # the first patient's drug is another one from the fourth month on
    x[1, :, 4] = 1.0  # the second one never switches
    knots = torch.linspace(0, 1, 51).expand(2, 51)
    plain, more = summarise(x, SMALL, knots), summarise(x, SMALL, knots, switches=True)
    assert torch.equal(more[:, : plain.shape[1]], plain)
    found = more[:, plain.shape[1] :].unflatten(1, (2, len(AROUND), 2))  # as they are and by rank; months; age and lab
    torch.testing.assert_close(found[:, 0], found[:, 1], atol=1e-6, rtol=0)  # ranks of a uniform scale
    expected = torch.tensor([0.4, 0.4, -0.4, -0.4, 0.0]) / 1.5  # months -1, 0, 1, 2 from the last old one; 4 is beyond
    torch.testing.assert_close(found[0, 0, :, 1], expected, atol=1e-6, rtol=0)
    assert (found[1] == 0).all() and (found[0, 0, :, 0] == 0).all()


def test_ranks_spread_what_is_crowded_and_keep_the_order():
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0)) ** 0.05  # crowded below 1
    knots = torch.quantile(values, torch.linspace(0, 1, 51))[None]
    found = ranks(values[:, None, None], knots)[:, 0, 0]
    order = values.argsort()
    assert (found[order].diff() >= 0).all()
    torch.testing.assert_close(found[order], torch.linspace(0, 1, 1000), atol=0.03, rtol=0)


@pytest.mark.parametrize("length", [1, 2, 6])
def test_a_schema_without_reals_or_without_levels_has_summaries_too(length):
    for schema in (Schema([SMALL["lab"], SMALL["age"]], length=length), Schema([SMALL["drug"]], length=length)):
        x = torch.rand(5, length, schema.channels, generator=torch.Generator().manual_seed(0)).requires_grad_()
        summaries = Summaries(x.detach(), schema, [length], switches=True)
        score = summary_critic(schema, 4, switches=True)(summaries(x))
        (slope,) = grad(score.sum(), x)
        assert score.shape == (5, 1) and slope.isfinite().all() and slope.abs().sum() > 0


def test_the_critic_of_summaries_is_taught_and_teaches():
    cohort = simulate_cohort(40, seed=1)
    encoder = CohortEncoder(ART_DEMO).fit(cohort)
    x = encoder.transform(cohort)
    grown = {}
    for weight in (0.0, 3.0):
        config = TrainConfig.v1(hidden=8, latent=4, epochs=1, batch_size=20, lengths=(10,), summary_weight=weight)
        trainer = Trainer(encoder, config, device="cpu")
        assert (trainer.summary_critic is not None) == (weight > 0)
        history = trainer.fit(x, progress=False)
        assert ("summary_wasserstein" in history) == (weight > 0)
        grown[weight] = trainer.generator.body[-1].weight.detach().clone()
    assert not torch.equal(grown[0.0], grown[3.0])


# --- critics and trunks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("months", [1, 2, 60])
@pytest.mark.parametrize("kind", CRITICS)
def test_critics_score_patients_of_any_length_one_by_one(kind, months):
    critic = CRITICS[kind](SMALL, 8)
    x = torch.rand(6, months, SMALL.channels)
    score = critic(x)
    assert score.shape == (6, 1)
    torch.testing.assert_close(critic(x[2:3]), score[2:3])


def test_a_transformer_tells_months_apart_and_patients_from_each_other():
    transformer = Transformer(4, 8, 12).eval()
    z = random(3, 12, 4, dtype=torch.float32)
    h, last = transformer(z)
    assert h.shape == (3, 12, 16) and torch.equal(last, h[:, -1])
    torch.testing.assert_close(transformer(z[1:2])[0], h[1:2], atol=1e-5, rtol=1e-4)
    same = transformer(z[:, :1].expand(-1, 12, -1))[0]
    assert (same[:, 0] - same[:, 5]).abs().max() > 0.01  # equal noise in all months: positions alone differ


def test_v2_5_is_v2_with_a_transformer_and_needs_a_width_for_eight_heads():
    one, other = TrainConfig.v2().to_dict(), TrainConfig.v2_5().to_dict()
    assert {name for name in one if one[name] != other[name]} == {"generator"}
    with pytest.raises(ValueError, match="multiple of 4"):
        TrainConfig.v2_5(hidden=6)
