"""Fill shards of labelled training crops, in as many processes as asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from backend.detect.windows import ROI_SCALE
from backend.head import Head

from . import sampling
from .assets import IRRADIANCE_BAND
from .dress import dress
from .procedural import make_background
from .renderer import FaceRenderer, FaceState, Labels
from .scanned import ScannedHeads
from .shards import ShardWriter

# Stored crops are this much larger than the tracker's own window: room for augmentation.
LOOSENESS = 1.28
TRUTH_FIELDS: dict[str, tuple[tuple[int, ...], object]] = {
    "camera": ((20,), np.float32),
    "coefficients": ((152,), np.float32),
}
"""camera: focal_px, cx, cy, rotations (4,3), translation (3), two unused; zeros where unknown.
coefficients: identity (100), expression (52)."""


@dataclass(frozen=True)
class GenerateSettings:
    """Render random labelled faces into shards, until stopped or until there are enough."""

    assets: Path
    """Asset library, by ``python -m backend.train.assets_build``."""
    base: Path
    """Training base, by ``python -m backend.head.build --training-base``."""
    out: Path
    """Folder of the shards."""
    skins: Path | None = None
    """Real skins, by ``python -m backend.train.portraits``."""
    scanned: Path | None = None
    """Modes of scanned people (`ict_identities_on_anny.npz`), of whom all heads then are."""
    count: int = 100_000
    """Images to render in all."""
    seed: int = 0
    """Seed of the first shard; every shard has its own."""
    shard_size: int = 1024
    """Images a shard."""
    background_share: float = 0.04
    """Share of images that show no face at all."""
    image_size: int = 160
    """Pixels of the square images."""
    views: int = 1
    """Images of each face in its expression, from cameras and in lights and skins of their own: one
    after the other in a shard, with the same coefficients, for the term that makes views agree."""
    farthest: float | None = None
    """None for crops about the face; else whole frames, in which the face lies anywhere and is up
    to so many times smaller than in its own region of interest."""


def neutral_translation(head: Head, camera: sampling.Camera, identity: np.ndarray) -> np.ndarray:
    """Translation that puts the head's centre on the camera's ray at its distance."""
    transforms = head.joint_transforms(
        torch.as_tensor(identity, dtype=torch.float32),
        torch.as_tensor(camera.rotations, dtype=torch.float32),
        torch.zeros(3),
    ).numpy()
    centre = transforms[1, :3, :3] @ np.array([0.0, 0.03, 0.03]) + transforms[1, :3, 3]
    return camera.direction * camera.distance - centre


def window(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and side of the square around iBUG points (68,2) in normalised coordinates."""
    low, high = points.min(axis=0), points.max(axis=0)
    return 0.5 * (low + high), float((high - low).max()) * ROI_SCALE


class FaceGenerator:
    """Draws one random crop after the other."""

    _last: FaceState

    def __init__(self, settings: GenerateSettings, seed: int) -> None:
        self.settings = settings
        self.renderer = FaceRenderer(
            settings.assets, settings.base, settings.image_size, settings.skins
        )
        self.begin(seed)
        self.scanned = (
            None
            if settings.scanned is None
            else ScannedHeads.load(
                settings.scanned, self.renderer.head, self.renderer.makehuman_vertex
            )
        )

    @property
    def fields(self) -> Mapping[str, tuple[tuple[int, ...], object]]:
        """Of a sample, beside the standard ones."""
        if self.scanned is None:
            return TRUTH_FIELDS
        offset = ((self.renderer.head.n_vertices, 3), np.float16)
        return {
            **TRUTH_FIELDS, "scanned_camera": TRUTH_FIELDS["camera"], "scanned_offset": offset,
        }  # fmt: skip

    @property
    def image_size(self) -> int:
        """Pixels of the square images."""
        return self.settings.image_size

    def begin(self, seed: int) -> None:
        """Start the random sequence of a number, as of a shard."""
        self.rng = np.random.default_rng([self.settings.seed, seed])
        self._torch = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        self._views_left = 0

    def samples(self) -> Iterator[dict[str, np.ndarray | float | int]]:
        """Samples without end."""
        while True:
            yield self.sample()

    def background(self) -> np.ndarray:
        """(S,S,3) u8: a random cut of a photograph or of an environment."""
        library, rng, size = self.renderer.library, self.rng, self.settings.image_size
        if rng.random() < 0.3:
            return make_background(rng, size, size)
        pictures = [*library.backgrounds, *(e.background for e in library.environments)]
        number = int(rng.integers(len(pictures)))
        image = pictures[number].decode(512)[..., :3]
        side = int(min(image.shape[:2]) * rng.uniform(0.3, 1.0))
        y = int(rng.integers(image.shape[0] - side + 1))
        x = int(rng.integers(image.shape[1] - side + 1))
        out = cv2.resize(
            image[y : y + side, x : x + side], (size, size), interpolation=cv2.INTER_AREA
        )
        if rng.random() < 0.5:
            out = out[:, ::-1]
        if rng.random() < 0.6:  # out of focus behind the face
            out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 5.0))
        gain = rng.uniform(0.4, 1.3)
        return np.clip(out.astype(np.float32) * gain, 0, 255).astype(np.uint8)

    def state(self) -> tuple[FaceState, sampling.Camera]:
        """A random face, or the last one again, somewhere in front of the camera."""
        rng, head = self.rng, self.renderer.head
        if self._views_left > 0:
            self._views_left -= 1
            last = self._last
            camera = sampling.sample_camera(rng)[0]
            camera.rotations[2:] = last.rotations[2:]
            translation = neutral_translation(head, camera, last.identity)
            return replace(last, rotations=camera.rotations, translation=translation), camera
        self._views_left = self.settings.views - 1
        offset: np.ndarray | None = None
        if self.scanned is None:
            identity = head.identity_prior.sample(1, self._torch)[0].numpy()
        else:
            person = self.scanned.sample(rng)
            identity, offset = person.identity, person.offset
        camera, gaze_yaw, gaze_pitch = sampling.sample_camera(rng)
        expression = sampling.sample_expression(rng)
        expression = sampling.lids_follow_gaze(expression, gaze_yaw, gaze_pitch)
        translation = neutral_translation(head, camera, identity)
        self._last = FaceState(identity, expression, camera.rotations, translation, offset)
        return self._last, camera

    def sample(self) -> dict[str, np.ndarray | float | int]:
        """One sample in the shard's fields."""
        rng = self.rng
        background = self.background()
        if rng.random() < self.settings.background_share:
            zero = np.zeros((703, 2), np.float32)
            return self._row(
                background, Labels(zero, zero[:17], np.zeros(703, bool), zero), None, 0
            )
        state, _ = self.state()
        posed, _, _ = self.renderer.place(state)
        lay = self.renderer.landmarks
        points = (posed[lay.vertices[:68]] * lay.barycentric[:68, :, None]).sum(1)
        centre, side = window(points[:, :2] / points[:, 2:])
        shift, side = self._framing(side)
        centre = centre + shift
        size = self.settings.image_size
        focal = size / side
        camera = (focal, *((size - 1) / 2 - focal * centre))
        environments = self.renderer.library.environments
        environment = environments[rng.integers(len(environments))]
        light = sampling.sample_light(environment.sh, IRRADIANCE_BAND, rng)
        wardrobe = dress(self.renderer.library, self.renderer.skins, rng)
        image, labels = self.renderer.render(state, wardrobe, camera, light)
        alpha = image[..., 3:].astype(np.float32) / 255.0
        out = image[..., :3] * alpha + background * (1.0 - alpha)
        real = wardrobe.skin >= self.renderer.skins.n_synthetic
        return self._row(out.astype(np.uint8), labels, (state, camera), int(real))

    def _framing(self, face: float) -> tuple[np.ndarray, float]:
        """Shift (2,) of the image's centre and its side, from the side of the face's region."""
        rng = self.rng
        if self.settings.farthest is None:
            side = face * LOOSENESS * rng.uniform(0.93, 1.12)
            return rng.uniform(-0.04, 0.04, 2) * side, side
        # The region may leave the frame by a quarter, as faces at the border do.
        side = face * float(np.exp(rng.uniform(np.log(0.9), np.log(self.settings.farthest))))
        reach = max(0.5 * (side - face), 0.0) + 0.12 * face
        return rng.uniform(-reach, reach, 2), side

    def _row(self, image, labels, truth, kind) -> dict[str, np.ndarray | float | int]:  # type: ignore[no-untyped-def]
        camera, coefficients = np.zeros(20, np.float32), np.zeros(152, np.float32)
        scan: dict[str, np.ndarray | float | int] = {}
        if truth is not None:
            state, k = truth
            camera[:3], camera[3:15], camera[15:18] = k, state.rotations.ravel(), state.translation
            coefficients[:] = np.concatenate([state.identity, state.expression])
        if self.scanned is not None:
            # The coefficients are not the whole truth: who knows of the offset looks here.
            offset = np.zeros(self.fields["scanned_offset"][0], np.float16)
            scan = {
                "scanned_camera": camera.copy(),
                "scanned_offset": offset if truth is None else truth[0].offset,
            }
            camera[:] = 0.0
        return {
            "images": image, "landmarks": labels.landmarks_2d, "contour": labels.contour_2d,
            "visible": labels.visible, "has_face": int(truth is not None), "kind": kind,
            "weight": 1.0,
            "camera": camera, "coefficients": coefficients, **scan,
        }  # fmt: skip


def generate(settings: GenerateSettings, worker: int = 0) -> None:
    """Render until ``count`` images are in shards; a second process takes another worker number."""
    generator = FaceGenerator(settings, worker)
    writer = ShardWriter(settings.out, settings.shard_size, settings.image_size, generator.fields)
    for _ in tqdm(range(settings.count), desc="render", unit="image", smoothing=0.05):
        writer.add(**generator.sample())
    writer.close()
