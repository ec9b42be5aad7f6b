"""Heads of scanned people that the model's basis never saw, acting before cameras that are known.

ICT-FaceKit's identities, carried over to this head's topology, act with the head's expressions:
every vertex of the truth has its counterpart in the fit. What the detector would see is simulated
as Wood et al. describe it: each landmark is a circular Gaussian whose deviation is told.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from backend.errors import BadInputError
from backend.evaluate.acting import Performance, perform
from backend.geometry.cameras import focal_from_field_of_view
from backend.geometry.rasterizer import vertex_normals
from backend.head import Head
from backend.head.landmarks import HEAD_FILE, layout

FILE_NAME = "ict_identities_on_anny.npz"
# A landmark on a surface that turns away, and one behind a hand, are so many times as uncertain.
HIDDEN, OCCLUDED = 3.0, 8.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """How a performance is recorded."""

    frames: int = 100
    seed: int = 0
    turn_deg: float = 30.0
    """Spread of the head's turns to the side."""
    cameras: int = 1
    """On an arc before the face, the first in the middle."""
    arc_deg: float = 40.0
    """Between neighbouring cameras."""
    field_of_view_deg: float = 38.0
    distance: float = 0.6
    """Metres from the face to every camera."""
    image_size: tuple[int, int] = (1280, 720)
    layout_name: str = "dense320"
    noise: float = 0.005
    """Deviation of a landmark in full view, as a share of the face's height."""
    occluders: float = 0.2
    """Share of the frames in which something hides a part of the face."""


@dataclass(frozen=True)
class RecordedShot:
    """The truth of F frames and what C cameras saw of it."""

    head: Head
    """The person: the mean of this head is the truth."""
    performance: Performance
    vertices: NDArray[np.float32]
    """(F,N,3) metres, frame of the first camera."""
    pose: Array
    """(F,4,4) T_camera_head of the head joint, first camera."""
    camera_rotmat: Array
    """(C,3,3), with `camera_translation` the map from the first camera's frame to each."""
    camera_translation: Array
    focal_px: float
    image_size: tuple[int, int]
    layout_name: str
    landmarks_2d: Array
    """(F,C,L,2) pixels."""
    landmark_sigma: Array
    """(F,C,L) pixels."""


class ScannedPeople:
    """Random people of a scan-based model, as heads of this topology."""

    def __init__(self, path: Path, head: Head) -> None:
        """Read the modes from a file, or from the folder that holds it; raises BadInputError."""
        file = path / FILE_NAME if path.is_dir() else path
        try:
            with np.load(file) as data, np.load(HEAD_FILE) as own:
                order = {int(v): i for i, v in enumerate(data["makehuman_vertex"])}
                rows = [order[int(v)] for v in own["makehuman_vertex"]]
                # Millimetres, y up, to metres, y down.
                flip = np.array([1e-3, -1e-3, -1e-3])
                self._mean = data["mean"][rows].astype(np.float64) * flip
                self._modes = data["identity"][:, rows].astype(np.float64) * flip
        except (OSError, KeyError, ValueError) as error:
            raise BadInputError(f"{file}: no scan-based heads ({error})") from error
        self._head = head

    def person(self, seed: int) -> Head:
        """A random person: every mode has a normal distribution."""
        draw = np.random.default_rng([seed, 20]).standard_normal(len(self._modes))
        vertices = self._mean + np.einsum("k,kvc->vc", draw, self._modes)
        head = deepcopy(self._head)
        eyes = [head.regions[name] for name in ("eye.L", "eye.R")]
        vertices = vertices - np.mean([vertices[e].mean(0) for e in eyes], axis=0)
        template = head.template.double().cpu().numpy()
        joints = head.joints_template.double().cpu().numpy()
        centres = np.stack([vertices[e].mean(0) - template[e].mean(0) for e in eyes])
        joints[:2] += centres.mean(0)
        joints[2:] += centres
        head.template.copy_(torch.as_tensor(vertices))
        head.joints_template.copy_(torch.as_tensor(joints))
        return head


@torch.no_grad()
def record(person: Head, recording: Recording) -> RecordedShot:
    """A person acts, turns and is recorded; landmarks come with the errors their sigma says."""
    r = recording
    rng = np.random.default_rng([r.seed, 21])
    acted = perform(person, r.frames, r.seed, r.turn_deg, r.distance)
    to = person.template.new_tensor
    nobody = person.template.new_zeros(person.n_identity)
    rotations, translation = to(acted.rotations), to(acted.translation)
    vertices = person(nobody, to(acted.expression), rotations, translation)
    pose = person.joint_transforms(nobody, rotations, translation)[:, 1]
    lay = layout(r.layout_name)
    points = person.landmarks(vertices, lay).double().cpu().numpy()
    normals = person.landmarks(
        torch.stack([vertex_normals(v, person.faces) for v in vertices]), lay
    ).double().cpu().numpy()  # fmt: skip
    rotmat, offset = _rig(r.cameras, math.radians(r.arc_deg), r.distance)
    width, height = r.image_size
    focal = focal_from_field_of_view(math.radians(r.field_of_view_deg), width)
    seen, sigma = [], []
    for R, t in zip(rotmat, offset, strict=True):
        local = points @ R.T + t
        pixels = local[..., :2] / local[..., 2:] * focal + [(width - 1) / 2, (height - 1) / 2]
        away = np.einsum("flc,flc->fl", normals @ R.T, local) / np.linalg.norm(local, axis=-1)
        sigma.append(_deviations(pixels, away, r, rng))
        seen.append(pixels + sigma[-1][..., None] * rng.standard_normal(pixels.shape))
    return RecordedShot(
        person, acted, vertices.cpu().numpy(), pose.double().cpu().numpy(), rotmat, offset, focal,
        r.image_size, r.layout_name, np.stack(seen, 1), np.stack(sigma, 1),
    )  # fmt: skip


def _rig(cameras: int, arc: float, distance: float) -> tuple[Array, Array]:
    """Maps from the first camera's frame to those on an arc about a point before it."""
    angles = [((i + 1) // 2) * (1 if i % 2 else -1) * arc for i in range(cameras)]
    rotmat = Rotation.from_rotvec([[0.0, angle, 0.0] for angle in angles]).as_matrix()
    middle = np.array([0.0, 0.0, distance])
    return rotmat, middle - rotmat @ middle


def _deviations(pixels: Array, away: Array, r: Recording, rng: np.random.Generator) -> Array:
    """(F,L) deviation of every landmark in pixels; away: cosine of normal and view, (F,L)."""
    frames, count = away.shape
    low, high = np.quantile(pixels, 0.02, axis=1), np.quantile(pixels, 0.98, axis=1)
    size = (high - low)[:, 1:]
    spread = gaussian_filter1d(rng.standard_normal((frames, count)), 2.0, axis=0, mode="nearest")
    spread *= 0.35 / max(float(spread.std()), 1e-9)
    sigma = r.noise * size * np.exp(spread) * np.where(away > -0.05, HIDDEN, 1.0)
    # A hand comes and stays for about a second.
    present = gaussian_filter1d(rng.standard_normal(frames), 12.0, mode="nearest")
    present = present > np.quantile(present, 1 - r.occluders) if frames > 1 else np.zeros(1, bool)
    spot = low + rng.uniform(size=2) * (high - low)
    hidden = np.linalg.norm(pixels - spot[:, None], axis=-1) < 0.2 * size
    return np.where(hidden & present[:, None], OCCLUDED * sigma, sigma)
