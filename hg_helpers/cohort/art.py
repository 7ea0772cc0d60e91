"""The published ART-for-HIV layout: beside simulator and download, the only module that knows its columns.

>>> len(ART_FULL), ART_DEMO.names
(13, ['VL', 'CD4', 'Gender', 'Ethnic', 'Base Drug Combo', 'Extra PI', 'Extra pk-En'])
"""

from __future__ import annotations

from typing import Any

from .schema import Feature, Schema


def _discrete(name: str, levels: str, first_code: int = 0, **more: Any) -> Feature:
    names = tuple(levels.split(", "))
    codes = tuple(range(first_code, first_code + len(names)))
    return Feature(name, "binary" if len(names) == 2 else "categorical", names, codes, **more)


_BASES = "FTC + TDF, 3TC + ABC, FTC + TAF, DRV + FTC + TDF, FTC + RTVB + TDF, Other"

#: The published ART-for-HIV layout, all thirteen features in the order of the file.
ART_FULL = Schema(
    (
        Feature("VL", "real", unit="copies/mL", role="outcome", threshold=1000.0),
        Feature("CD4", "real", unit="cells/µL"),
        Feature("Rel CD4", "real", unit="cells/µL"),
        _discrete("Gender", "Male, Female", 1, static=True),
        _discrete("Ethnic", "Asian, African, Caucasian, Other", 1, static=True),
        _discrete("Base Drug Combo", _BASES, role="regimen"),
        _discrete("Comp. INI", "DTG, RAL, EVG, Not Applied", role="regimen"),
        _discrete("Comp. NNRTI", "NVP, EFV, RPV, Not Applied", role="regimen"),
        _discrete("Extra PI", "DRV, RTVB, LPV, RTV, ATV, Not Applied", role="regimen"),
        _discrete("Extra pk-En", "False, True", role="regimen"),
        *(_discrete(name, "No, Yes") for name in ("VL (M)", "CD4 (M)", "Drug (M)")),
    ),
    length=60,
    shorter="error",
)

#: The seven features of the published example: 22 channels, embedded width 18.
ART_DEMO = ART_FULL.select(["VL", "CD4", "Gender", "Ethnic", "Base Drug Combo", "Extra PI", "Extra pk-En"])
