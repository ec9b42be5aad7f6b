"""Where the iris lies on the eyeball: its ring is found in what all frames show of an eye."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

RADII = np.arange(0.0048, 0.0075, 0.0003)
"""Metres of the iris: those of people are within 5 to 7 mm."""
REACH = 0.0036
"""Metres by which it may lie beside the eyeball's pole: 17 degrees of gaze."""
STEP = 0.0003
"""Metres between the places that are tried."""
RING = 0.0011
"""Metres on both sides of the ring that are compared."""
SECTORS = 24
"""Parts of the ring; lids hide some of them."""
LEAST_SEEN = 7
"""Parts that have to be seen."""
LEAST_CONTRAST = 0.05
"""The step of brightness at the ring, root of linear light, below which no iris is seen."""


def find_iris(place: Tensor, brightness: Tensor, trust: Tensor) -> NDArray[np.float64] | None:
    """Centre (2,) of the iris, metres from the eyeball's pole; None where it is not seen.

    place: (P, 2) metres from the pole, of points on the front of an eyeball, seen along its axis.
    brightness, trust: (P,). Daugman's operator (High confidence visual recognition of persons by a
    test of statistical independence, 1993): the circle across which brightness rises most.
    """
    chosen = trust > 0.1
    at, value = place[chosen].double().numpy(), brightness[chosen].double().numpy()
    weight = trust[chosen].double().numpy()
    if len(at) < 60:
        return None
    places = np.arange(-REACH, REACH + 1e-9, STEP)
    best, centre = 0.0, None
    for x in places:
        for y in places:
            offset = at - (x, y)
            distance = np.hypot(*offset.T)
            sector = (
                (np.arctan2(offset[:, 1], offset[:, 0]) / (2 * np.pi) + 0.5) * SECTORS
            ).astype(int) % SECTORS
            for radius in RADII:
                step = _step_at(distance - radius, sector, value, weight)
                if step > best:
                    best, centre = step, (x, y)
    if best < LEAST_CONTRAST or centre is None:
        return None
    return np.array(centre)


def _step_at(
    beyond: NDArray[np.float64],
    sector: NDArray[np.int64],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> float:
    """How much brighter it is outside of a ring than inside: the median over its seen sectors."""
    means = []
    for chosen in ((beyond > -RING) & (beyond < 0), (beyond >= 0) & (beyond < RING)):
        total = np.bincount(sector[chosen], weight[chosen], SECTORS)
        summed = np.bincount(sector[chosen], weight[chosen] * value[chosen], SECTORS)
        means.append(np.where(total > 0.5, summed / np.maximum(total, 1e-9), np.nan))
    steps = means[1] - means[0]
    seen = np.isfinite(steps)
    if seen.sum() < LEAST_SEEN:
        return 0.0
    # The less of it is seen, the less a step is worth: a short arc fits many circles.
    return float(np.median(steps[seen])) * float(np.sqrt(seen.mean()))
