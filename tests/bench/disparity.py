"""Who pays: models trained where one group fares worse, and the courses of their patients: notebook 06 reads the table.

``python -m tests.bench.disparity`` writes data/results/disparity.csv: nine runs (three models, three cohorts of 800
patients), half an hour of one core. Stopped and started again, it goes on with the run that was not finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import torch

import hg_helpers as hg
from hg_helpers.app.files import write_table

from .ablation import begun

#: African women's treatment is interrupted three times as often, and for three times as long.
DISPARITY = {("Female", "African"): 3.0}
PATIENTS, FIRST_SEED, SEEDS = 800, 11, 3
#: ART_DEMO with the two columns that say who takes an integrase inhibitor.
SCHEMA = hg.ART_FULL.select([*hg.ART_DEMO.names, "Comp. INI", "Comp. NNRTI"])
SUPPRESSED = 200.0  # copies/mL
#: v1 and v2 for as many steps as in the ablation, v2_plus as the workshop trains it.
MODELS = {"v2_plus": {}, "v2": {"epochs": 3}, "v1": {"epochs": 3}}


def courses(cohort: pd.DataFrame) -> pd.DataFrame:
    """One row a patient: sex and ethnicity (what most months say), integrase inhibitor in month 0, and what came of it.

    ``start`` is the first viral load, ``months`` and ``reached`` when it was first below 200 copies/mL,
    ``suppressed`` the share of months below from month 12 on.
    """
    by_patient = cohort.groupby("PatientID")
    table = by_patient[["Gender", "Ethnic"]].agg(lambda codes: codes.mode()[0])
    table["integrase"] = (by_patient["Comp. INI"].first() != 3).astype(int)
    table = table.join(hg.metrics.time_to_outcome(cohort, SCHEMA, SUPPRESSED))
    later = cohort[cohort["Timestep"] >= 12]
    table["suppressed"] = (later["VL"] < SUPPRESSED).groupby(later["PatientID"]).mean().round(3)
    return table.astype({"reached": int}).reset_index()


def synthetic_courses(model: str, seed: int, work: Path) -> pd.DataFrame:
    """Train one model on one cohort, and follow as many synthetic patients."""
    torch.set_num_threads(1)
    cohort = hg.simulate_cohort(PATIENTS, seed=FIRST_SEED + seed, disparity=DISPARITY)[SCHEMA.columns]
    config = getattr(hg.TrainConfig, model)(preset="workshop", seed=seed, **MODELS[model])
    checkpoint = work / f"{model}-{seed}.pt"
    trainer = begun(checkpoint, config) or hg.Trainer(hg.CohortEncoder(SCHEMA).fit(cohort), config, device="cpu")
    x = trainer.encoder.transform(cohort)
    trainer.fit(x, checkpoint=checkpoint, progress=False)
    made = courses(trainer.synthesizer().match_margins(x).sample(PATIENTS, seed=seed))
    made.insert(0, "model", model)
    made.insert(1, "seed", seed)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.disparity", description=__doc__)
    parser.add_argument("--out", type=Path, default=hg.data_folder() / "results" / "disparity.csv")
    parser.add_argument("--work", type=Path, default=Path("runs/disparity"), help="folder of the checkpoints")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(options.out) if options.out.is_file() else pd.DataFrame(columns=["model", "seed"])
    for seed in range(SEEDS):
        for model in MODELS:
            if not ((table["model"] == model) & (table["seed"] == seed)).any():
                rows = synthetic_courses(model, seed, options.work)
                table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
                table = table.sort_values(["model", "seed", "PatientID"], ignore_index=True)
                write_table(table, options.out)
                print(model, seed, flush=True)


if __name__ == "__main__":
    main()
