"""Portraits in other poses and expressions with exact labels, as shards.

    python -m backend.train.portraits_warp --portraits DIR --landmarks NPZ --work LIBRARY \
        --assets NPZ --base NPZ --out DIR --count N --seed S

After 300W-LP (Zhu et al. 2016): the fitted mesh wears the portrait's own pixels, and a grid with
pseudo depth carries hair, neck and background along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from backend.errors import BadInputError
from shared.arkit import EXPRESSION_NAMES

from . import sampling
from .generate import LOOSENESS, TRUTH_FIELDS, neutral_translation, window
from .gl_scene import Surface
from .portraits import load_fits, load_portraits
from .portraits_crops import CROP, CropMaker
from .renderer import MOUTH_OPENERS, FaceRenderer, FaceState
from .shards import KIND_WARP, ShardWriter
from .warp_scene import WarpRenderer
from .warp_source import SourceMaker, WarpSource, moved_grid

_EYE = np.array([n.startswith("eye") for n in EXPRESSION_NAMES])
_MOUTH = np.array([n.startswith(("mouth", "jaw", "tongue", "cheekPuff")) for n in EXPRESSION_NAMES])
_OPENERS = [EXPRESSION_NAMES.index(n) for n in MOUTH_OPENERS]


@dataclass(frozen=True)
class WarpSettings:
    """Render portraits in other poses and expressions into shards."""

    portraits: Path
    """Folder of pictures."""
    landmarks: Path
    """FaceMesh's points of the pictures, see ``backend.train.portraits``."""
    work: Path
    """Library by ``python -m backend.train.portraits``: fits.npz, skins.npz."""
    assets: Path
    """Asset library, by ``python -m backend.train.assets_build``."""
    base: Path
    """Training base, by ``python -m backend.head.build --training-base``."""
    out: Path
    """Folder of the shards."""
    count: int = 20_000
    """Images to render."""
    seed: int = 0
    """Another seed, other images; several processes may fill one folder."""
    per_portrait: int = 8
    """Images of a portrait before the next one's turn."""
    shard_size: int = 512
    """Images a shard."""
    identity_spread: float = 0.25
    """Share of the prior's deviation from its mean that is added to the fitted identity."""


@dataclass(frozen=True)
class Change:
    """What a rendered state takes from the portrait and what is new."""

    state: FaceState
    own_eyes: bool
    own_mouth: bool


class PortraitWarper:
    """Draws one warped portrait after the other."""

    def __init__(self, settings: WarpSettings) -> None:
        self.settings = settings
        self.begin(77)
        self.renderer = FaceRenderer(settings.assets, settings.base, CROP)
        head = self.renderer.head
        names, self.fits, found = load_fits(settings.work / "fits.npz")
        self.portraits = load_portraits(settings.portraits, settings.landmarks, only=names)
        if names != self.portraits.names:
            raise BadInputError(f"{settings.work}: fits.npz belongs to other portraits")
        self.crops = CropMaker(head, found)
        self.maker = SourceMaker(head, self.crops)
        self.canvas = WarpRenderer(self.renderer, self.maker)
        with np.load(settings.work / "skins.npz") as data:
            starts, blob = data["offsets"], data["jpeg"]
            parts = [blob[a:b] for a, b in pairwise(starts)]
            self._skins = dict(zip((str(n) for n in data["names"]), parts, strict=True))

    @property
    def fields(self) -> Mapping[str, tuple[tuple[int, ...], object]]:
        """Of a sample, beside the standard ones."""
        return TRUTH_FIELDS

    @property
    def image_size(self) -> int:
        """Pixels of the square images."""
        return CROP

    def begin(self, seed: int) -> None:
        """Start the random sequence of a number, as of a shard."""
        self.rng = np.random.default_rng([self.settings.seed, seed])
        self._torch = torch.Generator().manual_seed(int(self.rng.integers(2**31)))

    def source(self, number: int) -> WarpSource | None:
        """The portrait of a number, ready to be drawn; None where its fit is bad."""
        encoded = self._skins.get(self.portraits.names[number])
        skin = None
        if encoded is not None:
            skin = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        mirrored = self.rng.random() < 0.5
        return self.maker.make(
            self.portraits.image(number), self.fits, number, self.portraits.landmarks[number], skin,
            cv2.BORDER_REFLECT_101 if mirrored else cv2.BORDER_REPLICATE,
        )  # fmt: skip

    def change(self, source: WarpSource) -> Change:
        """A new state for a portrait, milder where no skin completes it."""
        rng, head = self.rng, self.renderer.head
        plain = source.skin is None
        own_eyes = plain or rng.random() < 0.45
        own_mouth = rng.random() < (0.7 if plain else 0.4)
        identity, old = source.coefficients[:100], source.coefficients[100:]
        fresh = head.identity_prior.sample(2, self._torch).numpy()
        spread = self.settings.identity_spread * rng.random() / np.sqrt(2)
        identity = identity + spread * (fresh[0] - fresh[1])
        before = Rotation.from_rotvec(source.rotations[0]).as_matrix()
        yaw = rng.normal(0, 12) if plain or rng.random() < 0.5 else rng.uniform(-45, 45)
        if plain:
            yaw = np.clip(yaw, -20, 20)
        forward = before[:, 2]  # the head's back, so that its face looks along -forward
        old_yaw = np.degrees(np.arctan2(forward[0], forward[2]))
        yaw = float(np.clip(old_yaw + yaw, -80, 80) - old_yaw)
        pitch = float(np.clip(rng.normal(0, 9 if not plain else 5), -25, 25))
        roll = float(np.clip(rng.normal(0, 9), -30, 30))
        # The neck takes its part of the turn.
        share = rng.uniform(0.3, 0.9)
        turn = np.radians([yaw, pitch, roll])
        world = sampling.euler_to_rotmat(*turn)
        root = sampling.euler_to_rotmat(*(turn * (1 - share))) @ before
        rotations = source.rotations.copy()
        rotations[0] = sampling.rotmat_to_rotvec(root)
        rotations[1] = sampling.rotmat_to_rotvec(root.T @ world @ before)
        expression = self._expression(old, own_eyes, own_mouth)
        if not own_eyes:
            gaze_yaw = float(np.clip(np.radians(rng.normal(-0.25 * yaw, 12)), -0.6, 0.6))
            gaze_pitch = float(np.clip(np.radians(rng.normal(0, 8)), -0.4, 0.45))
            rotations[2:] = sampling.gaze_rotations(gaze_yaw, gaze_pitch, 0.02)
            expression = sampling.lids_follow_gaze(expression, gaze_yaw, gaze_pitch)
        distance = float(np.linalg.norm(source.translation))
        if rng.random() < 0.6:
            distance *= float(rng.lognormal(0, 0.12))
        else:
            distance = float(np.exp(rng.uniform(np.log(0.35), np.log(3.0))))
        ray = source.translation / source.translation[2]
        ray = np.array([*(ray[:2] + rng.normal(0, 0.06, 2)), 1.0])
        camera = sampling.Camera(rotations, ray / np.linalg.norm(ray), distance)
        translation = neutral_translation(head, camera, identity)
        state = FaceState(identity.astype(np.float32), expression, rotations, translation)
        return Change(state, own_eyes, own_mouth)

    def _expression(self, old: np.ndarray, own_eyes: bool, own_mouth: bool) -> np.ndarray:
        """(52,) the fitted expression with a random one in the parts that may change."""
        rng = self.rng
        fresh = sampling.sample_expression(rng)
        out = old.astype(np.float64).copy()
        rest = ~_EYE & ~_MOUTH
        out[rest] += rng.uniform(0.2, 1.0) * (fresh[rest] - out[rest])
        if not own_eyes:
            out[_EYE] = fresh[_EYE]
        if not own_mouth:
            out[_MOUTH] += rng.uniform(0.5, 1.0) * (fresh[_MOUTH] - out[_MOUTH])
        return np.clip(out, 0, 1)

    def _items(self, change: Change) -> tuple[tuple[str, int, Surface], ...]:
        """Assets that fill the apertures which the portrait does not."""
        rng, library = self.rng, self.renderer.library
        wanted: list[tuple[str, Surface]] = []
        if not change.own_eyes:
            grey = float(rng.uniform(0.5, 0.9))
            wanted.append(("eyes", Surface(float(rng.uniform(1, 4)), 120.0, alpha_cut=0.3,
                                           tint=(grey, grey, grey))))  # fmt: skip
        opened = change.state.expression[_OPENERS].sum() >= 0.05
        if not change.own_mouth and opened:
            grey = float(rng.uniform(0.5, 0.9))
            wanted.append(("teeth", Surface(0.5, 30.0, alpha_cut=0.3, tint=(grey, grey, grey))))
            wanted.append(("tongue", Surface(0.5, alpha_cut=0.3, tint=(0.7, 0.55, 0.55))))
        if not change.own_eyes and rng.random() < 0.35:
            wanted.append(("eyelashes", Surface(0.0, alpha_cut=0.06, opacity=0.6,
                                                tint=(0.3, 0.3, 0.3))))  # fmt: skip
        items = []
        for category, surface in wanted:
            choice = library.of(category)
            if choice:
                asset = choice[rng.integers(len(choice))]
                number = int(rng.integers(max(len(asset.textures), 1)))
                items.append((asset.name, number, surface))
        return tuple(items)

    def sample(self, source: WarpSource) -> dict[str, np.ndarray | float | int]:
        """One sample in the shard's fields, of the source that the canvas uses."""
        rng, head = self.rng, self.renderer.head
        change = self.change(source)
        state = change.state
        posed, base, after = self.renderer.place(state)
        before = head.joint_transforms(
            torch.from_numpy(source.coefficients[:100]),
            torch.from_numpy(source.rotations).float(),
            torch.from_numpy(source.translation).float(),
        ).double().numpy()  # fmt: skip
        centre = np.array([0.0, 0.03, 0.03, 1.0])
        shift = ((after[1] - before[1]) @ centre)[:3]
        grid = moved_grid(source, posed, before, after.astype(np.float64), shift)
        points = self.crops.points(posed)[:68]
        middle, side = window(points[:, :2] / points[:, 2:])
        side = side * LOOSENESS * rng.uniform(0.93, 1.12)
        middle = middle + rng.uniform(-0.04, 0.04, 2) * side
        focal = CROP / side
        camera = (focal, *((CROP - 1) / 2 - focal * middle))
        image, labels = self.canvas.render(
            posed, base, after, grid, camera, change.own_eyes, change.own_mouth,
            self._items(change),
        )  # fmt: skip
        packed = np.zeros(20, np.float32)
        packed[:3], packed[3:15], packed[15:18] = camera, state.rotations.ravel(), state.translation
        return {
            "images": image, "landmarks": labels.landmarks_2d, "contour": labels.contour_2d,
            "visible": labels.visible, "valid": self.crops.trusted, "weight": source.weight,
            "kind": KIND_WARP, "camera": packed,
            "coefficients": np.concatenate([state.identity, state.expression]),
        }  # fmt: skip

    def samples(self) -> Iterator[dict[str, np.ndarray | float | int]]:
        """Samples without end, a few of each portrait in random order."""
        found = True
        while found:
            found = False
            for number in self.rng.permutation(len(self.portraits)):
                source = self.source(int(number))
                if source is None:
                    continue
                found = True
                self.canvas.use(source)
                for _ in range(self.settings.per_portrait):
                    yield self.sample(source)
        raise BadInputError("no portrait is fitted well enough")


def main(settings: WarpSettings) -> None:
    """Render until ``count`` images are in shards."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    warper = PortraitWarper(settings)
    writer = ShardWriter(settings.out, settings.shard_size, CROP, warper.fields)
    samples = warper.samples()
    for _ in tqdm(range(settings.count), desc="warp", unit="image", mininterval=5):
        writer.add(**next(samples))
    writer.close()


if __name__ == "__main__":
    main(tyro.cli(WarpSettings))
