"""The cohort: what a table of patients means, where it comes from, and how it becomes a tensor and a table again.

A `Schema` describes the columns; `load_cohort` reads and checks a table; `simulate_cohort` makes one of known truth;
`split_patients` holds patients out; `CohortEncoder` makes it a tensor (patients, months, channels), and back.
"""

from ..runtime.download import DownloadError, data_folder, download_cohort
from .art import ART_DEMO, ART_FULL
from .encoding import CohortEncoder
from .load import load_cohort, split_patients, validate_cohort
from .schema import Feature, Schema
from .simulate import simulate_cohort, truth

__all__ = ["ART_DEMO", "ART_FULL", "CohortEncoder", "DownloadError", "Feature", "Schema", "data_folder"]
__all__ += ["download_cohort", "load_cohort", "simulate_cohort", "split_patients", "truth", "validate_cohort"]
