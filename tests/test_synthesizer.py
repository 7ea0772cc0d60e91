"""From a trained model to a table: the same rows for the same seed, in the cohort's own layout."""

import gzip
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import hg_helpers.model.synthesizer
from hg_helpers.cohort.encoding import CohortEncoder
from hg_helpers.cohort.load import validate_cohort
from hg_helpers.cohort.schema import Feature, Schema
from hg_helpers.model.config import TrainConfig
from hg_helpers.model.heads import change_rates, gumbel, level_shares
from hg_helpers.model.latent import group_means
from hg_helpers.model.synthesizer import BLOCK, Synthesizer, build_generator, build_source
from hg_helpers.model.training import Trainer
from hg_helpers.runtime.checkpoint import load_checkpoint

MODELS = ["v1", "v2", "v2_plus"]
DISCRETE = ["Gender", "Ethnic", "Base Drug Combo", "Extra PI", "Extra pk-En"]


@pytest.fixture(scope="module")
def trainers(encoder, tiny, x) -> dict[str, Trainer]:
    made = {model: Trainer(encoder, tiny(model, epochs=1), "cpu") for model in MODELS}
    for trainer in made.values():
        trainer.fit(x, progress=False)
    return made


@pytest.fixture(scope="module")
def synthesizers(trainers) -> dict[str, Synthesizer]:
    return {model: trainer.synthesizer() for model, trainer in trainers.items()}


def equal(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    pd.testing.assert_frame_equal(one, other)
    return True


# --- the same rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decode", ["argmax", "sample"])
@pytest.mark.parametrize("model", MODELS)
def test_the_first_patients_of_many_are_the_few(synthesizers, model, decode):
    synthesizer = synthesizers[model]
    many = synthesizer.sample(600, seed=3, decode=decode)
    assert len(many) == 600 * 6 and many["PatientID"].tolist() == np.repeat(np.arange(600), 6).tolist()
    for few in (1, 100, BLOCK, BLOCK + 1):
        assert equal(synthesizer.sample(few, seed=3, decode=decode), many[: few * 6])


def test_the_same_seed_gives_the_same_rows_whatever_happened_before(synthesizers):
    for synthesizer in synthesizers.values():
        once = synthesizer.sample(20, seed=5, decode="sample")
        torch.manual_seed(1)
        np.random.seed(1)
        synthesizer.sample(7, seed=6)
        untouched = torch.random.get_rng_state()
        assert equal(synthesizer.sample(20, seed=5, decode="sample"), once)
        assert torch.equal(torch.random.get_rng_state(), untouched)
        other = synthesizer.sample(20, seed=6, decode="sample")
        assert (other["VL"] != once["VL"]).all()


def test_patients_of_one_block_are_not_repeated_in_the_next(synthesizers):
    table = synthesizers["v2"].sample(3 * BLOCK)
    first = table.groupby("PatientID")[["VL", "CD4"]].first()  # an untrained model's values differ in their decimals
    assert len(first.drop_duplicates()) > 2.9 * BLOCK


def test_long_trajectories_go_through_the_generator_in_parts_with_the_same_rows(synthesizers, monkeypatch):
    model, seen = synthesizers["v2_plus"], []
    ((_, whole),) = model.sample_encoded(256, seed=3)
    logits = model.generator.logits
    monkeypatch.setattr(model.generator, "logits", lambda z, draws: seen.append(len(z)) or logits(z, draws))
    monkeypatch.setattr(hg_helpers.model.synthesizer, "AT_ONCE", 100 * model.encoder.schema.length)
    ((_, parts),) = model.sample_encoded(256, seed=3)
    assert seen == [100, 100, 56]
    assert torch.allclose(parts, whole, atol=1e-6)


def test_blocks_are_small_whatever_is_asked_for(synthesizers):
    blocks = list(synthesizers["v2_plus"].sample_blocks(600, seed=3))
    assert [len(block) // 6 for block in blocks] == [256, 256, 88]
    assert equal(pd.concat(blocks, ignore_index=True), synthesizers["v2_plus"].sample(600, seed=3))
    assert len(next(synthesizers["v2_plus"].sample_blocks(10**9))) == BLOCK * 6  # nothing is computed ahead


def test_sampling_changes_neither_model_nor_trainer(trainers, synthesizers):
    for model, synthesizer in synthesizers.items():
        for module in (synthesizer.generator, synthesizer.source, *trainers[model].networks().values()):
            before = {k: v.clone() for k, v in module.state_dict().items()}
            synthesizer.sample(3, decode="sample")
            assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_training_on_does_not_change_a_synthesizer_that_was_taken_before(encoder, tiny, x):
    trainer = Trainer(encoder, tiny("v2", epochs=2), "cpu")
    trainer.fit(x, epochs=1, progress=False)
    synthesizer = trainer.synthesizer()
    before = synthesizer.sample(5)
    trainer.fit(x, progress=False)
    assert equal(synthesizer.sample(5), before)
    assert (trainer.synthesizer().sample(5)["VL"] != before["VL"]).any()


# --- the cohort's layout ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_synthetic_table_is_a_valid_cohort_in_the_layout_of_the_real_one(synthesizers, cohort, schema, model):
    real, synthetic = validate_cohort(cohort, schema), synthesizers[model].sample(30, decode="sample")
    assert list(synthetic.columns) == list(real.columns)
    assert synthetic.dtypes.to_dict() == real.dtypes.to_dict()
    assert equal(validate_cohort(synthetic, schema), synthetic)
    for feature in schema.discrete:
        assert set(synthetic[feature.name]) <= set(feature.codes)
    for feature in schema.real:
        assert synthetic[feature.name].between(real[feature.name].min() * 0.999, real[feature.name].max() * 1.001).all()


def test_columns_stand_in_the_order_of_the_cohort_not_of_the_schema(cohort, schema, tiny, x):
    columns = ["Timestep", "Extra PI", "CD4", "Gender", "PatientID", "VL", "Extra pk-En", "Ethnic", "Base Drug Combo"]
    encoder = CohortEncoder(schema).fit(cohort[columns])
    trainer = Trainer(encoder, tiny("v1", epochs=1), "cpu")
    trainer.fit(x, progress=False)
    assert list(trainer.synthesizer().sample(2).columns) == columns


def test_text_levels_and_visits_come_back_as_text_and_days(tiny, tmp_path):
    schema = Schema(
        [
            Feature("stage", "categorical", ("I", "II", "III")),
            Feature("bili", "real"),
            Feature("sex", "binary", ("f", "m")),
        ],
        patient="id",
        time="day",
        length=3,
        regular=False,
    )
    rng, n = np.random.default_rng(0), 30
    table = pd.DataFrame(
        {
            "id": np.repeat([f"p{i}" for i in range(10)], 3),
            "day": np.tile([0, 180, 377], 10),
            "sex": np.array(["f", "m"])[rng.integers(2, size=n)],
            "bili": np.exp(rng.normal(size=n)),
            "stage": np.array(["I", "II", "III"])[rng.integers(3, size=n)],
        }
    )
    encoder = CohortEncoder(schema).fit(table)
    trainer = Trainer(encoder, tiny("v2_plus", epochs=1), "cpu")
    trainer.fit(encoder.transform(table), progress=False)
    synthetic = trainer.synthesizer().sample(4, decode="sample")
    assert list(synthetic.columns) == ["id", "day", "sex", "bili", "stage"]
    assert (
        synthetic["day"].between(0, 394).all()
        and synthetic.groupby("id")["day"].diff().dropna().between(180, 197).all()
    )
    assert synthetic["id"].tolist() == np.repeat(["p10", "p11", "p12", "p13"], 3).tolist(), "after the last real one"
    assert set(synthetic["sex"]) <= {"f", "m"} and set(synthetic["stage"]) <= {"I", "II", "III"}
    assert equal(validate_cohort(synthetic, schema), synthetic)
    trainer.synthesizer().to_csv(tmp_path / "s.csv", 4, decode="sample")
    written = pd.read_csv(tmp_path / "s.csv")
    assert written["stage"].tolist() == synthetic["stage"].tolist()


# --- decoding ---------------------------------------------------------------------------------------------------------


def with_known_shares(encoder, config, seed=0) -> tuple[Synthesizer, dict[str, np.ndarray]]:
    """A generator whose probabilities are the same for every patient and month, and these probabilities."""
    generator, source = build_generator(encoder.layout, config), build_source(config)
    shares, rng = {}, np.random.default_rng(seed)
    with torch.no_grad():
        last = generator.body[4]
        last.weight.zero_()
        last.bias.zero_()
        for feature in encoder.schema.discrete:
            share = rng.dirichlet(np.full(feature.channels, 2.0))
            shares[feature.name] = share
            last.bias[encoder.schema.spans[feature.name]] = torch.tensor(share, dtype=torch.float32).log() + 1
    return Synthesizer(encoder, config, generator, source), shares


def found_shares(table, feature) -> np.ndarray:
    return np.array([(table[feature.name] == code).mean() for code in feature.codes])


def constant_patients(table, name) -> float:
    return (table.groupby("PatientID")[name].nunique() == 1).mean()


def test_argmax_takes_the_most_probable_level_and_sample_draws_from_the_probabilities(encoder, schema, tiny):
    synthesizer, shares = with_known_shares(encoder, tiny("v1"))
    most, drawn = synthesizer.sample(50), synthesizer.sample(3000, decode="sample")
    for feature in schema.discrete:
        assert set(most[feature.name]) == {feature.codes[shares[feature.name].argmax()]}
        np.testing.assert_allclose(found_shares(drawn, feature), shares[feature.name], atol=0.015)
        assert constant_patients(drawn, feature.name) < 0.9  # drawn month by month
    assert equal(drawn[["VL", "CD4"]], synthesizer.sample(3000)[["VL", "CD4"]])  # reals are not drawn


def test_draws_of_different_features_and_months_are_independent(encoder, tiny):
    drawn = with_known_shares(encoder, tiny("v1"))[0].sample(3000, decode="sample")
    assert abs(drawn["Gender"].corr(drawn["Extra pk-En"])) < 0.03
    by_month = drawn.pivot(index="PatientID", columns="Timestep", values="Gender")
    assert by_month.corr().to_numpy()[np.triu_indices(6, 1)] == pytest.approx(0, abs=0.08)


@pytest.mark.parametrize("static_heads", [False, True])
def test_gumbel_heads_bring_their_own_draw_and_decode_does_not_change_it(encoder, schema, tiny, static_heads):
    synthesizer, shares = with_known_shares(encoder, tiny("v1", heads="gumbel", static_heads=static_heads))
    drawn = synthesizer.sample(3000)
    assert equal(drawn, synthesizer.sample(3000, decode="sample"))
    for feature in schema.discrete:
        tolerance = 0.03 if feature.static and static_heads else 0.015  # one draw a patient, not six
        np.testing.assert_allclose(found_shares(drawn, feature), shares[feature.name], atol=tolerance)
        constant = constant_patients(drawn, feature.name)
        assert constant == 1 if feature.static and static_heads else constant < 0.9


def test_softmax_with_static_heads_draws_static_features_once_a_patient(encoder, schema, tiny):
    synthesizer, shares = with_known_shares(encoder, tiny("v1", static_heads=True))
    drawn = synthesizer.sample(3000, decode="sample")
    for feature in schema.static:
        assert constant_patients(drawn, feature.name) == 1
        np.testing.assert_allclose(found_shares(drawn, feature), shares[feature.name], atol=0.03)
    assert constant_patients(drawn, "Extra PI") < 0.9


def test_one_gumbel_draw_a_patient_keeps_every_feature_for_all_months(encoder, schema, tiny):
    synthesizer, shares = with_known_shares(encoder, tiny("v1", heads="gumbel", gumbel_noise="patient"))
    drawn = synthesizer.sample(3000)
    for feature in schema.discrete:
        assert constant_patients(drawn, feature.name) == 1
        np.testing.assert_allclose(found_shares(drawn, feature), shares[feature.name], atol=0.03)


def test_no_patient_of_a_trained_model_with_static_heads_changes_sex(synthesizers, schema):
    table = synthesizers["v2_plus"].sample(200)
    for feature in schema.static:
        assert constant_patients(table, feature.name) == 1


@pytest.mark.parametrize("often", [0.02, 0.08])
def test_levels_and_switches_are_as_frequent_as_in_the_patients_given_and_nothing_else_changes(
    trainers, x, often, schema
):
    synthesizer, before = trainers["v2_plus"].synthesizer(), trainers["v2_plus"].synthesizer()
    patients = x[torch.arange(400) % 20]  # whose levels are others than all forty's
    patients = torch.where(
        torch.rand(400, 6, 1, generator=torch.Generator().manual_seed(0)) < often, patients.roll(1, 0), patients[:, :1]
    )
    wanted = change_rates(synthesizer.generator, patients)
    synthesizer.match_margins(patients)
    made = torch.cat([block for _, block in synthesizer.sample_encoded(4000, seed=1)])
    found = change_rates(synthesizer.generator, made)
    # of each feature against real ones, times that of any of them against real ones
    for ratio in (found / wanted)[:-1] * (found / wanted)[-1]:
        assert float(ratio) ** 0.5 == pytest.approx(1, abs=0.2)
    changed = [
        n for n, v in synthesizer.generator.state_dict().items() if not v.equal(before.generator.state_dict()[n])
    ]
    assert changed == ["body.4.bias"]
    real = [schema.spans[feature.name].start for feature in schema.real]
    bias, old = synthesizer.generator.body[-1].bias, before.generator.body[-1].bias
    assert bias[real].equal(old[real])
    unchanged = torch.cat([block for _, block in before.sample_encoded(4000, seed=1)])
    shares, found, was = (level_shares(synthesizer.generator, each) for each in (patients, made, unchanged))
    assert (found - shares).abs().max() < 0.04 < (was - shares).abs().max()


def test_switches_are_matched_where_a_bias_does_several_times_what_it_does_in_a_lone_logit(trainers, x):
    synthesizer = trainers["v2_plus"].synthesizer()
    generator, channels = synthesizer.generator, synthesizer.generator.channels
    plain = generator.logits

    def hearing(z, draws):  # as a trunk may learn to that hears what decides: five sixths of the noise are undone
        out = plain(z, draws).clone()
        out[..., channels:] -= draws.switch * 5 / 6
        return out

    generator.logits = hearing
    with torch.no_grad():
        generator.body[-1].bias[channels:] = -0.3
    patients = x[torch.arange(400) % 20]
    held = torch.rand(400, 6, 1, generator=torch.Generator().manual_seed(0)) < 0.04
    patients = torch.where(held, patients.roll(1, 0), patients[:, :1])
    wanted = change_rates(generator, patients)
    synthesizer.match_margins(patients)
    found = change_rates(generator, torch.cat([block for _, block in synthesizer.sample_encoded(4000, seed=1)]))
    for ratio in (found / wanted)[:-1] * (found / wanted)[-1]:
        assert float(ratio) ** 0.5 == pytest.approx(1, abs=0.25)


def test_courses_end_as_often_as_in_the_patients_given_also_where_nothing_can_switch(tiny):
    sizes = np.repeat([2, 5], [10, 30])
    rows = {"who": np.repeat(np.arange(40), sizes), "visit": np.concatenate([np.arange(n) for n in sizes])}
    table = pd.DataFrame(rows).assign(lab=np.random.default_rng(0).normal(5, 1, sizes.sum()))
    encoder = CohortEncoder(Schema([Feature("lab", "real")], "who", "visit")).fit(table)
    patients = encoder.transform(table)
    trainer = Trainer(encoder, tiny("v2_plus", epochs=1), "cpu")
    trainer.fit(patients, progress=False)
    synthesizer = trainer.synthesizer()
    synthesizer.generator.body[-1].bias[encoder.layout.spans["who: rows"].start + 1] += 3  # as training may move it
    before, drawn = synthesizer.sample(500), synthesizer.match_margins(patients).sample(2000, seed=3)
    assert before.groupby("who").size().eq(2).mean() > 0.6
    assert drawn.groupby("who").size().eq(2).mean() == pytest.approx(0.25, abs=0.05)


def visits_on_a_schedule(patients: int = 60) -> pd.DataFrame:
    """Six visits, of a fifth of the patients three: no feed at the first, a weighing at the second, else by chance."""
    random, sizes = np.random.default_rng(0), np.where(np.arange(patients) % 5, 6, 3)
    rows = {"pig": np.repeat(np.arange(patients), sizes), "week": np.concatenate([np.arange(n) for n in sizes])}
    table = pd.DataFrame(rows).assign(feed=random.normal(5, 1, sizes.sum()).round(2))
    table["feed"] = table["feed"].mask(table["week"] == 0)
    table["weighed"] = np.where(table["week"] == 1, "yes", "no")
    table["ill"] = np.where(random.random(len(table)) < 0.05, "yes", "no")
    return table


def learnt_from(table: pd.DataFrame, config: TrainConfig) -> tuple[Trainer, Synthesizer]:
    """A trainer of such a table, and its synthesizer with the margins matched."""
    features = [Feature("feed", "real")] + [Feature(n, "binary", levels=["no", "yes"]) for n in ("weighed", "ill")]
    encoder = CohortEncoder(Schema(features, "pig", "week", missing="measured")).fit(table)
    x, trainer = encoder.transform(table), Trainer(encoder, config, "cpu")
    trainer.fit(x, progress=False)
    return trainer, trainer.synthesizer().match_margins(x)


def test_what_a_schedule_decides_comes_back_at_its_visit_and_nowhere_else(tiny, tmp_path):
    trainer, synthesizer = learnt_from(visits_on_a_schedule(), tiny("v2_plus", epochs=1))
    made = synthesizer.sample(1000, seed=1)
    assert made.groupby("pig").size().isin([3, 6]).all()
    first, second = made["week"] == 0, made["week"] == 1
    assert made["feed"].isna()[first].all() and made["feed"].isna()[~first].mean() < 0.1
    assert (made["weighed"][second] == "yes").all() and not (made["weighed"][~second] == "yes").any()
    # by chance nobody is ill at one visit, and that is no schedule
    assert (made["ill"] == "yes").groupby(made["week"]).mean().between(0.001, 0.3).all()
    synthesizer.save(tmp_path / "a.pt")
    synthesizer.export(tmp_path / "b.pt", prototypes="clustered", group=5)
    trainer.save(tmp_path / "c.pt", synthesizer)
    assert Synthesizer.load(tmp_path / "a.pt").sample(300, seed=1).equals(made[made["pig"] < 300])
    assert Synthesizer.load(tmp_path / "c.pt").sample(300, seed=1).equals(made[made["pig"] < 300])
    exported = Synthesizer.load(tmp_path / "b.pt").sample(300, seed=1)
    assert exported["feed"].isna()[exported["week"] == 0].all()


def test_what_few_patients_share_at_a_visit_is_no_schedule(tiny):
    assert learnt_from(visits_on_a_schedule(19), tiny("v2_plus", epochs=1))[1].scheduled is None


def test_models_without_switches_and_features_that_never_change_stay_as_they_are(trainers, x, schema):
    for model, kept in (("v1", slice(None)), ("v2_plus", slice(schema.channels, None))):
        before, synthesizer = (trainers[model].synthesizer() for _ in range(2))
        synthesizer.match_margins(x[:, :1].expand_as(x))
        assert synthesizer.generator.body[-1].bias[kept].equal(before.generator.body[-1].bias[kept]), model


def test_gumbel_noise_has_the_moments_of_the_distribution():
    noise = gumbel(300, 20, 30, torch.Generator().manual_seed(0))
    assert noise.shape == (300, 20, 30) and torch.isfinite(noise).all()
    assert noise.mean() == pytest.approx(0.5772, abs=0.01) and noise.var() == pytest.approx(np.pi**2 / 6, abs=0.02)


# --- averaged weights -------------------------------------------------------------------------------------------------


def test_sampling_uses_the_averaged_weights_where_the_configuration_asks_for_them(encoder, tiny, x, tmp_path):
    for ema in (0.0, 0.9):
        trainer = Trainer(encoder, tiny("v1", epochs=1, ema=ema), "cpu")
        trainer.fit(x, progress=False)
        trainer.save(tmp_path / "model.pt")
        used = trainer.average if ema else trainer.generator
        for synthesizer in (trainer.synthesizer(), Synthesizer.load(tmp_path / "model.pt")):
            pairs = zip(synthesizer.generator.parameters(), used.parameters(), strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)


# --- tables on disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
@pytest.mark.parametrize("model", ["v1", "v2_plus"])
def test_a_csv_file_holds_the_sample_up_to_seven_digits(synthesizers, tmp_path, name, model):
    synthesizers[model].to_csv(tmp_path / name, 300, seed=2, decode="sample")
    expected, written = synthesizers[model].sample(300, seed=2, decode="sample"), pd.read_csv(tmp_path / name)
    assert list(written.columns) == list(expected.columns) and len(written) == 1800
    for column in expected:
        tolerance = 1e-6 if expected[column].dtype == float else 0
        np.testing.assert_allclose(written[column], expected[column], rtol=tolerance)
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "rt") as file:
        lines = file.read().splitlines()
    assert len(lines) == 1801 and lines[0] == ",".join(expected.columns)
    assert os.listdir(tmp_path) == [name]


def test_a_parquet_file_holds_the_sample_exactly(synthesizers, tmp_path):
    synthesizers["v2_plus"].to_parquet(tmp_path / "table.parquet", 300, seed=2)
    assert equal(pd.read_parquet(tmp_path / "table.parquet"), synthesizers["v2_plus"].sample(300, seed=2))
    assert os.listdir(tmp_path) == ["table.parquet"]


@pytest.mark.parametrize("write", ["to_csv", "to_parquet"])
def test_progress_is_told_and_an_interrupted_table_leaves_the_old_one(synthesizers, tmp_path, write):
    path, told = tmp_path / "table", []
    getattr(synthesizers["v1"], write)(path, 600, progress=told.append)
    assert told == [256, 512, 600]
    before = path.read_bytes()

    def stop(done):
        if done > 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(synthesizers["v1"], write)(path, 600, progress=stop)
    with pytest.raises(ValueError, match="decode"):
        getattr(synthesizers["v1"], write)(path, 600, decode="best")
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["table"]


# --- models on disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["save", "export", "checkpoint"])
@pytest.mark.parametrize("model", MODELS)
def test_a_loaded_model_samples_the_same_rows(trainers, synthesizers, tmp_path, model, way):
    path = tmp_path / "model.pt"
    {"save": synthesizers[model].save, "export": synthesizers[model].export, "checkpoint": trainers[model].save}[way](
        path
    )
    again = Synthesizer.load(path)
    assert again.config == synthesizers[model].config and again.encoder.schema == synthesizers[model].encoder.schema
    for decode in ("argmax", "sample"):
        assert equal(again.sample(30, seed=1, decode=decode), synthesizers[model].sample(30, seed=1, decode=decode))
    assert not any(p.requires_grad for p in synthesizers[model].generator.parameters())


def test_a_saved_model_holds_neither_critic_nor_training_table(synthesizers, tmp_path, x):
    synthesizers["v2_plus"].save(tmp_path / "model.pt")
    state = load_checkpoint(tmp_path / "model.pt", "synthesizer")
    assert set(state) == {"format", "kind", "config", "encoder", "sampling_generator", "source"}
    assert x.numpy()[0].tobytes() not in (tmp_path / "model.pt").read_bytes()


def test_an_export_holds_no_more_than_so_many_of_the_prototypes(synthesizers, tmp_path):
    synthesizer = synthesizers["v2"]
    known = {tuple(row) for row in synthesizer.source.prototypes[:, 0].tolist()}
    assert len(synthesizer.source.prototypes) > 60  # 40 patients at two lengths
    kept = {}
    for name, seed in (("a", 0), ("same", 0), ("b", 1)):
        synthesizer.export(tmp_path / f"{name}.pt", max_prototypes=20, seed=seed)
        small = Synthesizer.load(tmp_path / f"{name}.pt")
        kept[name] = [tuple(row) for row in small.source.prototypes[:, 0].tolist()]
        assert len(set(kept[name])) == 20 and set(kept[name]) <= known
        assert torch.equal(small.source.scale, synthesizer.source.scale)
        assert len(small.sample(3)) == 18
    assert kept["a"] == kept["same"] != kept["b"]
    synthesizer.save(tmp_path / "whole.pt")
    assert (tmp_path / "a.pt").stat().st_size < (tmp_path / "whole.pt").stat().st_size
    assert len(Synthesizer.load(tmp_path / "whole.pt").source.prototypes) == len(synthesizer.source.prototypes)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "10"])
def test_an_export_without_any_prototype_is_refused(synthesizers, tmp_path, wrong):
    with pytest.raises(ValueError, match="max_prototypes"):
        synthesizers["v2"].export(tmp_path / "small.pt", max_prototypes=wrong)
    assert os.listdir(tmp_path) == []


def test_a_model_without_prototypes_exports_too(synthesizers, tmp_path):
    synthesizers["v1"].export(tmp_path / "small.pt", max_prototypes=1)
    assert equal(Synthesizer.load(tmp_path / "small.pt").sample(3), synthesizers["v1"].sample(3))


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patients", [0, -1, 1.5, "10", True, None])
def test_what_is_no_number_of_patients_is_refused(synthesizers, patients):
    with pytest.raises(ValueError, match="patients"):
        synthesizers["v1"].sample(patients)


@pytest.mark.parametrize("seed", [-1, 0.5, "1", None])
def test_what_is_no_seed_is_refused(synthesizers, seed):
    with pytest.raises(ValueError, match="seed"):
        synthesizers["v1"].sample(3, seed=seed)


def test_an_unknown_decoding_is_refused_at_once(synthesizers):
    with pytest.raises(ValueError, match=r"'mode'.*'argmax'.*'sample'"):
        synthesizers["v1"].sample_blocks(3, decode="mode")  # not only when the first block is asked for


def test_numpys_numbers_are_taken(synthesizers):
    assert equal(synthesizers["v1"].sample(np.int64(3), seed=np.int64(2)), synthesizers["v1"].sample(3, seed=2))


def test_a_model_that_was_never_trained_says_so(encoder, tiny):
    with pytest.raises(RuntimeError, match="buffer is empty"):
        Trainer(encoder, tiny("v2"), "cpu").synthesizer().sample(3)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.pt").write_text("not a model")
    with pytest.raises(ValueError, match=r"model\.pt"):
        Synthesizer.load(tmp_path / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        Synthesizer.load(tmp_path / "none.pt")


def test_the_schemas_length_is_the_samples(cohort, schema, tiny):
    shorter = replace(schema, length=4)
    encoder = CohortEncoder(shorter).fit(cohort)
    trainer = Trainer(encoder, tiny("v2", epochs=1), "cpu")
    trainer.fit(encoder.transform(cohort), progress=False)
    assert trainer.synthesizer().sample(2)["Timestep"].tolist() == [0, 1, 2, 3] * 2


# --- exports without a single patient's vector ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "clustered"])
def test_an_export_can_leave_out_every_single_prototype(synthesizers, tmp_path, kind):
    synthesizer = synthesizers["v2"]
    synthesizer.export(tmp_path / "shared.pt", prototypes=kind, max_prototypes=500, group=8)
    shared = Synthesizer.load(tmp_path / "shared.pt")
    real, shipped = synthesizer.source.prototypes[:, 0], shared.source.prototypes[:, 0]
    closest = torch.cdist(real, real).fill_diagonal_(torch.inf).min()  # two real ones are never closer than this
    assert torch.cdist(shipped, real).min() > min(1e-4, closest / 2)
    assert torch.allclose(shipped.mean(0), real.mean(0), atol=4 * float(real.std(0).max()) / len(shipped) ** 0.5)
    assert len(shared.sample(3, seed=1)) == 3 * shared.encoder.schema.length


def test_groups_of_prototypes_have_their_size_and_keep_the_mean():
    points = torch.randn(1000, 1, 3, generator=torch.Generator().manual_seed(0))
    means = group_means(points, 100)
    assert means.shape == (8, 1, 3)  # 1000 halved three times: 125 each; once more would leave 62
    assert torch.allclose(means.mean(0), points.mean(0), atol=1e-5)
    assert torch.equal(group_means(points, 1000), points.mean(0, keepdim=True))
    assert group_means(points, 1).shape == points.shape
    two = torch.cat([torch.zeros(50, 1, 3), torch.ones(50, 1, 3)])[torch.randperm(100)]
    assert sorted(group_means(two, 50)[:, 0, 0].tolist()) == [0, 1]  # neighbours stay together


def test_an_export_of_unknown_kind_or_of_nothing_is_refused(synthesizers, untrained, tmp_path):
    with pytest.raises(ValueError, match="'kept', 'gaussian', 'clustered'"):
        synthesizers["v2"].export(tmp_path / "a.pt", prototypes="noisy")
    with pytest.raises(ValueError, match="group"):
        synthesizers["v2"].export(tmp_path / "a.pt", prototypes="clustered", group=0)
    for kind in ("gaussian", "clustered"):
        with pytest.raises(RuntimeError, match="empty"):
            untrained.export(tmp_path / "a.pt", prototypes=kind)
    assert not (tmp_path / "a.pt").exists()


@pytest.fixture
def untrained(encoder, tiny):
    return Trainer(encoder, tiny("v2"), device="cpu").synthesizer()


def test_a_shipped_model_is_loaded_by_name_and_an_unknown_one_refused():
    with pytest.raises(ValueError, match=r"no shipped model 'v3'.*v2_plus"):
        Synthesizer.pretrained("v3")
    assert Synthesizer.pretrained("v2_plus").config.static_heads
