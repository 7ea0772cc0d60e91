"""The bench against the field: what the simple methods give, and that a run is neither lost nor done twice."""

import functools

import pandas as pd
import pytest

from tests.bench import field


@pytest.fixture(scope="module")
def few():
    """Sixty synthetic patients of each method, and seventy real ones to learn from; one draw behind a floor."""
    train, holdout = field.split(seed=0)
    ids = train[field.ID].unique()[:70]
    train = train[train[field.ID].isin(ids)]
    holdout = holdout[holdout[field.ID].isin(holdout[field.ID].unique()[:50])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(field, "PATIENTS", 60)
        patch.setattr(field, "split", lambda seed: (train, holdout))
        patch.setattr(field.hg, "evaluate", functools.partial(field.hg.evaluate, draws=1))
        yield train, holdout


@pytest.fixture(scope="module")
def runs(few) -> dict[str, pd.DataFrame]:
    """One run of each simple method: the reports take longer than all else."""
    return {method: field.run(method, field.CONVERGED, 0) for method in field.UNTRAINED}


@pytest.mark.parametrize("method", field.UNTRAINED)
def test_simple_methods_give_whole_patients_and_the_same_ones_for_a_seed(few, method):
    train, _ = few
    made, again, other = (field.checked(field.METHODS[method](train, None, s)(), train) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(made, again)
    assert not made.equals(other)
    for feature in field.SCHEMA.static:
        assert (made.groupby(field.ID)[feature.name].nunique() == 1).all()
    regimen = [f.name for f in field.SCHEMA.discrete]
    assert set(made[regimen].itertuples(index=False)) <= set(
        pd.merge(train[regimen[:2]].drop_duplicates(), train[regimen[2:]].drop_duplicates(), how="cross").itertuples(
            index=False
        )
    )


def test_a_markov_chain_follows_real_steps_only(few):
    train, _ = few
    made = field.checked(field.METHODS["Markov chain"](train, None, 0)(), train)
    regimen = [f.name for f in field.SCHEMA.discrete if not f.static]

    def steps(table):
        now = table[regimen].astype(str).agg("/".join, axis=1)
        after = now.groupby(table[field.ID]).shift(-1)
        return set(zip(now[after.notna()], after.dropna(), strict=True))

    assert all(before == after for before, after in steps(made) - steps(train))


def test_the_bootstrap_is_told_by_privacy_alone(runs):
    report = runs["bootstrap"].set_index("metric")
    assert report.loc["dcr_share", "value"] > 0.8  # 70 of 120 by chance
    assert (report.loc["ks", "value"] < report.loc["ks", "floor"] + 0.1).all()


def test_what_did_not_come_back_whole_is_refused(few):
    train, _ = few
    made = field.METHODS["bootstrap"](train, None, 0)()
    with pytest.raises(ValueError, match="60 patients of 59 to 60 months"):
        field.checked(made.iloc[1:], train)


def test_runs_are_kept_and_not_done_again(runs, tmp_path, monkeypatch, capsys):
    out = tmp_path / "field.csv"
    wanted = ["--only", "bootstrap", "Markov chain", "--out", str(out)]
    monkeypatch.setattr(field, "run", lambda method, budget, seed: runs[method] if budget == field.CONVERGED else None)
    assert field.main(wanted) == 0
    rows = pd.read_csv(out)
    assert set(rows["method"]) == {"bootstrap", "Markov chain"} and set(rows["budget"]) == {field.CONVERGED}
    assert list(rows.columns) == field.COLUMNS
    monkeypatch.setattr(field, "run", None)  # a second call trains nothing
    assert field.main([*wanted, "--budget", "150", "converged"]) == 0
    printed = capsys.readouterr().out
    assert "floor" in printed and "bootstrap" in printed


def test_a_peer_that_is_not_installed_is_said(few, tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise ImportError("No module named 'mostlyai'")

    monkeypatch.setitem(field.METHODS, "TabularARGN", missing)
    assert field.main(["--only", "TabularARGN", "--out", str(tmp_path / "field.csv")]) == 1
    assert "No module named 'mostlyai'. How to install" in capsys.readouterr().out


def test_a_model_that_never_stops_by_itself_is_not_run_until_it_does(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(field, "run", None)
    wanted = ["--only", "v2_plus", "PAR", "--budget", "converged", "--out", str(tmp_path / "field.csv")]
    assert field.main(wanted) == 0 and not (tmp_path / "field.csv").exists()
    assert capsys.readouterr().out.count("never stops by itself: give --budget CPU-seconds") == 2


def test_our_models_get_as_many_epochs_as_the_time_allows(few, monkeypatch):
    train, _ = few
    clock = iter([0.0, 10.0])  # one epoch takes ten seconds
    monkeypatch.setattr(field.time, "process_time", lambda: next(clock))
    asked = []
    real = field.hg.Trainer

    def trainer(encoder, config, device):
        asked.append(config.epochs)
        return real(encoder, field.hg.TrainConfig.v1(hidden=4, latent=4, epochs=1, lengths=(60,)), device=device)

    monkeypatch.setattr(field.hg, "Trainer", trainer)
    field.METHODS["v1"](train, 150.0, 0)
    assert asked == [1, 15]


def test_the_figure_has_a_dot_a_method_and_writes_what_lies_beyond(runs, tmp_path):
    rows = pd.concat(runs.values(), ignore_index=True)
    far = rows[rows["method"] == "bootstrap"].assign(method="v1", budget="150")
    switches = far["metric"] == "switching_ratio"
    far["value"] = far["value"].mask(switches, 47.0)
    figure, table = field.draw(field.medians(pd.concat([rows, far], ignore_index=True)))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["v1", "bootstrap", "Markov chain"]
    switching = next(axes for axes in figure.axes if "switches" in axes.get_title())
    assert [text.get_text() for text in switching.texts] == ["47.0"]
    assert set(table["method"]) == {"v1", "bootstrap", "Markov chain"}
    figure.savefig(tmp_path / "field.png")
