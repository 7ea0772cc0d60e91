"""Against the field: what a practitioner would install instead, on the same 800 patients, by the same report.

``python -m tests.bench.field`` writes data/results/field.csv, one row a method, budget, seed, metric and feature; what
stands there is not run again. The peers have licences and dependencies of their own, so they belong into an
environment of their own, never into requirements.txt; on top of an environment that has this package::

    pip install mostlyai-engine==2.7.3 deepecho==0.8.1 --no-deps
    pip install accelerate datasets json-repair transformers peft "psutil<6"; pip install opacus opt-einsum --no-deps

Each method is given the same CPU-seconds of one core, or stops by itself (``converged``), which of those that are
trained only TabularARGN does; where it does before a budget is used up, its rows are those of ``converged``. Give them
the machine alone: TabularARGN's limit is one of the clock, and beside other work it gets less done.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import hg_helpers as hg
from hg_helpers.app.files import write_table
from hg_helpers.plots import style

log = logging.getLogger("hg_helpers")

SCHEMA = hg.ART_DEMO
ID, TIME = SCHEMA.patient, SCHEMA.time
STATIC = [f.name for f in SCHEMA.static]
COLUMNS = ["method", "budget", "seed", "metric", "feature", "value", "floor", "train_seconds", "sample_seconds"]
COLUMNS += ["machine", "date"]
PATIENTS = 1000
CONVERGED = "converged"


# --- the methods: training patients and CPU-seconds (None: as long as it likes) to synthetic patients -----------------


def bootstrap(train: pd.DataFrame, seconds: float | None, seed: int) -> Callable[[], pd.DataFrame]:
    """Real patients drawn with replacement, laboratory values off by 0.01: a ceiling that only privacy catches."""
    encoder = hg.CohortEncoder(SCHEMA).fit(train)
    x, random = encoder.transform(train), torch.Generator().manual_seed(seed)

    def sample() -> pd.DataFrame:
        drawn = x[torch.randint(len(x), (PATIENTS,), generator=random)]
        reals = [SCHEMA.spans[f.name].start for f in SCHEMA.real]
        noise = 0.01 * torch.randn(*drawn.shape[:2], len(reals), generator=random)
        drawn[..., reals] = (drawn[..., reals] + noise).clamp(0, 1)
        return encoder.inverse_transform(drawn)

    return sample


def markov(train: pd.DataFrame, seconds: float | None, seed: int) -> Callable[[], pd.DataFrame]:
    """The floor of effort: each month is what followed, in some real patient, on a month of the same state.

    A state is the regimen with the fifth in which viral load and CD4 lie. Sex and ethnicity come with the first month.
    """
    random = np.random.default_rng(seed)
    fifths = pd.DataFrame({f.name: pd.qcut(train[f.name].rank(method="first"), 5, labels=False) for f in SCHEMA.real})
    moving = [f.name for f in SCHEMA if not f.static]
    keys = [fifths[name] if name in fifths else train[name] for name in moving]
    state = pd.MultiIndex.from_arrays(keys).factorize()[0].reshape(-1, SCHEMA.length)
    months = np.arange(len(train)).reshape(state.shape)
    followers = pd.Series(months[:, 1:].ravel()).groupby(state[:, :-1].ravel()).agg(list).to_dict()

    def sample() -> pd.DataFrame:
        rows = np.empty((PATIENTS, SCHEMA.length), int)
        rows[:, 0] = random.choice(months[:, 0], PATIENTS)
        flat = state.ravel()
        for month in range(1, SCHEMA.length):
            # what was only ever seen in a last month stays as it is
            rows[:, month] = [random.choice(followers.get(flat[row], [row])) for row in rows[:, month - 1]]
        made = train.iloc[rows.ravel()].reset_index(drop=True)
        first = train.iloc[np.repeat(rows[:, 0], SCHEMA.length)].reset_index(drop=True)
        made[STATIC], made[ID] = first[STATIC], np.repeat(np.arange(PATIENTS), SCHEMA.length)
        made[TIME] = np.tile(np.arange(SCHEMA.length), PATIENTS)
        return made

    return sample


def tabular_argn(train: pd.DataFrame, seconds: float | None, seed: int) -> Callable[[], pd.DataFrame]:
    """TabularARGN of mostlyai-engine: an autoregressive network over binned values; static features as context."""
    from mostlyai import engine

    engine.set_random_state(seed)
    work = tempfile.mkdtemp()
    text = train.astype({f.name: str for f in SCHEMA.discrete})  # else codes are taken for numbers
    context = text.groupby(ID, as_index=False)[STATIC].first()
    engine.split(
        tgt_data=text.drop(columns=[TIME, *STATIC]),  # the order of the rows is the time
        ctx_data=context,
        tgt_context_key=ID,
        ctx_primary_key=ID,
        model_type="TABULAR",
        workspace_dir=work,
    )
    engine.analyze(workspace_dir=work, value_protection=False)
    engine.encode(workspace_dir=work)
    limit = {} if seconds is None else {"max_training_time": seconds / 60, "max_epochs": 10_000}
    engine.train(workspace_dir=work, device="cpu", **limit)

    def sample() -> pd.DataFrame:
        random = np.random.default_rng(seed)
        people = context.iloc[random.integers(len(context), size=PATIENTS)].reset_index(drop=True)
        people[ID] = np.arange(PATIENTS)
        engine.generate(workspace_dir=work, ctx_data=people, device="cpu")
        made = pd.concat(map(pd.read_parquet, sorted(Path(work, "SyntheticData").glob("*.parquet"))))
        made[ID] = made[ID].astype(int)
        made = made.merge(people, on=ID).sort_values(ID, kind="stable")
        made[TIME] = made.groupby(ID).cumcount()
        return made.astype({f.name: int for f in SCHEMA.discrete})

    return sample


def par(train: pd.DataFrame, seconds: float | None, seed: int) -> Callable[[], pd.DataFrame]:
    """PAR of deepecho (what sdv's PARSynthesizer trains): a recurrent network, one full-batch step an epoch."""
    from deepecho import PARModel

    torch.manual_seed(seed)
    np.random.seed(seed)
    logs = train.assign(**{f.name: np.log10(train[f.name] + 1) for f in SCHEMA.real})
    kinds = {f.name: "continuous" if f.is_real else "categorical" for f in SCHEMA}

    def fitted(epochs: int) -> tuple[PARModel, float]:
        started, model = time.process_time(), PARModel(epochs=epochs, cuda=False, verbose=False)
        model.fit(logs, [ID], STATIC, kinds, sequence_index=TIME)
        return model, time.process_time() - started

    few, more = fitted(1)[1], fitted(4)[1]
    model = fitted(max(1, round((seconds - few) / ((more - few) / 3))))[0]

    def sample() -> pd.DataFrame:
        made = model.sample(PATIENTS, sequence_length=SCHEMA.length).reset_index(drop=True)
        made[TIME] = made.groupby(ID).cumcount()
        for feature in SCHEMA.real:
            low, high = train[feature.name].min(), train[feature.name].max()
            made[feature.name] = (10 ** made[feature.name].astype(float) - 1).clip(low, high)
        return made

    return sample


def ours(name: str) -> Callable[..., Callable[[], pd.DataFrame]]:
    """One of our models, its epochs chosen so that the whole schedule takes the time."""

    def train_ours(train: pd.DataFrame, seconds: float, seed: int) -> Callable[[], pd.DataFrame]:
        encoder = hg.CohortEncoder(SCHEMA).fit(train)
        x, settings = encoder.transform(train), getattr(hg.TrainConfig, name)
        trial = hg.Trainer(encoder, settings(preset="workshop", epochs=1, seed=seed), device="cpu")
        started = time.process_time()
        trial.fit(x, progress=False)
        epochs = max(1, round(seconds / (time.process_time() - started)))
        trainer = hg.Trainer(encoder, settings(preset="workshop", epochs=epochs, seed=seed), device="cpu")
        trainer.fit(x, progress=False)
        synthesizer = trainer.synthesizer().match_margins(x)  # as hg.train and the command `train` end
        return lambda: synthesizer.sample(PATIENTS, seed=seed)

    return train_ours


METHODS = {"TabularARGN": tabular_argn, "PAR": par, "v2_plus": ours("v2_plus"), "v1": ours("v1"), "v2": ours("v2")}
METHODS |= {"v2.5": ours("v2_5"), "bootstrap": bootstrap, "Markov chain": markov}
#: Those that have nothing to train longer, and those that never stop by themselves.
UNTRAINED, ENDLESS = ("bootstrap", "Markov chain"), ("PAR", "v1", "v2", "v2.5", "v2_plus")


# --- one run ----------------------------------------------------------------------------------------------------------


def split(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The bundled cohort's 800 training patients and 200 others."""
    return hg.split_patients(hg.load_cohort()[SCHEMA.columns], 0.2, seed=seed)


def run(method: str, budget: str, seed: int) -> pd.DataFrame:
    """Train, sample and report: the rows of one run, in a process of one thread."""
    torch.set_num_threads(1)
    train, holdout = split(seed)
    started = time.process_time()
    sample = METHODS[method](train, None if budget == CONVERGED else float(budget), seed)
    trained = time.process_time()
    made = checked(sample(), train)
    sampled = time.process_time()
    report = hg.evaluate(train, holdout, made, schema=SCHEMA, seed=seed, bootstrap=0)
    rows = report[["metric", "feature", "value", "floor"]].assign(
        method=method,
        budget=budget,
        seed=seed,
        train_seconds=round(trained - started, 1),
        sample_seconds=round(sampled - trained, 1),
        machine=processor(),
        date=date.today().isoformat(),
    )
    return rows[COLUMNS]


def checked(made: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """What came back, in the cohort's columns and order: every patient with all months, or a ValueError."""
    made = made[train.columns].reset_index(drop=True)
    counts = made.groupby(ID)[TIME].agg(["size", "nunique"])
    if len(counts) != PATIENTS or not counts.eq(SCHEMA.length).all(axis=None):
        raise ValueError(f"{len(counts)} patients of {counts['size'].min()} to {counts['size'].max()} months came back")
    return made


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return names[0] if cpuinfo.exists() and names else platform.processor()


# --- the command ------------------------------------------------------------------------------------------------------

#: Rows of the printed table: what it is called, metric and feature ("" for all features' mean).
JOINT = " x ".join(f.name for f in SCHEMA.discrete)
SHOWN = [("month", "coverage_month", JOINT), ("person", "coverage_patient", JOINT), ("joint", "joint_tv", JOINT)]
SHOWN += [("VL", "ks", "VL"), ("CD4", "ks", "CD4"), ("spread", "patient_spread", "")]
SHOWN += [("switch", "switching_ratio", JOINT.split(" x ", 2)[2]), ("autoc", "autocorrelation_difference", "")]
SHOWN += [("trend", "trend_difference", "all"), ("cycle", "cycle_difference", "all"), ("c2st", "c2st_auc", "all")]
SHOWN += [("closer", "dcr_share", "all")]


def medians(results: pd.DataFrame) -> pd.DataFrame:
    """Median over the seeds: one row a method and budget, one column a head of ``SHOWN``; the floor as a last row."""
    columns = {}
    for head, metric, feature in SHOWN:
        part = results[(results["metric"] == metric) & ((results["feature"] == feature) | (feature == ""))]
        by_seed = part.groupby(["method", "budget", "seed"], sort=False)[["value", "floor"]].mean()
        columns[head] = by_seed["value"].groupby(["method", "budget"], sort=False).median()
        columns[head].loc[("floor", "")] = by_seed["floor"].median()
    runs = results.drop_duplicates(["method", "budget", "seed"])  # which have a row for each feature
    seconds = runs.groupby(["method", "budget"], sort=False)["train_seconds"].median()
    return pd.DataFrame(columns).assign(seconds=seconds)


#: Panels of the figure: a head of ``SHOWN``, what it says, and the highest value shown (what lies beyond is written).
PANELS = [("person", "covered, by patient", 1.05), ("joint", "total variation, joint", 0.8)]
PANELS += [("VL", "KS of viral load", 0.5), ("CD4", "KS of CD4", 0.5), ("switch", "switches, of real", 3)]
PANELS += [("autoc", "autocorrelation, off", 0.5), ("c2st", "two-sample AUC", 1.05)]
PANELS += [("closer", "closer to training", 1.05)]


@style.picture
def draw(table: pd.DataFrame) -> style.Drawn:
    """Dots for what :func:`medians` gives, one a budget, growing with it; dashed: other real patients."""
    floor, table = table.loc[("floor", "")], table.drop("floor", level="method")
    methods = [method for method in METHODS if method in table.index.get_level_values("method")]
    budgets = sorted(set(table.index.get_level_values("budget")), key=lambda b: (b == CONVERGED, len(b), b))
    marks = [{"marker": style.MARKERS[k], "color": style.COLOURS[k], "ms": 7 + 2 * k} for k in range(len(budgets))]
    marks = [mark | {"mfc": "none" if k else None, "mew": 2, "ls": ""} for k, mark in enumerate(marks)]
    figure, panels = style.panels(len(PANELS), 4, 0.32 * len(methods) + 0.9, sharey=True)
    for axes, (head, title, most) in zip(panels, PANELS, strict=True):
        for place, (mark, budget) in enumerate(zip(marks, budgets, strict=True)):
            values = table[head].xs(budget, level="budget").reindex(methods)
            axes.plot(values.clip(upper=most), range(len(methods)), **mark)
            for row in np.flatnonzero(values > most):
                where = {"xytext": (-8 - 30 * place, 6), "textcoords": "offset points", "fontsize": 9, "ha": "right"}
                axes.annotate(f"{values.iloc[row]:.1f}", (most, row), **where)
        axes.axvline(floor[head], color="black", linestyle="--")
        axes.set_title(title, size=12)
        axes.set_xlim(-0.03 * most, 1.05 * most)
        style.name_rows(axes, methods)
    keys = [style.Line2D([], [], **mark) for mark in marks] + [style.Line2D([], [], color="black", linestyle="--")]
    words = [b if b == CONVERGED else f"{b} CPU-seconds" for b in budgets]
    across = len(keys) if len(keys) < 5 else 3  # more are wider than the page
    figure.legend(keys, [*words, "other real patients"], loc="outside upper center", ncols=across)
    alt = f"Eight measures of {', '.join(methods)} at {', '.join(words)}, a dot each, beside real patients."
    return style.finish(figure, table.reset_index(), alt, size=10)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.field", description=__doc__)
    parser.add_argument("--budget", nargs="+", default=["150"], help="CPU-seconds, or 'converged' (default 150)")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), help="default: all")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N - 1 (default 1)")
    parser.add_argument("--out", type=Path, default=Path("data/results/field.csv"))
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the results: .png, .pdf or .svg")
    options = parser.parse_args(arguments)
    for budget in options.budget:
        if budget != CONVERGED and not budget.isdecimal():
            parser.error(f"--budget: a number of CPU-seconds or {CONVERGED!r}, not {budget!r}")
    logging.basicConfig(level=logging.WARNING)
    results = pd.read_csv(options.out, dtype={"budget": str}) if options.out.exists() else pd.DataFrame(columns=COLUMNS)
    there = set(results[["method", "budget", "seed"]].itertuples(index=False, name=None))
    failed = False
    for seed in range(options.seeds):
        for budget in options.budget:
            for method in options.only:
                wanted = (method, CONVERGED if method in UNTRAINED else budget, seed)
                if method in ENDLESS and budget == CONVERGED:
                    print(f"{method} never stops by itself: give --budget CPU-seconds")
                    continue
                if wanted in there:
                    continue
                there.add(wanted)
                print(*wanted, file=sys.stderr, flush=True)
                try:
                    rows = run(*wanted)
                except ImportError as error:
                    print(f"{method}: {error}. How to install the peers: python -m tests.bench.field --help")
                    failed = True
                    continue
                results = pd.concat([results, rows], ignore_index=True) if len(results) else rows
                write_table(results, options.out, float_format="%.6g")
    if len(results):
        table = medians(results)
        print(table.round(2).to_string())
        if options.figure:
            draw(table)[0].savefig(options.figure, dpi=style.FILE_DPI)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
