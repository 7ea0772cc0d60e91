"""What is wrong, who is missing, what is safe: one metric, one function; a value and the table behind it.

Every function takes cohort tables (DataFrames in the schema's layout, rows in any order) and a schema, or the arrays
that :func:`as_arrays` makes of them once for many metrics, and returns ``(value, table)``; ``table.attrs["note"]`` says
why a value is NaN. ``METRICS`` holds what each is at best and its range. :func:`evaluate` runs all beside their floors.
"""

# ruff: noqa: I001 (a module's names in full lines, not one a line)
from .arrays import CohortArrays, as_arrays, most_frequent_levels
from .distances import flatten
from .diversity import coverage, joint_tv, log_cluster, patient_spread, prdc_coverage, prdc_density
from .dynamics import autocorrelation_difference, cycle_difference, dwell_times, static_constant, switching_ratio
from .dynamics import switch_response, trend_difference, within_patient_correlation
from .fidelity import association_difference, association_matrix, contingency_similarity, cramers_v
from .fidelity import gap_clustering, gap_shares, ks, length_ks, step_ks, tv, wasserstein
from .metric import METRICS
from .privacy import DISCLOSURE_THRESHOLD, copies, copy_threshold, dcr_share, disclosure_risk, membership_auc
from .privacy import nndr, privacy_distances
from .report import BEST, evaluate
from .two_sample import c2st_auc, c2st_other_auc
from .utility import fitted_q, kaplan_meier, restricted_mean, time_to_outcome, trtr_auc, tstr_auc

__all__ = ["BEST", "DISCLOSURE_THRESHOLD", "METRICS", "CohortArrays", "as_arrays", "evaluate", "most_frequent_levels"]
__all__ += ["association_difference", "association_matrix", "contingency_similarity", "cramers_v", "ks", "tv"]
__all__ += ["coverage", "joint_tv", "log_cluster", "patient_spread", "prdc_coverage", "prdc_density", "wasserstein"]
__all__ += ["autocorrelation_difference", "cycle_difference", "dwell_times", "static_constant", "switching_ratio"]
__all__ += ["gap_clustering", "gap_shares", "length_ks", "step_ks", "trend_difference", "within_patient_correlation"]
__all__ += ["copies", "copy_threshold", "dcr_share", "disclosure_risk", "flatten", "membership_auc", "nndr"]
__all__ += ["c2st_auc", "c2st_other_auc", "privacy_distances", "switch_response", "trtr_auc", "tstr_auc"]
__all__ += ["fitted_q", "kaplan_meier", "restricted_mean", "time_to_outcome"]
