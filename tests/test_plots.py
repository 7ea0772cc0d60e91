"""Every figure is checked against numbers that are computed here in another way, and against what a reader needs."""

import functools
import re
from dataclasses import replace
from html import escape

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch
from matplotlib.text import Text
from pandas.testing import assert_frame_equal

from hg_helpers import plots
from hg_helpers.cohort.art import ART_DEMO, ART_FULL
from hg_helpers.cohort.schema import Feature, Schema
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.exercises import toy_gan, toy_points
from hg_helpers.metrics import (
    association_difference,
    association_matrix,
    c2st_auc,
    coverage,
    dcr_share,
    trend_difference,
    within_patient_correlation,
)
from hg_helpers.metrics.arrays import prepare
from hg_helpers.model import PersistentNoise, UniformNoise
from hg_helpers.plots.report import report_figures
from hg_helpers.plots.style import contrast

MONTHS = 12
SCHEMA = replace(ART_DEMO, length=MONTHS)
NAMES = {name: dict(zip(SCHEMA[name].codes, SCHEMA[name].levels, strict=True)) for name in ("Gender", "Ethnic")}


def collapsed(cohort: pd.DataFrame) -> pd.DataFrame:
    """What v1 makes of a cohort: everybody is Male x Other on the commonest regimen, labs close to their median."""
    out = cohort.copy()
    for feature in ART_FULL.discrete:
        out[feature.name] = cohort[feature.name].mode()[0]
    for feature in ART_FULL.real:
        middle = cohort[feature.name].median()
        out[feature.name] = middle * (cohort[feature.name] / middle) ** 0.4
    return out


def history_of(model: str, epochs: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lengths = np.tile(np.repeat([4, 8, 12], 2), epochs)
    history = pd.DataFrame({"step": np.arange(len(lengths)), "epoch": np.arange(len(lengths)) // 6 + 1})
    history["length"] = lengths
    for name in ("critic_loss", "generator_loss", "wasserstein", "penalty", "correlation_loss"):
        history[name] = rng.normal(size=len(history))
    history["reconstruction"] = rng.random(len(history)) if model == "v2" else np.nan
    if model == "v2":
        history["kl"] = rng.lognormal(2, 2, len(history))
    return history.assign(learning_rate=1e-3, seconds=0.5)


def results() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    rows = [
        {"configuration": c, "seed": s, "metric": m, "decode": d, "value": rng.random()}
        for c in ("v1", "v2", "v2 with static heads")
        for s in range(3)
        for m in ("coverage_month", "ks", "switching_ratio")
        for d in ("argmax", "sample")
    ]
    table = pd.DataFrame(rows)
    table.loc[(table["metric"] == "switching_ratio") & (table["configuration"] == "v1"), "value"] = np.nan
    return table


REAL = simulate_cohort(60, months=MONTHS, seed=1)
V1 = collapsed(simulate_cohort(50, months=MONTHS, seed=2))
V2 = simulate_cohort(50, months=MONTHS, seed=3)
OTHER = simulate_cohort(40, months=MONTHS, seed=4)
TABLES = {"real": REAL, "v1": V1, "v2": V2}
COVERAGE = {n: coverage(REAL, TABLES[n], SCHEMA, ["Gender", "Ethnic"])[1] for n in ("v1", "v2")}
DISTANCES = {n: dcr_share(REAL, OTHER, TABLES[n], SCHEMA)[1] for n in ("v1", "v2")}
GIVEAWAYS = {n: c2st_auc(REAL, TABLES[n], SCHEMA)[1] for n in ("v1", "v2")}
HISTORY = {model: history_of(model) for model in ("v1", "v2")}
TOY = toy_points(40)
GANS = {
    name: toy_gan(TOY, source(2), steps=1, every=1)
    for name, source in (("v1", UniformNoise), ("kept", PersistentNoise))
}
UNITS = {"forgets": ([1, 8, 0.5, 2], [0.3, 0, -1, 1], [2, -4, 0, 0]), "keeps": ([0, 8, 0, 2], [0] * 4, [2, -4, 3, 0])}
RESULTS = results()
POINTS = np.random.default_rng(2).normal(size=(60, 1, 5)) * [5, 3, 1, 1, 1]
ETHNIC = REAL.groupby("PatientID")["Ethnic"].first().to_numpy()
INPUTS = [RESULTS, *(t for tables in (TABLES, COVERAGE, DISTANCES, GIVEAWAYS, HISTORY) for t in tables.values())]

TITLES = {
    "coverage_month": "groups covered,\nby month",
    "ks": "distance of\ndistributions",
    "switching_ratio": "switches,\nof real",
}
FIGURES = {
    "distributions": lambda: plots.distributions(REAL, {"v1": V1, "v2": V2}, SCHEMA),
    "distributions, all features": lambda: plots.distributions(REAL, V1, replace(ART_FULL, length=MONTHS), label="v1"),
    "joint_shares": lambda: plots.joint_shares(TABLES, SCHEMA),
    "joint_shares of three": lambda: plots.joint_shares(TABLES, SCHEMA, ("Gender", "Ethnic", "Base Drug Combo")),
    "training_curves v1": lambda: plots.training_curves(HISTORY["v1"]),
    "training_curves v2": lambda: plots.training_curves(HISTORY["v2"]),
    "association": lambda: plots.association(REAL, V1, SCHEMA, label="v1"),
    "association, all features": lambda: plots.association(REAL, V2, replace(ART_FULL, length=MONTHS)),
    "trends_and_cycles": lambda: plots.trends_and_cycles(REAL, V2, replace(ART_FULL, length=MONTHS)),
    "trajectories": lambda: plots.trajectories(REAL, {"v1": V1, "v2": V2}, SCHEMA),
    "patients": lambda: plots.patients(REAL, V2, SCHEMA),
    "giveaways": lambda: plots.giveaways(GIVEAWAYS),
    "regimen_shares": lambda: plots.regimen_shares(TABLES, SCHEMA),
    "prototypes, levels": lambda: plots.prototypes(POINTS, ETHNIC, SCHEMA["Ethnic"]),
    "prototypes, numbers": lambda: plots.prototypes(POINTS, np.linspace(1, 5000, 60), SCHEMA["VL"]),
    "privacy_distances": lambda: plots.privacy_distances(DISTANCES),
    "coverage_bars": lambda: plots.coverage_bars(COVERAGE),
    "models": plots.models,
    "models, one part": lambda: plots.models("memory", ["v1", "v2"]),
    "ablation": lambda: plots.ablation(RESULTS, floor={"ks": 0.1}),
    "gan_steps": lambda: plots.gan_steps(TOY, GANS, [0, 1]),
    "lstm_steps": lambda: plots.lstm_steps([0, 1, 0, 0], UNITS),
}


@pytest.fixture(scope="module")
def drawn() -> dict:
    """Each figure drawn once; what all of them must keep is taken down around the drawing."""
    before = [table.copy(deep=True) for table in INPUTS]
    settings, open_figures = dict(plt.rcParams), plt.get_fignums()
    out = {name: draw() for name, draw in FIGURES.items()}
    out["unchanged"] = (before, settings, open_figures)
    return out


@functools.cache  # by the figure: drawn once for all that look at it
def rendered(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def tick_labels(figure: Figure) -> tuple[list[list[Text]], set[Text]]:
    """The labels that are seen, axis by axis, and those that matplotlib keeps in store beyond an axis' limits."""
    seen, stored = [], set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        ticks = [tick for tick in axis.get_major_ticks() + axis.get_minor_ticks()]
        used = [tick for tick in ticks if low <= tick.get_loc() <= high]
        stored |= {label for tick in ticks if tick not in used for label in (tick.label1, tick.label2)}
        seen.append([t.label1 for t in used if t.label1.get_visible() and t.label1.get_text()])
    return seen, stored


def written(figure: Figure) -> list[Text]:
    """All text that is seen."""
    _, stored = tick_labels(figure)
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in stored]


def heat_maps(figure: Figure) -> list:
    return [image for axes in figure.axes for image in axes.images]


def words(figure: Figure, text: str) -> int:
    return sum(t.get_text() == text for t in figure.findobj(Text))


def bars(axes: Axes) -> list[float]:
    return [patch.get_width() for container in axes.containers for patch in container]


# --- what every figure keeps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_comes_with_a_tidy_table_and_an_alternative_text_that_states_numbers(drawn, name):
    figure, table = drawn[name]
    assert isinstance(figure, Figure) and isinstance(table, pd.DataFrame) and len(table)
    assert list(table.index) == list(range(len(table))) and table.columns.is_unique
    alt = table.attrs["alt"]
    assert re.search(r"\d", alt) and alt.endswith(".") and "nan" not in alt and "\n" not in alt and 40 < len(alt) < 700


@pytest.mark.parametrize("name", FIGURES)
def test_all_text_is_at_least_ten_points_and_none_is_cut_off(drawn, name):
    figure, _ = drawn[name]
    renderer, edge = rendered(figure).get_renderer(), figure.bbox
    texts = written(figure)
    assert len(texts) > 5
    for text in texts:
        assert text.get_fontsize() >= 10, text.get_text()
        box = text.get_window_extent(renderer)
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= edge.width + 1 and box.y1 <= edge.height + 1
        assert inside, (text.get_text(), box, edge)


@pytest.mark.parametrize("name", FIGURES)
def test_tick_labels_do_not_overlap(drawn, name):
    figure, _ = drawn[name]
    renderer = rendered(figure).get_renderer()
    for labels in tick_labels(figure)[0]:
        if any(label.get_rotation() % 90 for label in labels):
            continue  # the boxes of slanted labels overlap where their letters do not
        boxes = [label.get_window_extent(renderer) for label in labels]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[i + 1 :]), [label.get_text() for label in labels]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_as_wide_as_a_page_and_of_one_resolution(drawn, name):
    figure, _ = drawn[name]
    assert figure.get_size_inches()[0] == plots.style.WIDTH and figure.dpi == plots.style.DPI


@pytest.mark.parametrize("name", FIGURES)
def test_words_can_be_read_on_white(drawn, name):
    maps = [axes for axes in drawn[name][0].axes if axes.images]
    for text in (t for t in written(drawn[name][0]) if t.axes not in maps or t not in t.axes.texts):
        assert contrast(text.get_color(), "white") >= 4.5, text.get_text()


@pytest.mark.parametrize("name", ["joint_shares", "joint_shares of three", "association", "trends_and_cycles"])
def test_numbers_can_be_read_on_their_cells(drawn, name):
    for axes in (axes for axes in drawn[name][0].axes if axes.images):
        (image,) = axes.images
        for text in (t for t in axes.texts if t.get_bbox_patch() is None and re.search(r"\d", t.get_text())):
            column, row = (round(at) for at in text.get_position())
            if text.get_transform() == axes.transData:
                under = image.cmap(image.norm(image.get_array()[row, column]))
                assert contrast(text.get_color(), under) >= 4.5


def test_a_level_that_looks_like_markup_is_drawn_as_it_is_written():
    income = Feature("$ a year", "categorical", levels=("$10k-$50k", "$1_$2", "<b>&</b>"), role="regimen")
    schema = Schema((income, Feature("sex", "binary", levels=("m", "f"))), patient="id", time="month", length=2)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": np.repeat(np.arange(30), 2), "month": np.tile([0, 1], 30)})
    table["$ a year"], table["sex"] = rng.choice(income.levels, 60), rng.choice(["m", "f"], 60)
    for figure, _ in (
        plots.distributions(table, table, schema),
        plots.joint_shares({"real": table, "$1_$2": table}, schema, ["$ a year", "sex"]),
        plots.regimen_shares(table, schema),
        plots.coverage_bars(coverage(table, table, schema)[1]),
        plots.patients(table, table, schema),
    ):
        rendered(figure)
        texts = [text for text in written(figure) if "$" in text.get_text()]
        assert texts
        assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("name", ["covered", "real share", "source", "share", "group", "drawn"])
def test_a_feature_with_the_name_of_a_result_is_kept_apart_from_it(name):
    schema = Schema((Feature(name, "binary", levels=("m", "f")), SCHEMA["Ethnic"]), length=MONTHS)
    real, other = (t.rename(columns={"Gender": name}).replace({name: {1: "m", 2: "f"}}) for t in (REAL, V2))
    found = coverage(real, other, schema)[1]
    _, table = plots.coverage_bars(found)
    assert set(table["group"].str.split(" · ").str[0]) <= {"m", "f"}
    assert table.groupby("source")["share"].sum()["real"] == pytest.approx(found["real share"].sum())
    assert any(column.startswith(name) and set(table[column]) == {"m", "f"} for column in table)
    _, joint = plots.joint_shares({"real": real, "other": other}, schema, [name, "Ethnic"])
    assert joint["share"].sum() == pytest.approx(2) and set(joint["source"]) == {"real", "other"}


def test_drawing_leaves_inputs_settings_and_pyplot_as_they_were(drawn):
    before, settings, open_figures = drawn["unchanged"]
    for kept, table in zip(before, INPUTS, strict=True):
        assert_frame_equal(kept, table)
        assert kept.attrs == table.attrs
    assert dict(plt.rcParams) == settings
    assert plt.get_fignums() == open_figures


def test_a_picture_looks_the_same_whatever_the_reader_has_set():
    def pixels() -> np.ndarray:
        return np.asarray(rendered(plots.joint_shares(TABLES, SCHEMA)[0]).buffer_rgba()).copy()

    plain = pixels()
    with plt.style.context(["dark_background", {"font.size": 30, "xtick.labelsize": 4, "figure.dpi": 50}]):
        assert np.array_equal(pixels(), plain)


def test_a_picture_shows_itself_with_its_alternative_text_even_before_pyplot_is_set_up(drawn):
    figure, table = drawn["joint_shares"]
    data, metadata = figure._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata == {"image/png": {"alt": table.attrs["alt"]}}
    assert f'<img alt="{escape(table.attrs["alt"])}" src="data:image/png;base64,' in data["text/html"]
    assert int.from_bytes(data["image/png"][16:20], "big") == 900  # pixels: the page of a laptop of 1366 x 768


def test_a_notebook_shows_a_picture_exactly_once(drawn):
    formatters = pytest.importorskip("IPython.core.formatters")
    pylabtools = pytest.importorskip("IPython.core.pylabtools")
    formatter = formatters.DisplayFormatter()
    figure, table = drawn["joint_shares"]
    for inline_backend in (False, True):
        if inline_backend:  # what `%matplotlib inline` and the first pyplot figure do
            png = formatter.formatters["image/png"]
            png.for_type(Figure, lambda shown: pylabtools.print_figure(shown, base64=True))
        data, metadata = formatter.format(figure)
        assert {kind for kind in data if kind.startswith("image/")} == {"image/png"}
        assert metadata["image/png"]["alt"] == table.attrs["alt"]


# --- distributions --------------------------------------------------------------------------------------------------


def test_distributions_show_the_shares_of_every_level_and_bin(drawn):
    figure, table = drawn["distributions"]
    for feature in SCHEMA:
        for name, cohort in TABLES.items():
            part = table[(table["feature"] == feature.name) & (table["source"] == name)]
            values = cohort[feature.name]
            if feature.is_real:
                inside = [((values >= a) & (values < b)).mean() for a, b in part[["left", "right"]].to_numpy()]
                inside[-1] += (values == part["right"].iloc[-1]).mean()
                np.testing.assert_allclose(part["share"], inside)
                assert part["share"].sum() == pytest.approx(1)
                np.testing.assert_allclose(np.diff(np.log10(part["left"])).std(), 0, atol=1e-9)
            else:
                assert part["level"].tolist() == [str(level) for level in feature.levels]
                assert part["share"].tolist() == [(values == code).mean() for code in feature.codes]
    panel = next(axes for axes in figure.axes if axes.get_title() == "Ethnic")
    np.testing.assert_allclose(bars(panel), table.loc[table["feature"] == "Ethnic", "share"])
    assert [t.get_text() for t in panel.get_yticklabels()] == ["Asian", "African", "Caucasian", "Other"]


def test_labs_have_log_axes_with_units_unless_a_value_is_zero_or_the_range_is_short(drawn):
    def axes_of(cohort: pd.DataFrame, schema: Schema = SCHEMA) -> Axes:
        figure, _ = plots.distributions(cohort, cohort, schema.select(["VL"]))
        return next(a for a in figure.axes if a.get_title() == "VL")

    figure, _ = drawn["distributions"]
    scales = {a.get_title(): (a.get_xscale(), a.get_xlabel()) for a in figure.axes}
    assert scales["VL"] == ("log", "VL (copies/mL), log scale")
    assert scales["CD4"] == ("log", "CD4 (cells/µL), log scale")
    assert axes_of(REAL).get_xscale() == "log"
    assert axes_of(REAL.assign(VL=REAL["VL"].where(REAL.index > 0, 0.0))).get_xscale() == "linear"
    assert axes_of(REAL.assign(VL=np.linspace(2, 19, len(REAL)))).get_xscale() == "linear"
    signed = replace(SCHEMA["VL"], transform="none")
    assert axes_of(REAL, Schema((signed,), length=MONTHS)).get_xscale() == "linear"


def test_a_collapsed_models_spike_is_cut_off_and_said_to_be_so_that_the_others_can_be_read():
    schema = SCHEMA.select(["VL"])
    spike = V1.assign(VL=REAL["VL"].median())
    figure, table = plots.distributions(REAL, {"v1": spike, "v2": V2}, schema)
    tops = table.groupby("source")["share"].max()
    (axes,) = figure.axes
    assert tops["v1"] == 1 and max(tops["real"], tops["v2"]) < axes.get_ylim()[1] < 2 * max(tops["real"], tops["v2"])
    assert words(figure, "v1 cut off, up to 100%") == 1 and not any(
        t.get_text().startswith("v2 cut off") for t in figure.findobj(Text)
    )
    figure, table = plots.distributions(REAL, {"v1": V2}, schema)  # nothing to cut
    assert not any("cut off" in t.get_text() for t in figure.findobj(Text))
    assert figure.axes[0].get_ylim()[1] > table["share"].max()


def test_distributions_say_absent_for_every_level_that_has_nobody(drawn):
    figure, table = drawn["distributions"]
    levels = table.dropna(subset=["level"])
    assert words(figure, "absent") == (levels["share"] == 0).sum() > 10
    missing = ((levels["share"] == 0) & (levels["source"] == "v1")).sum()
    seen = (levels.loc[levels["source"] == "real", "share"] > 0).sum()
    real_too = levels.pivot(index=["feature", "level"], columns="source", values="share").query("real > 0 and v1 == 0")
    assert f"v1 lacks {len(real_too)} of the {seen} levels" in table.attrs["alt"] and missing >= len(real_too)


def test_real_and_synthetic_differ_in_colour_hatching_and_line(drawn):
    figure, _ = drawn["distributions"]
    panel = next(axes for axes in figure.axes if axes.get_title() == "Gender")
    patches = [container.patches[0] for container in panel.containers]
    assert len({patch.get_hatch() for patch in patches}) == len({to_hex(p.get_facecolor()) for p in patches}) == 3
    lab = next(axes for axes in figure.axes if axes.get_title() == "VL")
    outlines = [patch for patch in lab.patches if not patch.get_fill()]
    assert len({str(patch.get_linestyle()) for patch in outlines}) == 3
    (filled,) = [patch for patch in lab.patches if patch.get_fill()]
    table = drawn["distributions"][1].query("feature == 'VL' and source == 'real'")
    np.testing.assert_allclose(filled.get_data().values, table["share"])
    keys = [key for legend in figure.findobj(Legend) for key in legend.findobj(Patch) if key is not legend.get_frame()]
    assert [key.get_hatch() for key in keys] == [patch.get_hatch() for patch in patches]


def test_shares_are_of_known_values_only():
    cohort = REAL.copy()
    cohort.loc[cohort.index[:100], "Gender"] = np.nan
    _, table = plots.distributions(cohort, V1, SCHEMA.select(["Gender"]))
    share = table.query("source == 'real' and level == 'Male'")["share"].item()
    assert share == pytest.approx((cohort["Gender"].dropna() == 1).mean())


@pytest.mark.parametrize("kinds", [("VL", "CD4"), ("Gender", "Ethnic"), ("CD4",), ("Extra pk-En",)])
def test_distributions_need_neither_reals_nor_categories(kinds):
    figure, table = plots.distributions(REAL, {"v1": V1}, SCHEMA.select(list(kinds)))
    rendered(figure)
    assert set(table["feature"]) == set(kinds)


def test_a_constant_lab_and_a_single_patient_can_be_drawn():
    one = REAL[REAL["PatientID"] == REAL["PatientID"].iloc[0]].assign(VL=50.0)
    _, table = plots.distributions(one, one, SCHEMA)
    assert table.query("feature == 'VL' and source == 'real'")["share"].max() == 1
    for draw in (plots.trajectories, plots.association):
        rendered(draw(one, one, SCHEMA)[0])


# --- joint shares and coverage --------------------------------------------------------------------------------------


def test_joint_shares_equal_a_cross_table_and_keep_absent_groups(drawn):
    figure, table = drawn["joint_shares"]
    assert len(table) == 3 * 8
    for name, cohort in TABLES.items():
        cross = pd.crosstab(
            cohort["Gender"].map(NAMES["Gender"]), cohort["Ethnic"].map(NAMES["Ethnic"]), normalize="all"
        )
        for row in table[table["source"] == name].itertuples():
            expected = (
                cross.loc[row.Gender, row.Ethnic] if {row.Gender} <= {*cross.index} and row.Ethnic in cross else 0
            )
            assert row.share == pytest.approx(expected)
    assert words(figure, "absent") == (table["share"] == 0).sum() >= 7
    assert "v1 has 1 of 8 groups" in table.attrs["alt"]
    shares = table.pivot(index=["Gender", "Ethnic"], columns="source", values="share")
    apart = (shares["v1"] - shares["real"]).abs().sum() / 2
    assert f"total variation {apart:.2f}" in table.attrs["alt"]


def test_the_cells_of_a_joint_hold_the_written_shares_in_the_places_that_the_axes_name(drawn):
    figure, table = drawn["joint_shares"]
    for name, axes in zip(TABLES, figure.axes, strict=False):
        rows, columns = (
            [t.get_text() for t in figure.axes[0].get_yticklabels()],
            [t.get_text() for t in axes.get_xticklabels()],
        )
        assert rows == list(SCHEMA["Ethnic"].levels) and columns == list(SCHEMA["Gender"].levels)
        for text in (t for t in axes.texts if t.get_text().endswith("%")):
            column, row = (round(at) for at in text.get_position())
            share = table.set_index(["source", "Gender", "Ethnic"])["share"][name, columns[column], rows[row]]
            number = float(text.get_text().strip("<%")) / 100
            assert share == pytest.approx(number, abs=0.0051 if share > 0.09 else 0.00051)


@pytest.mark.parametrize("name", ["joint_shares", "joint_shares of three", "association", "trends_and_cycles"])
def test_compared_heat_maps_share_one_colour_scale(drawn, name):
    images = heat_maps(drawn[name][0])
    assert len(images) >= 3
    assert len({(i.norm.vmin, i.norm.vmax, i.cmap.name, type(i.norm)) for i in images}) == 1
    assert (
        max(np.nanmax(np.ma.filled(i.get_array(), np.nan)) for i in images if i.get_array().count())
        <= images[0].norm.vmax
    )


def test_a_joint_of_three_features_equals_a_cross_table(drawn):
    _, table = drawn["joint_shares of three"]
    assert table.columns.tolist() == ["source", "Gender", "Ethnic", "Base Drug Combo", "share"]
    assert len(table) == 3 * 2 * 4 * 6 and table.groupby("source")["share"].sum().tolist() == pytest.approx([1, 1, 1])
    row = table.query("source == 'v2' and Gender == 'Male' and Ethnic == 'Other' and `Base Drug Combo` == 'FTC + TDF'")
    assert row["share"].item() == ((V2["Gender"] == 1) & (V2["Ethnic"] == 4) & (V2["Base Drug Combo"] == 0)).mean()


@pytest.mark.parametrize(
    ("features", "error", "words_of_it"),
    [
        (("Gender",), ValueError, "two or more"),
        (("Gender", "Gender"), ValueError, "two or more"),
        (("Gender", "VL"), ValueError, "'VL' is real"),
        (("Gender", "Age"), KeyError, "Age"),
        (("Ethnic", "Base Drug Combo", "Extra PI"), ValueError, "columns"),
    ],
)
def test_a_joint_that_cannot_be_read_is_refused(features, error, words_of_it):
    with pytest.raises(error, match=words_of_it):
        plots.joint_shares(TABLES, SCHEMA, features)


def test_coverage_bars_are_sorted_by_real_share_and_name_who_is_missing(drawn):
    figure, table = drawn["coverage_bars"]
    real = table[table["source"] == "real"]
    assert real["share"].is_monotonic_decreasing
    for name in ("v1", "v2"):
        part = table[table["source"] == name].reset_index(drop=True)
        assert part["group"].tolist() == real["group"].tolist()
        for row in part.itertuples():
            gender, ethnic = row.group.split(" · ")
            here = (TABLES[name]["Gender"].map(NAMES["Gender"]) == gender) & (
                TABLES[name]["Ethnic"].map(NAMES["Ethnic"]) == ethnic
            )
            assert row.share == pytest.approx(here.mean())
            assert row.covered == (here.mean() >= 0.25 * real["share"].iloc[row.Index] and here.any())
    covered = table[table["source"] == "v1"]["covered"]
    assert f"v1 covers {covered.sum()} of {len(covered)} groups" in table.attrs["alt"] and covered.sum() == 1
    uncovered = table[~table["covered"].fillna(True).astype(bool)]
    assert words(figure, "absent") + words(figure, "too few") == len(uncovered)
    assert words(figure, "absent") == (uncovered["share"] == 0).sum()
    np.testing.assert_allclose(bars(figure.axes[0]), real["share"])
    for line, name in zip(figure.axes[0].lines, ("v1", "v2"), strict=True):
        np.testing.assert_allclose(line.get_xdata(), table.loc[table["source"] == name, "share"])
        assert np.abs(line.get_ydata() - np.arange(len(real))).max() < 0.5  # each mark in the row of its group
    assert figure.axes[0].get_xlim()[0] == 0


def test_coverage_bars_draw_the_largest_groups_and_say_how_many_they_leave_out():
    full = coverage(REAL, V2, SCHEMA, minimum=0)[1]
    figure, table = plots.coverage_bars(full, label="v2", most=5)
    assert len(table) == 2 * len(full) and table["drawn"].sum() == 10
    assert table.loc[table["drawn"], "share"].max() == table["share"].max()
    assert f"the {len(full) - 5} smallest groups are not drawn" in figure.axes[0].get_xlabel()


def test_words_and_ticks_of_coverage_bars_stand_apart_at_half_width_too():
    tables = {n: coverage(REAL, t, SCHEMA, minimum=0)[1] for n, t in {**TABLES, "v2_plus": OTHER}.items()}
    figure, _ = plots.coverage_bars(tables, most=14, real_label="training")
    figure.set_dpi(plots.style.DPI / 2)
    renderer = rendered(figure).get_renderer()
    ticks = [t for t in tick_labels(figure)[0][0] if t.get_text()]
    missing = [t for t in figure.findobj(Text) if t.get_text() in ("absent", "too few")]
    assert len(missing) > 20 and len(ticks) > 2 and ticks[0].get_text() == "0%"
    for texts in (ticks, missing):
        boxes = [t.get_window_extent(renderer).padded(1) for t in texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_group_with_somebody_but_under_the_floor_is_not_called_absent():
    few = REAL.assign(Gender=np.where(REAL.index % 60 == 0, 2, 1))
    real = REAL.assign(Gender=np.where(REAL.index % 2 == 0, 2, 1))
    figure, table = plots.coverage_bars(coverage(real, few, SCHEMA, ["Gender"])[1])
    assert (words(figure, "too few"), words(figure, "absent")) == (1, 0)
    assert table.query("source == 'synthetic' and group == 'Female'")["share"].item() == pytest.approx(1 / 60)


def test_coverage_against_other_real_patients_is_refused():
    other = coverage(OTHER, V2, SCHEMA, ["Gender", "Ethnic"])[1]
    with pytest.raises(ValueError, match="'v2' has other groups or other real shares than 'v1'"):
        plots.coverage_bars({"v1": COVERAGE["v1"], "v2": other})


# --- time -----------------------------------------------------------------------------------------------------------


def test_trajectories_are_medians_and_quartiles_of_each_month_and_patients_as_they_are(drawn):
    figure, table = drawn["trajectories"]
    for name, cohort in TABLES.items():
        wide = cohort.pivot(index="PatientID", columns="Timestep", values="CD4").to_numpy()
        part = table[(table["feature"] == "CD4") & (table["source"] == name)]
        for line, share in {"quartile 1": 25, "median": 50, "quartile 3": 75}.items():
            got = part[part["line"] == line].sort_values("time")["value"]
            np.testing.assert_allclose(got, np.percentile(wide, share, axis=0))
        singles = part[part["line"].str.startswith("patient ")]
        assert singles["line"].nunique() == 4
        for line, path in singles.groupby("line"):
            own = cohort[cohort["PatientID"] == int(line.split()[1])].sort_values("Timestep")
            assert path.sort_values("time")["value"].tolist() == own["CD4"].tolist()
    assert {axes.get_yscale() for axes in figure.axes} == {"log"}
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["VL (copies/mL)", "CD4 (cells/µL)"]


def test_single_patients_depend_on_the_seed_alone():
    def chosen(cohort: pd.DataFrame, seed: int) -> set:
        _, table = plots.trajectories(cohort, V2, SCHEMA, "VL", seed=seed)
        return set(table.loc[table["source"] == "real", "line"])

    shuffled = REAL.sample(frac=1, random_state=0)
    assert chosen(REAL, 1) == chosen(shuffled, 1) != chosen(REAL, 2)


def test_irregular_visits_are_ranked_within_each_patient():
    schema = Schema((Feature("bili", "real", unit="mg/dL"),), patient="id", time="day", length=2, regular=False)
    table = pd.DataFrame({"id": [1, 1, 1, 2], "day": [40, 0, 90, 7], "bili": [2.0, 1.0, 9.0, 3.0]})
    _, drawn_table = plots.trajectories(table, table, schema, patients=0)
    middle = drawn_table.query("source == 'real' and line == 'median'")
    assert middle["time"].tolist() == [0, 1] and middle["value"].tolist() == [2.0, 2.0]


def test_regimen_shares_equal_a_cross_table_by_month_with_absent_levels_at_zero(drawn):
    figure, table = drawn["regimen_shares"]
    levels = SCHEMA["Base Drug Combo"].levels
    assert len(table) == 3 * MONTHS * 6
    for name, cohort in TABLES.items():
        cross = pd.crosstab(cohort["Timestep"], cohort["Base Drug Combo"], normalize="index")
        wide = table[table["source"] == name].pivot(index="time", columns="level", values="share")
        for code, level in enumerate(levels):
            expected = cross[code].to_numpy() if code in cross else np.zeros(MONTHS)
            np.testing.assert_allclose(wide[level], expected)
    box = next(t.get_text() for t in figure.findobj(Text) if t.get_text().startswith("absent:"))
    assert set(box.split("\n")[1:]) == set(levels) - {"FTC + TDF"}
    keys = [t.get_text() for t in figure.legends[0].get_texts()]
    assert keys == list(levels)


def with_gaps(cohort: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Courses of 1 to 12 months, and a third of the values not measured."""
    rng = np.random.default_rng(seed)
    ends = {patient: rng.integers(1, MONTHS + 1) for patient in cohort["PatientID"].unique()}
    out = cohort[cohort["Timestep"] < cohort["PatientID"].map(ends)].reset_index(drop=True)
    return out.assign(**{f: out[f].where(rng.random(len(out)) > 0.3) for f in ("VL", "Gender", "Base Drug Combo")})


@pytest.mark.parametrize("length", [MONTHS, None])
def test_courses_of_any_length_and_values_that_were_not_measured_are_drawn_as_they_are(length):
    schema = replace(SCHEMA, length=length, missing="measured")
    real, other = with_gaps(REAL, 1), with_gaps(V2, 2)
    rendered(plots.distributions(real, other, schema)[0])
    _, table = plots.joint_shares({"real": real, "v2": other}, schema)
    known = real.dropna(subset=["Gender"])
    share = ((known["Gender"] == 1) & (known["Ethnic"] == 4)).mean()
    assert table.query("source == 'real' and Gender == 'Male' and Ethnic == 'Other'")["share"].item() == share
    _, table = plots.trajectories(real, other, schema, "VL")
    got = table.query("source == 'real' and line == 'median'").set_index("time")["value"]
    np.testing.assert_allclose(got, real.groupby("Timestep")["VL"].median())
    _, table = plots.regimen_shares({"real": real}, schema)
    cross = pd.crosstab(real["Timestep"], real["Base Drug Combo"], normalize="index")
    np.testing.assert_allclose(table.groupby("time")["share"].max(), cross.max(axis=1))


def test_a_bar_of_a_single_patient_is_broken_where_nothing_was_measured_and_a_lonely_value_is_a_dot():
    schema = Schema((Feature("lab", "real"), Feature("drug", "binary", levels=("a", "b"))), patient="id", time="month")
    table = pd.DataFrame(
        {"id": 1, "month": range(6), "lab": [np.nan] * 5 + [2.0], "drug": ["a", "a", None, "a", "b", "b"]}
    )
    figure, _ = plots.patients(table, table.assign(lab=range(1, 7)), schema)
    left, right = figure.axes[:2]
    edges = [p.get_path().transformed(p.get_patch_transform()).vertices[:, 0] for p in left.patches]
    ends = sorted((x.min(), x.max()) for x in edges)
    np.testing.assert_allclose(ends, [(-0.5, 1.5), (2.5, 3.5), (3.5, 5.5)])
    assert left.lines[0].get_marker() == "." and right.lines[0].get_marker() == ""


def test_wrong_features_over_time_are_refused():
    with pytest.raises(ValueError, match="'VL' is real"):
        plots.regimen_shares(REAL, SCHEMA, "VL")
    with pytest.raises(ValueError, match="regimen"):
        plots.regimen_shares(REAL, SCHEMA.select(["VL", "Gender"]))
    with pytest.raises(ValueError, match="'Gender'"):
        plots.trajectories(REAL, V1, SCHEMA, "Gender")
    with pytest.raises(ValueError, match="at least one"):
        plots.trajectories(REAL, V1, SCHEMA.select(["Gender"]))


def test_single_patients_are_drawn_as_they_are_labs_as_lines_and_stays_in_the_bar(drawn):
    figure, table = drawn["patients"]
    levels = dict(enumerate(SCHEMA["Base Drug Combo"].levels))
    panels = np.array(figure.axes[:20]).reshape(10, 2)  # behind them come the second labs' axes
    for place, (name, cohort) in enumerate((("real", REAL), ("synthetic", V2))):
        rows = table[table["source"] == name]
        assert rows["patient"].nunique() == 10
        for patient, axes in zip(rows["patient"].unique(), panels[:, place], strict=True):
            own = cohort[cohort["PatientID"] == patient].sort_values("Timestep")
            (line,) = axes.get_lines()
            assert line.get_xdata().tolist() == own["Timestep"].tolist()
            assert line.get_ydata().tolist() == own["VL"].tolist()
            regimen = own["Base Drug Combo"].map(levels)
            part = rows[(rows["patient"] == patient) & (rows["feature"] == "Base Drug Combo")]
            assert part["level"].tolist() == regimen.tolist()
            assert len(axes.patches) == 1 + int((regimen != regimen.shift()).iloc[1:].sum())
    assert len({axes.get_ylim() for axes in panels.flat}) == 1  # one scale, so that patients compare
    assert [t.get_text() for t in figure.legends[0].get_texts()][:2] == ["VL (copies/mL)", "CD4 (cells/µL)"]


def test_single_patients_of_small_tables_and_of_features_without_labs():
    schema = SCHEMA.select(["Gender", "Ethnic"])
    figure, table = plots.patients(REAL[REAL["PatientID"] < 3], V2, schema, number=5)
    rendered(figure)
    assert table.groupby("source")["patient"].nunique().to_dict() == {"real": 3, "synthetic": 5}
    with pytest.raises(ValueError, match="no feature with levels"):
        plots.patients(REAL, V2, SCHEMA.select(["VL"]))
    with pytest.raises(ValueError, match="cannot be called 'real'"):
        plots.patients(REAL, V2, SCHEMA, label="real")


def test_what_gives_patients_away_is_drawn_worst_first_with_its_means(drawn):
    figure, table = drawn["giveaways"]
    worst, other = GIVEAWAYS["v1"].head(10), GIVEAWAYS["v2"].set_index(["feature", "summary"])
    axes = next(a for a in figure.axes if a.containers)
    names = [t.get_text().split("\n") for t in axes.get_yticklabels()]
    keys = list(zip(worst["feature"], worst["summary"], strict=True))
    assert [first for first, _ in names] == [": ".join(key) for key in keys]
    np.testing.assert_allclose(np.add(bars(axes), 0.5), [*worst["auc"], *(other.loc[key, "auc"] for key in keys)])
    means = worst["real"][0], worst["synthetic"][0], other.loc[keys[0], "synthetic"]
    assert names[0][1] == "real {:.2g}, v1 {:.2g}, v2 {:.2g}".format(*means)
    assert table["drawn"].sum() == 20 and len(table) == 2 * len(other)
    with pytest.raises(ValueError, match="'v2' has other summaries than 'v1'"):
        plots.giveaways({"v1": GIVEAWAYS["v1"], "v2": GIVEAWAYS["v2"].iloc[1:]})


# --- associations ---------------------------------------------------------------------------------------------------


def test_association_shows_both_matrices_and_their_difference(drawn):
    figure, table = drawn["association"]
    assert len(table) == 21
    for name, cohort in (("real", REAL), ("synthetic", V1)):
        matrix = association_matrix(cohort, SCHEMA)
        expected = [matrix.loc[a, b] for a, b in table[["first", "second"]].to_numpy()]
        discrete = ~table["first"].isin(["VL", "CD4"]) | ~table["second"].isin(["VL", "CD4"])
        keep = discrete if name == "synthetic" else slice(None)  # its reals are scaled by the real cohort's encoder
        np.testing.assert_allclose(table[name][keep], np.array(expected)[keep], atol=1e-9)
    np.testing.assert_allclose(table["difference"], table["synthetic"] - table["real"])
    assert table["synthetic"].isna().sum() == 20 and "20 pairs undefined in v1 only" in table.attrs["alt"]
    shown = [np.ma.filled(image.get_array(), np.nan) for image in heat_maps(figure)]
    names = SCHEMA.names
    for row in table.itertuples():
        place = names[1:].index(row.second), names[:-1].index(row.first)
        values = [array[place] for array in shown]
        np.testing.assert_allclose(values, [row.real, row.synthetic, row.difference])
    assert all(np.isnan(array[np.triu_indices(6, 1)]).all() for array in shown)


def test_trends_and_cycles_are_those_of_the_metric(drawn):
    _, table = drawn["trends_and_cycles"]
    schema = replace(ART_FULL, length=MONTHS)
    assert len(table) == 2 * 2 * 3
    for part in ("trend", "cycle"):
        matrix, counts = within_patient_correlation(REAL, schema, part)
        for row in table[(table["part"] == part) & (table["source"] == "real")].itertuples():
            assert row.correlation == pytest.approx(matrix.loc[row.first, row.second])
            assert row.patients == counts.loc[row.first, row.second]


def test_pairs_need_two_features():
    with pytest.raises(ValueError, match="two features"):
        plots.association(REAL, V1, SCHEMA.select(["VL"]))
    with pytest.raises(ValueError, match="two features"):
        plots.trends_and_cycles(REAL, V1, SCHEMA.select(["VL", "Gender"]))


def test_associations_need_neither_reals_nor_categories():
    for names in (["VL", "CD4"], ["Gender", "Ethnic"]):
        figure, table = plots.association(REAL, V2, SCHEMA.select(names))
        rendered(figure)
        assert len(table) == 1


# --- models ---------------------------------------------------------------------------------------------------------


def test_training_curves_show_every_batch_and_a_running_median_over_an_epoch(drawn):
    figure, table = drawn["training_curves v2"]
    values = HISTORY["v2"]["kl"].to_numpy()
    part = table[table["curve"] == "kl"]
    assert part["value"].tolist() == values.tolist()
    window = 6  # batches an epoch; pandas centres an even window on the batch after its middle
    naive = [np.median(values[max(0, i - window // 2) : i + window // 2]) for i in range(len(values))]
    np.testing.assert_allclose(part["median"], naive)
    panel = next(axes for axes in figure.axes if axes.get_title() == "KL divergence")
    low, high = panel.get_ylim()
    outside = ((values < low) | (values > high)).sum()
    assert outside > 0 and words(figure, f"{outside} outside") >= 1


def test_training_curves_have_a_panel_for_what_there_is(drawn):
    titles = {name: [a.get_title() for a in drawn[f"training_curves {name}"][0].axes] for name in ("v1", "v2")}
    assert len(titles["v1"]) == 5 and len(titles["v2"]) == 7
    assert set(titles["v2"]) - set(titles["v1"]) == {"Reconstruction error", "KL divergence"}
    falling = HISTORY["v1"].assign(learning_rate=np.linspace(1e-3, 1e-4, len(HISTORY["v1"])))
    assert "Learning rate" in [a.get_title() for a in plots.training_curves(falling)[0].axes]
    with pytest.raises(ValueError, match="no batch"):
        plots.training_curves(HISTORY["v1"].iloc[:0])
    with pytest.raises(KeyError, match="length"):
        plots.training_curves(HISTORY["v1"].drop(columns="length"))


def test_prototypes_lie_along_their_principal_directions(drawn):
    figure, table = drawn["prototypes, levels"]
    centred = POINTS[:, 0] - POINTS[:, 0].mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(table[["first", "second"]]), np.abs(centred @ directions[:2].T), atol=1e-9)
    np.testing.assert_allclose(table.attrs["explained"], (sizes**2 / (sizes**2).sum())[:2])
    assert table["value"].tolist() == [NAMES["Ethnic"][code] for code in ETHNIC]
    counts = pd.Series(ETHNIC).map(NAMES["Ethnic"]).value_counts()
    keys = [t.get_text() for t in figure.legends[0].get_texts()]
    assert keys == [f"{n} ({counts[n]})" if n in counts else f"{n} (absent)" for n in SCHEMA["Ethnic"].levels]


def test_prototypes_take_tensors_and_plain_names():
    points = torch.tensor(POINTS[:, 0], requires_grad=True)
    _, table = plots.prototypes(points, ["b", "a", "b"] * 20, "clinic")
    assert table["value"].cat.categories.tolist() == ["a", "b"]
    figure, table = plots.prototypes(points, np.arange(60.0), "age")
    assert table["value"].tolist() == list(range(60)) and figure.axes[1].get_ylabel() == "age"
    for wrong in (points[:, :1], points[:2], points[:30]):
        with pytest.raises(ValueError, match="prototypes need"):
            plots.prototypes(wrong, np.arange(60.0), "age")


def test_ablation_shows_every_seed_and_their_median_in_the_given_order(drawn):
    figure, table = drawn["ablation"]
    assert len(table) == len(RESULTS)
    for (_, metric, _), part in table.groupby(["configuration", "metric", "decode"]):
        if part["value"].notna().any():
            assert part["median"].unique().tolist() == [np.median(part["value"])]
        else:
            assert metric == "switching_ratio" and part["median"].isna().all()
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert rows == ["v1", "v2", "v2 with static heads"]
    for axes in figure.axes:
        dots = np.concatenate([line.get_xdata() for line in axes.lines if line.get_linestyle() == "None"])
        want = table.loc[table["metric"].map(TITLES) == axes.get_title(), "value"]
        assert sorted(dots[~np.isnan(dots)]) == sorted(want.dropna())
        for line in (line for line in axes.lines if line.get_linestyle() == "None"):
            for value, row in zip(*line.get_data(), strict=True):
                owner = table.loc[table["value"] == value, "configuration"].tolist()
                assert np.isnan(value) or owner == [rows[round(row)]]
    assert words(figure, "undefined") == 2 and "6 values undefined" in table.attrs["alt"]


def test_ablation_tells_features_of_one_metric_apart():
    two = pd.concat([RESULTS.assign(feature="all"), RESULTS.assign(feature="VL", value=RESULTS["value"] + 1)])
    figure, table = plots.ablation(two)
    assert len(figure.axes) == 6 and len(table) == len(two)
    assert TITLES["ks"] + "\n(VL)" in [axes.get_title() for axes in figure.axes]
    assert set(table.loc[table["feature"] == "VL", "median"].dropna() > 1) == {True}


def test_privacy_distances_are_cumulative_shares_and_state_the_share_at_equal_size(drawn):
    figure, table = drawn["privacy_distances"]
    for name, found in DISTANCES.items():
        part = table[(table["source"] == name) & (table["set"] == "training patient")]
        for row in part.itertuples():
            assert row.share <= (found["to train, equal numbers"] <= row.distance).mean() + 1e-12
        assert sorted(part["distance"]) == sorted(found["to train, equal numbers"])
        assert f"{name} {found['closer to train'].mean():.2f}" in table.attrs["alt"]
        assert any(f"{found['closer to train'].mean():.2f}" in axes.get_title() for axes in figure.axes)


def test_the_map_of_the_models_marks_the_part_of_today_where_a_model_has_it():
    figure, table = plots.models(["memory", "critic"])
    assert table[table["today"]].groupby("model")["part"].apply(sorted).to_dict() == {
        "v1": ["critic"],
        "v2": ["critic", "memory"],
        "v2_plus": ["critic", "memory"],
    }
    framed = [p for axes in figure.axes for p in axes.patches if p.get_linewidth() > 3]
    assert len(framed) == 5 and figure.alt.endswith("today's part: critic, memory.")
    added = table[table["new"]].groupby("model")["part"].apply(set).to_dict()
    assert added == {"v2": {"memory", "mix", "autoencoder"}, "v2_plus": {"noise", "memory", "mix", "heads", "critic"}}
    with pytest.raises(KeyError, match=r"no .'head'.; parts: noise, memory"):
        plots.models("head")


def test_curves_of_two_equally_near_sets_are_equal_whatever_their_sizes():
    many = simulate_cohort(300, months=MONTHS, seed=5)
    _, table = plots.privacy_distances(dcr_share(many, OTHER, V2, SCHEMA)[1])
    medians = table.groupby("set")["distance"].median()
    assert medians["training patient"] == pytest.approx(medians["held-out patient"], rel=0.15)
    found = dcr_share(many, OTHER, V2, SCHEMA)[1]
    assert found["to train"].median() < 0.85 * found["to holdout"].median()  # seven times as many come nearer


def test_the_ablation_says_in_which_direction_values_are_better(drawn):
    figure, _ = drawn["ablation"]
    said = {axes.get_title(): axes.get_xlabel() for axes in figure.axes}
    assert said == {
        TITLES["coverage_month"]: "better →",
        TITLES["ks"]: "← better",
        TITLES["switching_ratio"]: "best at 1",
    }


def test_the_pictures_of_a_report_name_each_set_with_its_number_of_patients():
    pictures = dict(report_figures(REAL, OTHER, V2, SCHEMA))
    assert set(pictures) == {
        "distributions",
        "association",
        "trends_and_cycles",
        "joint_shares",
        "coverage",
        "trajectories",
        "regimen_shares",
        "patients",
        "giveaways",
        "privacy_distances",
    }
    sets = ["holdout (n = 40)", "training (n = 60)", "synthetic (n = 50)"]
    for name, figure in pictures.items():
        words_of = " ".join(t.get_text() for t in figure.findobj(Text))
        shown = [one for one in sets if one in words_of]
        both = name in ("distributions", "joint_shares", "coverage", "trajectories", "regimen_shares")
        assert sets[2] in shown and (both is (shown == sets) or name == "privacy_distances"), (name, shown)
        assert not re.search(r"\breal\b(?! patients)", figure.alt) or name in (
            "association",
            "trends_and_cycles",
            "giveaways",
        )


def test_the_pictures_of_a_report_measure_on_its_scale_and_not_on_that_of_few_held_out_patients(caplog):
    few = OTHER[OTHER["PatientID"].isin(OTHER["PatientID"].unique()[:3])]
    with caplog.at_level("INFO", logger="hg_helpers"):
        pictures = dict(report_figures(REAL, few, REAL, SCHEMA))
    assert "clipped" not in caplog.text  # these synthetic values are all within the training patients' range
    arrays = prepare(SCHEMA, None, train=REAL, holdout=few, synthetic=REAL)
    told = c2st_auc(*arrays[1:], seed=0)[1]["auc"].max()
    assert f"(AUC {told:.2f};" in pictures["giveaways"].alt
    assert f"difference {association_difference(*arrays[1:])[0]:.2f}" in pictures["association"].alt
    assert f"trends differ by {trend_difference(*arrays[1:])[0]:.2f}" in pictures["trends_and_cycles"].alt


# --- wrong input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda t: t.drop(columns="Ethnic"), KeyError, "'v1' has no column 'Ethnic'"),
        (lambda t: t.assign(Ethnic=9), ValueError, "'v1'.*'Ethnic'.*9"),
        (lambda t: t.assign(VL=np.inf), ValueError, "'v1'.*'VL'.*finite"),
        (lambda t: t.assign(Gender=np.nan), ValueError, "'v1'.*'Gender'.*no known"),
        (lambda t: t.iloc[:0], ValueError, "'v1' has no rows"),
        (lambda t: "v1.csv", ValueError, "'v1' is a str"),
    ],
)
def test_a_table_that_does_not_fit_is_named(spoil, error, said):
    with pytest.raises(error, match=said):
        plots.distributions(REAL, {"v1": spoil(V1)}, SCHEMA)


def test_no_table_and_a_synthetic_one_called_real_are_refused():
    with pytest.raises(ValueError, match="no table"):
        plots.joint_shares({}, SCHEMA)
    with pytest.raises(ValueError, match="cannot be called 'real'"):
        plots.distributions(REAL, {"real": V1}, SCHEMA)


# --- pictures that move -----------------------------------------------------------------------------------------------


def test_the_toys_arrows_are_the_slopes_of_its_landscape_and_the_table_measures_the_fakes():
    frame = GANS["kept"][1]
    step = frame.side[1] - frame.side[0]
    up, across = np.gradient(frame.scores, step)  # rows go up
    near = np.abs(frame.fakes).max(1) < 1.5
    place = np.round((frame.fakes[near] - frame.side[0]) / step).astype(int)
    slopes = np.stack([across[place[:, 1], place[:, 0]], up[place[:, 1], place[:, 0]]], 1)
    off = np.abs(slopes - frame.arrows[near])  # large at a bend of the critic alone, where the grid sees both sides
    assert near.sum() > 100 and off.mean() < 0.05 * np.abs(frame.arrows).max()
    row = plots.gan_steps(TOY, GANS, [1])[1].set_index("run").loc["kept"]
    assert row["spread"] == pytest.approx(np.sqrt(frame.fakes.var(0).sum()), rel=1e-4) and row["step"] == 1
    near = [any(np.hypot(*(fake - point)) < 0.15 for fake in frame.fakes) for point in TOY.numpy()]
    assert row["reached"] == np.mean(near)


def test_noise_that_stays_with_a_patient_cures_the_toys_collapse():
    points = toy_points()
    runs = {source: toy_gan(points, source(2), steps=80, every=80) for source in (UniformNoise, PersistentNoise)}
    last = plots.gan_steps(points, runs, [1])[1]["reached"]
    assert last[0] < 0.4 and last[1] > 0.7  # v1's noise, noise that stays


def test_the_gates_and_the_memory_are_those_of_an_lstm(drawn):
    _, table = drawn["lstm_steps"]
    for name, weights in UNITS.items():
        lstm, order = torch.nn.LSTM(1, 1, batch_first=True), [1, 2, 3, 0]  # torch: i, f, a, o
        with torch.no_grad():
            weight, hidden, bias = (torch.tensor(part, dtype=torch.float32)[order] for part in weights)
            lstm.weight_ih_l0[:], lstm.weight_hh_l0[:] = weight[:, None], hidden[:, None]
            lstm.bias_ih_l0[:], lstm.bias_hh_l0[:] = bias, 0
            shown, (_, cell) = lstm(torch.tensor([0.0, 1, 0, 0]).view(1, 4, 1))
        part = table[table["run"] == name]
        np.testing.assert_allclose(part["h"], shown.flatten(), atol=1e-6)
        assert part["c"].iloc[-1] == pytest.approx(cell.item(), abs=1e-6)
    figure, whole = plots.lstm_steps([0, 1, 0, 0], UNITS, until=1)
    assert_frame_equal(whole, table)
    lines = [line for axes in figure.axes for line in axes.lines]
    assert lines and all(len(line.get_xdata()) == 2 for line in lines)  # months 0 and 1, and no more


def test_a_picture_plays_frame_by_frame_and_does_without_widgets(monkeypatch, capsys):
    widgets, display = pytest.importorskip("ipywidgets"), pytest.importorskip("IPython.display")
    shown, asked = [], []

    def draw(frame: int):
        asked.append(frame)
        return plots.lstm_steps([0, 1, 0], UNITS, until=frame)[0]

    monkeypatch.setattr(display, "display", lambda box: shown.append((box, repr(box))))
    plots.play(draw, 3)
    (box, before), (controls, page) = shown[0], shown[0][0].children
    assert len(before) < 400 and isinstance(box, widgets.VBox)  # what is stored with the notebook holds no picture
    for frame in (2, 1, 2):
        controls.children[1].value = frame
        assert '<img alt="Four gates' in page.value
    assert asked == [0, 2, 1] and [child.max for child in controls.children] == [2, 2]
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    plots.play(draw, 3)
    assert "pip install ipywidgets" in capsys.readouterr().out and len(shown) == 1
