"""The published ART-for-HIV layout: beside the simulator, the only module that knows the names of its columns.

>>> len(ART_FULL), ART_DEMO.names
(13, ['VL', 'CD4', 'Gender', 'Ethnic', 'Base Drug Combo', 'Extra PI', 'Extra pk-En'])
"""

from __future__ import annotations

from typing import Any

from .schema import Feature, Schema

#: The columns that an older release of the public cohort calls otherwise.
OLDER_NAMES = {"Timepoints": "Timestep"}


def _art(names: dict[str, tuple[str, ...]], first_code: int, kind: str, **more: Any) -> list[Feature]:
    return [
        Feature(name, kind, levels, tuple(range(first_code, first_code + len(levels))), **more)
        for name, levels in names.items()
    ]


_MEASURED = {name: ("No", "Yes") for name in ("VL (M)", "CD4 (M)", "Drug (M)")}

#: The published ART-for-HIV layout, all thirteen features in the order of the file.
ART_FULL = Schema(
    (
        Feature("VL", "real", unit="copies/mL", role="outcome", threshold=1000.0),
        Feature("CD4", "real", unit="cells/µL"),
        Feature("Rel CD4", "real", unit="cells/µL"),
        *_art({"Gender": ("Male", "Female")}, 1, "binary", static=True),
        *_art({"Ethnic": ("Asian", "African", "Caucasian", "Other")}, 1, "categorical", static=True),
        *_art(
            {
                "Base Drug Combo": (
                    "FTC + TDF",
                    "3TC + ABC",
                    "FTC + TAF",
                    "DRV + FTC + TDF",
                    "FTC + RTVB + TDF",
                    "Other",
                ),
                "Comp. INI": ("DTG", "RAL", "EVG", "Not Applied"),
                "Comp. NNRTI": ("NVP", "EFV", "RPV", "Not Applied"),
                "Extra PI": ("DRV", "RTVB", "LPV", "RTV", "ATV", "Not Applied"),
            },
            0,
            "categorical",
            role="regimen",
        ),
        *_art({"Extra pk-En": ("False", "True")}, 0, "binary", role="regimen"),
        *_art(_MEASURED, 0, "binary"),
    ),
    length=60,
    shorter="error",
)

#: The seven features of the published example: 22 channels, embedded width 18.
ART_DEMO = ART_FULL.select(["VL", "CD4", "Gender", "Ethnic", "Base Drug Combo", "Extra PI", "Extra pk-En"])
