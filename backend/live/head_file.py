"""The head of whoever is followed as a file that the add-on reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.head import Head


def write_head(head: Head, identity: NDArray[np.float32], path: Path) -> None:
    """Neutral face, expressions and skinning of a person, as a track file names them (.npz)."""
    shape = torch.from_numpy(identity).to(head.template)
    neutral = head.shape(shape, head.template.new_zeros(head.n_expression))
    arrays = {
        "rest_vertices": neutral,
        "shape_keys": head.expression_basis.half(),
        "uv": head.uv[head.face_uv],
        "joints": head.joints(shape),
        "skin_weights": head.skin_weights,
        "faces": head.faces.int(),
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file, expression_names=np.array(head.expression_names),
            **{name: value.detach().cpu().numpy() for name, value in arrays.items()},
        )  # fmt: skip
