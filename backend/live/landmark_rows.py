"""Which of the layout's landmarks live tracking asks for."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from backend.errors import BadInputError
from backend.fit.behind_lips import behind_lips
from backend.fit.posed_points import PosedPoints
from backend.head import Head
from backend.head.landmarks import layout

LAYOUT = "dense320"
N_IBUG = 68
_EYES = (2, 3)


@lru_cache(maxsize=4)
def landmark_rows(count: int) -> NDArray[np.int64]:
    """Rows (count,) of `dense320`: iBUG's 68 first, all that turn with the eyes, then those that
    lie farthest from all others, so that the whole face stays covered; where expressions move it
    much, as at lids and lips, distances count for more. None on teeth. Raises: BadInputError."""
    head = Head.load()
    aside = behind_lips(head, LAYOUT)
    total = len(layout(LAYOUT)) - int(aside.sum())
    points = PosedPoints.of(head, layout(LAYOUT))
    of_eyes = (points.skin[:, _EYES] > 0).any(1)
    of_eyes[:N_IBUG] = False
    chosen = [*range(N_IBUG), *of_eyes.nonzero()[:, 0].tolist()]
    if not len(chosen) <= count <= total:
        raise BadInputError(f"{count} landmarks: live tracking takes {len(chosen)} to {total}.")
    moved = points.expression_basis.norm(dim=1).square().sum(1).sqrt()
    worth = 1.0 + moved / moved.mean()
    worth[torch.from_numpy(aside)] = 0.0
    gap = torch.cdist(points.template, points.template[chosen]).amin(1)
    while len(chosen) < count:
        row = int((worth * gap).argmax())
        chosen.append(row)
        gap = torch.minimum(gap, (points.template - points.template[row]).norm(dim=1))
    return np.array(chosen[:N_IBUG] + sorted(chosen[N_IBUG:]), np.int64)
