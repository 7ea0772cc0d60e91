"""The published ART-for-HIV layout, described in ``data/art_full.yaml`` as any other table would be.

>>> len(ART_FULL), ART_DEMO.names
(13, ['VL', 'CD4', 'Gender', 'Ethnic', 'Base Drug Combo', 'Extra PI', 'Extra pk-En'])
"""

from __future__ import annotations

from ..runtime.download import data_folder
from .schema import Schema

#: All thirteen features, in the order of the file.
ART_FULL = Schema.from_yaml(data_folder() / "art_full.yaml")
#: The seven features of the published example: 22 channels, embedded width 18.
ART_DEMO = ART_FULL.select(["VL", "CD4", "Gender", "Ethnic", "Base Drug Combo", "Extra PI", "Extra pk-En"])
