"""One function a figure; each returns the figure and a tidy table of what it drew.

The table's ``attrs["alt"]`` says in a sentence or two what the picture shows, with its main numbers. What cannot be
drawn is refused with a KeyError or ValueError that names table and column. Figures do not belong to pyplot: in a
notebook, let one be the last value of a cell. ``hg.plots.style`` holds colours and canvas for figures of your own.
"""

from . import style
from .distributions import association, distributions, trends_and_cycles
from .groups import coverage_bars, giveaways, joint_shares, privacy_distances
from .lesson import gan_steps, lstm_steps, models, play
from .over_time import patients, regimen_shares, trajectories
from .training import ablation, prototypes, training_curves

__all__ = ["ablation", "association", "coverage_bars", "distributions", "gan_steps", "giveaways", "joint_shares"]
__all__ += ["lstm_steps", "models", "patients", "play", "privacy_distances", "prototypes", "regimen_shares", "style"]
__all__ += ["training_curves", "trajectories", "trends_and_cycles"]
