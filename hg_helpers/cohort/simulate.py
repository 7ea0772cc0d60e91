"""A simulated ART-for-HIV cohort with known truth: the default data of this package, no patient in it.

``simulate_cohort(1000, seed=75)`` is the bundled one. Its constants meet the published margins; no clinical estimates.

* treatment (adherence, resistance, switches) is a Markov chain in which *when* a patient switches never depends on
  *what* they take, and whose switches leave the shares of :func:`truth` as they are, in every month;
* viral load decays in two phases while treatment works and rebounds when it does not, CD4 creeps towards the patient's
  own plateau and falls under viraemia, relative CD4 follows. A fixed monotone table then bends each value onto the
  published distribution, which leaves the order of values, and so the dynamics, alone.

>>> simulate_cohort(2, months=3, seed=0)[['PatientID', 'Timestep', 'VL']].shape
(6, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import lru_cache

import numpy as np
import pandas as pd

from ..runtime.checks import real_number, whole_number
from ..runtime.download import data_folder
from .art import ART_FULL

Disparity, Policy = Mapping[tuple[str, str], float] | None, Callable[[pd.DataFrame], np.ndarray] | None
#: Measured flags: share of months set, and the chance that a flag is carried over from the month before.
_MEASURED = {"VL (M)": (0.131, 0.6), "CD4 (M)": (0.155, 0.6), "Drug (M)": (0.777, 0.9)}

# Course of treatment; probabilities are a month's.
_NAIVE = 0.25  # share of patients who start treatment in month 0
_LAPSE, _RETURN = 0.030, 0.12  # stops taking the drugs as prescribed; takes them again
_RESTLESS_SPREAD = 0.5  # standard deviation, between patients, of the logarithm of the lapse and switch rates
_RESISTANCE = 0.05  # the virus becomes resistant, in a month without effective treatment
_SWITCH, _SWITCH_AFTER_FAILURE = 0.0070, 0.07
_FAILURE_MONTHS = 3  # months without effect after which a regimen counts as failed
_SAME_BASE = 1.5  # how much likelier a switch keeps the base than it would by shares alone

#: VL, CD4 and Rel CD4: simulated values, and beside them log10 of the published scale; linear between, flat outside.
_SCALE = pd.read_csv(data_folder() / "truth_scale.csv", dtype=str).astype(float)  # to the last bit


def _shares(name: str) -> pd.DataFrame:
    """A table of ``data/``: columns of codes as in a cohort, the levels' names as `<column> level`, and `share`."""
    levels = pd.read_csv(data_folder() / f"truth_{name}.csv", dtype=str)
    share = levels.pop("per 10,000").astype(int) / 10_000
    codes_of = {f.name: dict(zip(f.levels, f.codes, strict=True)) for f in ART_FULL.discrete}
    codes = levels.apply(lambda column: column.map(codes_of[column.name]))
    return codes.join(levels.add_suffix(" level")).assign(share=share)


#: The 8 Gender x Ethnic groups, in which African patients are far more often female than the others; and 50 regimens.
_GROUPS, _DRUGS = _shares("demographics"), _shares("regimens")


def truth() -> dict[str, pd.DataFrame]:
    """Exact shares that every simulated cohort is drawn from, of patients as of patient-months, in any month.

    ``"demographics"``: the 8 Gender x Ethnic groups; ``"regimens"``: the 50 combinations; ``"joint"``: their 400 pairs,
    all with codes as in a cohort, names in ``<column> level``, and ``share``. ``"measured"``: the share of months with
    each measured flag set. Other columns follow by ``truth()["joint"].groupby(columns)["share"].sum()``.
    """
    joint = _GROUPS.merge(_DRUGS, how="cross", suffixes=("", " of regimen"))
    joint["share"] = joint.pop("share") * joint.pop("share of regimen")
    measured = pd.DataFrame({"feature": list(_MEASURED), "share": [share for share, _ in _MEASURED.values()]})
    return {"demographics": _GROUPS.copy(), "regimens": _DRUGS.copy(), "joint": joint, "measured": measured}


def simulate_cohort(
    n_patients: int, months: int = 60, seed: int = 0, disparity: Disparity = None, policy: Policy = None
) -> pd.DataFrame:
    """Draw a cohort in the published layout: ``n_patients * months`` rows of 15 columns, by patient, then month.

    Args:
        seed: same seed, same table; the first patients of a larger cohort are not those of a smaller one.
        disparity: for groups such as ``("Female", "African")``, how many times as often their treatment is interrupted,
            and for how many times as long; 1 for the others. What is prescribed stays as it is.
        policy: prescribes in the place of the simulated clinic: gets the rows of a month, one a patient, and returns
            row numbers of ``truth()["regimens"]`` for the next. Under any policy a seed has the same patients and luck.
    """
    for name, value, least in (("n_patients", n_patients, 1), ("months", months, 1), ("seed", seed, 0)):
        whole_number(name, value, least)
    factors = dict.fromkeys(zip(_GROUPS["Gender level"], _GROUPS["Ethnic level"], strict=True), 1.0)
    unknown = (disparity or {}).keys() - factors
    if unknown:
        raise ValueError(f"disparity has no group {unknown.pop()!r}; there are {', '.join(map(str, factors))}")
    factors |= disparity or {}
    hardship = [real_number(f"disparity of {group}", factor, 0.01, 100) for group, factor in factors.items()]
    rng = np.random.default_rng(seed)
    group = _category(_systematic(rng, n_patients), _GROUPS["share"])
    treatment = _treatment(rng, n_patients, np.array(hardship)[group])
    courses = [next(treatment) for _ in range(months if policy is None else 1)]
    # without a policy all treatment is drawn before the first laboratory value; with one they take turns
    laboratory = _laboratory(rng if policy is None else np.random.default_rng([seed, 1]), courses[0])
    values = [next(laboratory), *map(laboratory.send, courses[1:])]
    while len(courses) < months:
        chosen = np.asarray(policy(_month(len(courses) - 1, courses[-1], values[-1], group)))
        if chosen.shape != (n_patients,) or not np.isin(chosen, _DRUGS.index).all():
            raise ValueError(f"policy must return {n_patients} row numbers of truth()['regimens'], not {chosen!r:.99}")
        courses.append(treatment.send(chosen))
        values.append(laboratory.send(courses[-1]))
    rows = [_month(*month, group) for month in zip(range(months), courses, values, strict=True)]
    table = pd.concat(rows, ignore_index=True)
    table = table.iloc[np.arange(len(table)).reshape(months, n_patients).T.ravel()].reset_index(drop=True)
    return table.assign(**_measured_flags(rng, n_patients, months))[[*ART_FULL.names, "PatientID", "Timestep"]]


def _month(month: int, course: _Course, values: dict[str, np.ndarray], group: np.ndarray) -> pd.DataFrame:
    who, what = _GROUPS.iloc[group], _DRUGS.iloc[course[1]]
    columns = values | {name: who[name].array for name in ("Gender", "Ethnic")}
    columns |= {f.name: what[f.name].array for f in ART_FULL.regimen}
    return pd.DataFrame(columns).assign(PatientID=np.arange(len(group)), Timestep=month)


def _systematic(rng: np.random.Generator, n: int) -> np.ndarray:
    """Uniform draws, one from each of n equal slices of [0, 1), in random order: a group of 0.4 % gets its share."""
    slices = np.argsort(rng.random(n), kind="stable")
    return (slices + rng.random(n)) / n


def _category(uniform: np.ndarray, shares: pd.Series) -> np.ndarray:
    return np.searchsorted(np.cumsum(shares.to_numpy())[:-1], uniform, side="right")


@lru_cache(maxsize=1)
def _switch_kernel() -> np.ndarray:
    """Cumulative probabilities of the next regimen, (50 present, 49 next: the last one, 1, is left out).

    The flow d_i w_ij d_j, w larger where the base stays and 0 on the diagonal, is symmetric: the chain is reversible.
    d is scaled until the flow out of each regimen is its share, which is then the stationary one (Sinkhorn scaling).
    """
    share, base = _DRUGS["share"].to_numpy(), _DRUGS["Base Drug Combo"].to_numpy()
    weight = np.where(base[:, None] == base, _SAME_BASE, 1.0) * (1 - np.eye(len(share)))
    scale = np.ones(len(share))
    for _ in range(300):
        scale = np.sqrt(scale * share / (weight * scale).sum(axis=1))  # the root damps it, or it would oscillate
    cumulative = np.cumsum(scale[:, None] * weight * scale, axis=1)
    return cumulative[:, :-1] / cumulative[:, -1:]


#: A month of treatment, (n,) each: who starts in month 0, the regimen as row number, and whether it works.
_Course = tuple[np.ndarray, np.ndarray, np.ndarray]


def _treatment(rng: np.random.Generator, n: int, hardship: np.ndarray) -> Generator[_Course, np.ndarray | None, None]:
    """Month after month; what is sent in, if anything, is prescribed for the next one in the place of a random draw."""
    kernel = _switch_kernel()
    restless = np.exp(_RESTLESS_SPREAD * rng.standard_normal(n))
    lapse, switch = np.minimum(_LAPSE * restless * hardship, 0.5), np.minimum(_SWITCH * restless, 0.5)
    back = _RETURN / hardship
    naive = rng.random(n) < _NAIVE
    adherent = naive | (rng.random(n) >= lapse / (lapse + back))
    resistant = ~adherent & (rng.random(n) < 0.5)
    idle = np.where(adherent & ~resistant, 0, _FAILURE_MONTHS)  # months in a row without effect
    now = _category(_systematic(rng, n), _DRUGS["share"])
    while True:
        chosen = yield naive, now.copy(), adherent & ~resistant
        uniform = rng.random((3, n))
        adherent = np.where(adherent, uniform[0] >= lapse, uniform[0] < back)
        resistant |= (idle > 0) & (uniform[1] < _RESISTANCE)
        if chosen is None:
            moves = uniform[2] < np.where(idle >= _FAILURE_MONTHS, np.maximum(_SWITCH_AFTER_FAILURE, switch), switch)
            drawn = _systematic(rng, int(moves.sum()))
            now[moves] = (drawn[:, None] >= kernel[now[moves]]).sum(axis=1)
        else:
            moves, now = chosen != now, chosen.copy()
        # A new regimen meets a susceptible virus, and a patient who has just been counselled.
        adherent, resistant = adherent | moves, resistant & ~moves
        idle = np.where(adherent & ~resistant, 0, idle + 1)


def _laboratory(rng: np.random.Generator, course: _Course) -> Generator[dict[str, np.ndarray], _Course, None]:
    """VL, CD4 and Rel CD4 of the first month, (n,) each, then of each month of treatment that is sent in."""
    inhibitor = (_DRUGS["Comp. INI level"] != "Not Applied").to_numpy()
    naive, _, working = course
    n = len(naive)
    between = rng.standard_normal((5, n))  # what patients differ in
    setpoint, floor = 4.6 + 0.45 * between[0], 1.25 + 0.35 * between[1]  # log10 copies untreated; when suppressed
    plateau, pace = 6.3 + 0.60 * between[2], np.exp(0.25 * between[3])  # ln CD4 without viraemia; of the decay
    viraemic = naive | ~working
    fast = np.where(viraemic, setpoint, -1.0)  # log10 copies from short-lived infected cells
    slow = np.where(viraemic, setpoint - 1.3, 2.0 * rng.random(n) - 0.5)  # and from long-lived ones
    cells = plateau - 1.6 * (viraemic * 0.7 + naive * 0.5 * rng.random(n))  # ln CD4; lowest before treatment
    memory, pull = np.array([[0.80], [0.60], [0.90]]), 0.0  # CD4 starts to move after the first month
    wander = rng.standard_normal((3, n))
    while True:
        copies = np.log10(10.0**fast + 10.0**slow + 10.0 ** (floor + 0.35 * wander[0])) + 0.12 * wander[0]
        cells = cells + pull * (plateau - 1.6 * np.clip((copies - 2.0) / 3.0, 0.0, 1.0) - cells)
        relative = 0.85 * cells + 0.16 * wander[1] + 0.10 * wander[2] + 0.30 * between[4]
        values, digits = {"VL": copies, "CD4": cells + 0.32 * wander[1], "Rel CD4": relative}, {"Rel CD4": 3}
        for name, x in values.items():  # bent onto the published scale
            x = 10.0 ** np.interp(x, _SCALE[f"{name} simulated"], _SCALE[name])
            values[name] = x.round(digits.get(name, 2))
        _, regimen, working = yield values
        steep = pace * np.where(inhibitor[regimen], 1.3, 1.0)  # integrase inhibitors clear virus faster
        rebound = np.minimum(np.maximum(fast, slow - 0.5) + 0.9, setpoint)
        refill = np.minimum(slow + 0.25, setpoint - 1.3)
        fast = np.where(working, np.maximum(fast - 1.0 * steep, -2.0), rebound)
        slow = np.where(working, np.maximum(slow - 0.12 * steep, -2.0), refill)
        pull, wander = 0.15, memory * wander + np.sqrt(1 - memory**2) * rng.standard_normal((3, n))


def _measured_flags(rng: np.random.Generator, n: int, months: int) -> dict[str, np.ndarray]:
    """The three flags, by patient, then month: carried over or drawn anew, VL and CD4 mostly together (one sample)."""
    share, memory = np.array([*_MEASURED.values()]).T[:, :, None]  # (3, 1) each
    flags = np.empty((3, months, n), dtype=np.int64)
    for month in range(months):
        uniform = rng.random((7, n))
        uniform[[1, 4]] = np.where(uniform[6] < 0.7, uniform[[0, 3]], uniform[[1, 4]])
        drawn = uniform[:3] < share
        flags[:, month] = np.where(uniform[3:6] < memory, flags[:, month - 1], drawn) if month else drawn
    return {name: flag.T.ravel() for name, flag in zip(_MEASURED, flags, strict=True)}
