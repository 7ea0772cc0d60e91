"""A simulated ART-for-HIV cohort with known truth: the default data of this package, no patient in it.

Patients belong to a demographic group, take a regimen, keep to it or lapse, and their laboratory values follow:

* treatment (adherence, resistance, switches) is a Markov chain in which *when* a patient switches never depends on
  *what* they take, and the next regimen follows a kernel that leaves the shares of :func:`truth` as they are. So every
  month of every cohort is drawn from exactly these shares;
* viral load decays in two phases while treatment works and rebounds when it does not, CD4 creeps towards the patient's
  own plateau and falls under viraemia, relative CD4 follows. A fixed monotone table then bends each value onto the
  published distribution, which leaves the order of values, and so the dynamics, alone.

All constants were chosen here to meet the published margins; none is a clinical estimate.

>>> simulate_cohort(2, months=3, seed=0)[['PatientID', 'Timestep', 'VL']].shape
(6, 3)
>>> sorted(truth())
['demographics', 'joint', 'measured', 'regimens']
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from ..runtime.checks import whole_number
from .art import ART_FULL

BUNDLED_SEED = 75
BUNDLED_PATIENTS = 1000

#: Share of every Gender x Ethnic group; African patients are far more often female than the others.
_DEMOGRAPHICS = {
    ("Male", "Asian"): 0.0170,
    ("Male", "African"): 0.0585,
    ("Male", "Caucasian"): 0.2050,
    ("Male", "Other"): 0.5825,
    ("Female", "Asian"): 0.0040,
    ("Female", "African"): 0.0600,
    ("Female", "Caucasian"): 0.0090,
    ("Female", "Other"): 0.0640,
}

#: Fifty regimens: base | integrase inhibitor | non-nucleoside inhibitor | protease inhibitor | enhancer | per 10,000.
_REGIMENS = """
FTC + TDF        | -   | RPV | -    | -    | 1575
FTC + TDF        | -   | EFV | -    | -    | 1076
FTC + TDF        | DTG | -   | -    | -    |  780
FTC + TDF        | EVG | -   | -    | True |  473
FTC + TDF        | -   | -   | DRV  | -    |  289
FTC + TDF        | RAL | -   | -    | -    |  236
FTC + TDF        | -   | NVP | -    | -    |  186
FTC + TDF        | EVG | -   | -    | -    |   89
FTC + TDF        | -   | -   | RTVB | -    |   33
FTC + TDF        | -   | -   | ATV  | -    |   29
FTC + TDF        | -   | -   | RTV  | -    |   29
FTC + TDF        | DTG | -   | DRV  | True |   15
FTC + TDF        | -   | -   | LPV  | -    |   12
FTC + TDF        | DTG | RPV | -    | -    |    8
3TC + ABC        | DTG | -   | -    | -    | 1246
3TC + ABC        | -   | RPV | -    | -    |  577
3TC + ABC        | -   | EFV | -    | -    |  358
3TC + ABC        | -   | -   | ATV  | -    |  348
3TC + ABC        | RAL | -   | -    | -    |  128
3TC + ABC        | -   | NVP | -    | -    |  114
3TC + ABC        | -   | -   | RTVB | -    |   33
3TC + ABC        | -   | -   | DRV  | -    |   32
3TC + ABC        | -   | -   | DRV  | True |   30
3TC + ABC        | -   | -   | RTV  | -    |   29
3TC + ABC        | DTG | EFV | -    | -    |    8
3TC + ABC        | -   | -   | LPV  | -    |    8
FTC + TAF        | EVG | -   | -    | True |  113
FTC + TAF        | DTG | -   | -    | -    |   73
FTC + TAF        | -   | RPV | -    | -    |   53
FTC + TAF        | RAL | -   | -    | -    |   11
FTC + TAF        | -   | -   | DRV  | True |   10
DRV + FTC + TDF  | -   | -   | RTVB | -    |  878
DRV + FTC + TDF  | -   | -   | RTV  | -    |  198
DRV + FTC + TDF  | -   | -   | -    | -    |  136
DRV + FTC + TDF  | DTG | -   | -    | -    |   40
DRV + FTC + TDF  | RAL | -   | RTVB | -    |   30
DRV + FTC + TDF  | -   | -   | -    | True |   28
DRV + FTC + TDF  | -   | RPV | -    | -    |   27
DRV + FTC + TDF  | -   | EFV | -    | -    |   18
DRV + FTC + TDF  | EVG | -   | RTVB | -    |   15
FTC + RTVB + TDF | -   | -   | DRV  | -    |  199
FTC + RTVB + TDF | -   | -   | -    | -    |  142
FTC + RTVB + TDF | -   | -   | ATV  | -    |   83
FTC + RTVB + TDF | -   | RPV | -    | -    |   30
FTC + RTVB + TDF | DTG | -   | DRV  | -    |   15
FTC + RTVB + TDF | RAL | -   | ATV  | -    |   10
Other            | -   | EFV | -    | -    |   60
Other            | DTG | -   | DRV  | -    |   45
Other            | DTG | RPV | -    | -    |   30
Other            | RAL | -   | RTV  | -    |   15
"""
_REGIMEN_COLUMNS = ("Base Drug Combo", "Comp. INI", "Comp. NNRTI", "Extra PI", "Extra pk-En")
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

#: Per laboratory value: simulated values, and below them log10 of the published scale; linear between, flat outside.
_BEND = {
    "VL": """
    -1.586 -0.394 0.067 0.487 0.876 1.120 1.428 1.636 1.875 2.129 2.458 2.828 3.493 4.349 4.816 5.251 5.721 6.524
    -1.000 -0.557 -0.261 0.136 0.657 1.021 1.354 1.589 1.981 2.398 2.891 3.483 4.118 4.556 4.767 4.873 4.927 4.989
    """,
    "CD4": """
    1.690 3.321 3.991 4.614 5.175 5.494 5.847 6.051 6.249 6.414 6.570 6.695 6.839 7.062 7.361 7.775 8.318 9.709
    0.901 1.572 1.878 2.121 2.320 2.436 2.578 2.669 2.762 2.846 2.934 3.014 3.115 3.279 3.497 3.770 4.079 4.628
    """,
    "Rel CD4": """
    1.430 2.727 3.320 3.872 4.364 4.645 4.960 5.142 5.321 5.469 5.611 5.724 5.855 6.058 6.329 6.710 7.200 8.456
    0.272 0.600 0.780 0.959 1.134 1.242 1.369 1.443 1.518 1.582 1.645 1.701 1.769 1.874 2.009 2.181 2.386 2.768
    """,
}


@lru_cache(maxsize=1)
def _demographics() -> pd.DataFrame:
    return _with_codes(pd.DataFrame(list(_DEMOGRAPHICS), columns=["Gender", "Ethnic"]), [*_DEMOGRAPHICS.values()])


@lru_cache(maxsize=1)
def _regimens() -> pd.DataFrame:
    cells = [[cell.strip() for cell in line.split("|")] for line in _REGIMENS.strip().splitlines()]
    levels = pd.DataFrame([row[:-1] for row in cells], columns=list(_REGIMEN_COLUMNS))
    without = {name: {"-": "False" if name == "Extra pk-En" else "Not Applied"} for name in levels}
    return _with_codes(levels.replace(without), [int(row[-1]) / 10_000 for row in cells])


def _with_codes(levels: pd.DataFrame, shares: list[float]) -> pd.DataFrame:
    """Columns of codes as in a cohort, then the levels' names as `<column> level`, then `share`."""
    code_of = {name: dict(zip(ART_FULL[name].levels, ART_FULL[name].codes, strict=True)) for name in levels}
    codes = pd.DataFrame({name: [code_of[name][level] for level in levels[name]] for name in levels})
    return pd.concat([codes, levels.add_suffix(" level")], axis=1).assign(share=shares)


def truth() -> dict[str, pd.DataFrame]:
    """Exact shares that every simulated cohort is drawn from, of patients as of patient-months, in any month.

    Returns:
        ``"demographics"``: the 8 Gender x Ethnic groups; ``"regimens"``: the 50 combinations; ``"joint"``: their 400
        pairs, products because a regimen does not depend on who takes it; all with codes as in a cohort, names in
        ``<column> level``, and ``share``. ``"measured"``: the share of months with each measured flag set.
        Any other set of columns follows by ``truth()["joint"].groupby(columns)["share"].sum()``.
    """
    demographics, regimens = _demographics(), _regimens()
    joint = demographics.merge(regimens, how="cross", suffixes=("", " of regimen"))
    joint["share"] = joint.pop("share") * joint.pop("share of regimen")
    measured = pd.DataFrame({"feature": list(_MEASURED), "share": [share for share, _ in _MEASURED.values()]})
    return {"demographics": demographics.copy(), "regimens": regimens.copy(), "joint": joint, "measured": measured}


def simulate_cohort(n_patients: int, months: int = 60, seed: int = 0) -> pd.DataFrame:
    """Draw a cohort in the published layout.

    Args:
        n_patients: number of patients, at least 1.
        months: months a patient, at least 1.
        seed: same seed, same table; the first patients of a larger cohort are not those of a smaller one.

    Returns:
        ``n_patients * months`` rows of 15 columns, sorted by patient then month; codes as published, VL and CD4 with
        two decimals, Rel CD4 with three.

    Raises:
        ValueError: where a number is not a whole number in its range.
    """
    for name, value, least in (("n_patients", n_patients, 1), ("months", months, 1), ("seed", seed, 0)):
        whole_number(name, value, least)
    rng = np.random.default_rng(seed)
    demographics, regimens = _demographics(), _regimens()
    group = _category(_systematic(rng, n_patients), demographics["share"].to_numpy())
    naive, regimen, working = _treatment(rng, n_patients, months)
    integrase = (regimens["Comp. INI level"] != "Not Applied").to_numpy()[regimen]
    columns = _laboratory(rng, naive, working, integrase)
    for name in ("Gender", "Ethnic"):
        columns[name] = np.broadcast_to(demographics[name].to_numpy()[group], (months, n_patients))
    for name in _REGIMEN_COLUMNS:
        columns[name] = regimens[name].to_numpy()[regimen]
    columns |= _measured_flags(rng, n_patients, months)
    columns["Timestep"], columns["PatientID"] = np.indices((months, n_patients), dtype=np.int64)
    return pd.DataFrame({name: columns[name].T.ravel() for name in (*ART_FULL.names, "PatientID", "Timestep")})


def bundled_cohort() -> pd.DataFrame:
    """The cohort in ``data/art_hiv_demo.csv.gz``, drawn anew."""
    return simulate_cohort(BUNDLED_PATIENTS, months=60, seed=BUNDLED_SEED)


def _systematic(rng: np.random.Generator, n: int) -> np.ndarray:
    """Uniform draws (n,), one from each of n equal slices of [0, 1), in random order: systematic sampling.

    Each draw alone is uniform, but together they hit every share within a patient or two, so that a group of 0.4 %
    is there in a cohort of 1,000, and in about the right size.
    """
    slices = np.argsort(rng.random(n), kind="stable")
    return (slices + rng.random(n)) / n


def _category(uniform: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right")


@lru_cache(maxsize=1)
def _switch_kernel() -> np.ndarray:
    """Cumulative probabilities of the next regimen, (50 present, 49 next: the last one, 1, is left out).

    The flow between two regimens is d_i w_ij d_j, w larger where the base stays and 0 on the diagonal. It is
    symmetric, so the chain is reversible, and d is scaled until the flow out of each regimen is its share: then the
    shares are the chain's stationary distribution (Sinkhorn scaling).
    """
    regimens = _regimens()
    share, base = regimens["share"].to_numpy(), regimens["Base Drug Combo"].to_numpy()
    weight = np.where(base[:, None] == base, _SAME_BASE, 1.0) * (1 - np.eye(len(share)))
    scale = np.ones(len(share))
    for _ in range(300):
        scale = np.sqrt(scale * share / (weight * scale).sum(axis=1))  # the root damps it, or it would oscillate
    cumulative = np.cumsum(scale[:, None] * weight * scale, axis=1)
    return cumulative[:, :-1] / cumulative[:, -1:]


def _treatment(rng: np.random.Generator, n: int, months: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who starts treatment in month 0 (n,), the regimen taken, and whether it works, both (months, n)."""
    kernel = _switch_kernel()
    restless = np.exp(_RESTLESS_SPREAD * rng.standard_normal(n))
    lapse, switch = np.minimum(_LAPSE * restless, 0.5), np.minimum(_SWITCH * restless, 0.5)
    naive = rng.random(n) < _NAIVE
    adherent = naive | (rng.random(n) >= lapse / (lapse + _RETURN))
    resistant = ~adherent & (rng.random(n) < 0.5)
    idle = np.where(adherent & ~resistant, 0, _FAILURE_MONTHS)  # months in a row without effect
    now = _category(_systematic(rng, n), _regimens()["share"].to_numpy())
    regimen, working = np.empty((months, n), dtype=np.int64), np.empty((months, n), dtype=bool)
    for month in range(months):
        if month:
            uniform = rng.random((3, n))
            adherent = np.where(adherent, uniform[0] >= lapse, uniform[0] < _RETURN)
            resistant |= (idle > 0) & (uniform[1] < _RESISTANCE)
            moves = uniform[2] < np.where(idle >= _FAILURE_MONTHS, np.maximum(_SWITCH_AFTER_FAILURE, switch), switch)
            drawn = _systematic(rng, int(moves.sum()))
            now[moves] = (drawn[:, None] >= kernel[now[moves]]).sum(axis=1)
            # A new regimen meets a susceptible virus, and a patient who has just been counselled.
            adherent, resistant = adherent | moves, resistant & ~moves
            idle = np.where(adherent & ~resistant, 0, idle + 1)
        regimen[month], working[month] = now, adherent & ~resistant
    return naive, regimen, working


def _laboratory(rng: np.random.Generator, naive: np.ndarray, working: np.ndarray, integrase: np.ndarray) -> dict:
    """VL, CD4 and Rel CD4, each (months, n), from the course of treatment; `integrase` where it has an inhibitor."""
    months, n = working.shape
    between = rng.standard_normal((5, n))  # what patients differ in
    setpoint, floor = 4.6 + 0.45 * between[0], 1.25 + 0.35 * between[1]  # log10 copies untreated; when suppressed
    plateau, pace = 6.3 + 0.60 * between[2], np.exp(0.25 * between[3])  # ln CD4 without viraemia; of the decay
    viraemic = naive | ~working[0]
    fast = np.where(viraemic, setpoint, -1.0)  # log10 copies from short-lived infected cells
    slow = np.where(viraemic, setpoint - 1.3, 2.0 * rng.random(n) - 0.5)  # and from long-lived ones
    cells = plateau - 1.6 * (viraemic * 0.7 + naive * 0.5 * rng.random(n))  # ln CD4; lowest before treatment
    memory = np.array([[0.80], [0.60], [0.90]])
    wander = rng.standard_normal((3, n))
    latent = np.empty((3, months, n))
    for month in range(months):
        if month:
            steep = pace * np.where(integrase[month], 1.3, 1.0)  # integrase inhibitors clear virus faster
            rebound = np.minimum(np.maximum(fast, slow - 0.5) + 0.9, setpoint)
            refill = np.minimum(slow + 0.25, setpoint - 1.3)
            fast = np.where(working[month], np.maximum(fast - 1.0 * steep, -2.0), rebound)
            slow = np.where(working[month], np.maximum(slow - 0.12 * steep, -2.0), refill)
            wander = memory * wander + np.sqrt(1 - memory**2) * rng.standard_normal((3, n))
        copies = np.log10(10.0**fast + 10.0**slow + 10.0 ** (floor + 0.35 * wander[0])) + 0.12 * wander[0]
        if month:
            cells = cells + 0.15 * (plateau - 1.6 * np.clip((copies - 2.0) / 3.0, 0.0, 1.0) - cells)
        relative = 0.85 * cells + 0.16 * wander[1] + 0.10 * wander[2] + 0.30 * between[4]
        latent[:, month] = copies, cells + 0.32 * wander[1], relative
    digits = {"VL": 2, "CD4": 2, "Rel CD4": 3}
    return {name: _bend(name, latent[i]).round(digits[name]) for i, name in enumerate(digits)}


def _bend(name: str, simulated: np.ndarray) -> np.ndarray:
    return 10.0 ** np.interp(simulated, *np.array(_BEND[name].split(), dtype=float).reshape(2, -1))


def _measured_flags(rng: np.random.Generator, n: int, months: int) -> dict[str, np.ndarray]:
    """The three flags, each (months, n): carried over from the month before or drawn anew with its share.

    VL and CD4 mostly share their draws, as both are mostly read from one blood sample.
    """
    share, memory = np.array([*_MEASURED.values()]).T[:, :, None]  # (3, 1) each
    flags = np.empty((3, months, n), dtype=np.int64)
    for month in range(months):
        uniform = rng.random((7, n))
        uniform[[1, 4]] = np.where(uniform[6] < 0.7, uniform[[0, 3]], uniform[[1, 4]])
        drawn = uniform[:3] < share
        flags[:, month] = np.where(uniform[3:6] < memory, flags[:, month - 1], drawn) if month else drawn
    return dict(zip(_MEASURED, flags, strict=True))
