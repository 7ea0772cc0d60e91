"""How one real feature is brought to [0, 1] and back: power transform, min-max, and the decimals it is written with.

>>> x = np.array([1.5, 2.5, 4.0, 11.0])
>>> code = RealCode.fit(Feature('lab', 'real'), x)
>>> code.forward(x).round(2).tolist(), code.inverse(code.forward(x)).tolist()
([0.0, 0.34, 0.59, 1.0], [1.5, 2.5, 4.0, 11.0])
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from ..runtime.columns import TableLog, decimals
from .schema import Feature

#: Added before Box-Cox, so that a laboratory value of exactly zero has a logarithm.
OFFSET = 0.001
#: Most quantiles that ranks are read from.
KNOTS = 257


def box_cox_lambda(x: np.ndarray) -> float:
    """Maximum-likelihood Box-Cox parameter (Box & Cox 1964, equation 8), as scipy's to 1e-6, several times faster."""
    log_x = np.log(x)
    deviation = log_x - log_x.mean()

    def cost(lam: float) -> float:
        # x**lam / lam divided by its geometric mean, so that nothing overflows
        shaped = deviation if abs(lam) < 1e-8 else np.expm1(lam * deviation) / lam
        variance = shaped.var()
        return 0.5 * np.log(variance) if variance > 0 else np.inf

    return float(optimize.minimize_scalar(cost, bracket=(-1.0, 1.0), method="brent", options={"xtol": 1e-9}).x)


@dataclass
class RealCode:
    """How one real feature is brought to [0, 1]; a few numbers that live in the checkpoint.

    Box-Cox is taken of values in units of their geometric mean. Min-max then gives the same [0, 1] in any unit, but of
    a body temperature in degrees, with lambda -30, nothing would be left beside rounding.
    """

    kind: str
    lam: float = 1.0
    minimum: float = 0.0
    span: float = 1.0
    unit: float = 1.0
    places: int | None = None
    knots: list[float] | None = None  # of ranks: evenly spaced quantiles of the training values

    @classmethod
    def fit(cls, feature: Feature, x: np.ndarray) -> RealCode:
        """Learn the transform; min-max alone where the feature's own cannot be undone, else a ValueError."""
        if feature.transform == "box-cox":
            x = np.maximum(x, 0.0)  # rounding dust below zero is let in, and comes back as zero
        places = decimals(x)
        # a constant has no shape to mend; of a few values most would have ranks that the generator cannot aim at
        few = len(np.unique(x)) <= (10 if feature.transform == "ranks" else 1)
        wanted = "none" if few else feature.transform
        for kind in dict.fromkeys((wanted, "none")):
            code = cls(kind, places=places)
            if code._learn(x):
                if kind != wanted:
                    said = "column %r: its values do not survive the %s transform, so they are only scaled to [0, 1]"
                    TableLog().info(said, feature.name, wanted)
                return code
        values = f"values from {x.min():g} to {x.max():g} cannot be scaled to [0, 1] and back"
        raise ValueError(f"column {feature.name!r}: {values}; look for one that is wrong")

    def _learn(self, x: np.ndarray) -> bool:
        """Whether the values come back from the precision of the tensor."""
        with np.errstate(all="ignore"), suppress(ValueError, RuntimeError):  # no bracket, or what overflows
            if self.kind == "box-cox":
                self.lam, self.unit = box_cox_lambda(x + OFFSET), float(np.exp(np.log(x + OFFSET).mean()))
            elif self.kind == "yeo-johnson":
                self.lam = float(stats.yeojohnson_normmax(x))  # refuses what it cannot fit
            elif self.kind == "ranks":
                self.knots = np.quantile(x, np.linspace(0, 1, min(len(x), KNOTS))).tolist()
            y = self._power(x)
            self.minimum, self.span = float(y.min()), float(y.max() - y.min())
            u = self.forward(x).astype(np.float32)
            lost = np.abs(self.inverse(u.astype(np.float64)) - x).max() / (np.ptp(x) or 1.0)
            # a generator cannot aim at a few values, such as small counts, that stand closer than a thousandth
            few = np.unique(u)
            apart = self.kind == "none" or not 1 < len(few) <= 50 or np.diff(few).min() > 1e-3
            return bool(apart and lost < 3e-5)
        return False

    def _power(self, x: np.ndarray, back: bool = False) -> np.ndarray:
        if self.kind == "box-cox" and back:
            return np.maximum(special.inv_boxcox(x, self.lam) * self.unit - OFFSET, 0.0)
        if self.kind == "box-cox":
            return special.boxcox((x + OFFSET) / self.unit, self.lam)
        if self.kind == "yeo-johnson":
            power = special.inv_boxcox1p if back else special.boxcox1p
            return np.copysign(power(np.abs(x), np.where(x < 0, 2 - self.lam, self.lam)), x)
        if self.kind == "ranks":
            knots = np.array(self.knots)
            ranks = np.linspace(0, 1, len(knots))
            if back:
                return np.interp(x, ranks, knots)
            # a value that many have stands in the middle of its ranks; beyond the range lies 1 above or below
            last, first = np.interp(x, knots, ranks), np.interp(-x, -knots[::-1], ranks[::-1])
            return (last + first) / 2 + (x > knots[-1]) - (x < knots[0])
        return x

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Values to [0, 1]; what lies outside the training range is outside."""
        # a constant has no range: any other value lies outside it
        return (self._power(x) - self.minimum) / (self.span or 1e-9)

    def inverse(self, u: np.ndarray) -> np.ndarray:
        """[0, 1] to values as the training column writes them: so many decimals, else the seven digits of float32."""
        x = self._power(u * self.span + self.minimum, back=True)
        if self.places is not None:
            return np.round(x, self.places) + 0.0  # no minus zero
        with np.errstate(all="ignore"):
            width = np.ptp(self._power(self.minimum + self.span * np.arange(2.0), back=True))
            digits = 6 - np.floor(np.log10(np.minimum(np.abs(x), width)))
            up, down = np.power(10.0, np.maximum(digits, 0)), np.power(10.0, np.maximum(-digits, 0))
            rounded = np.round(x * up / down) / up * down
        return np.where(np.isfinite(rounded), rounded, x)
