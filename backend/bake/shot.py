"""The bake of a whole shot: what covers the head in each frame, the texture, and the light."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.bake.align import RegisterSettings
from backend.bake.color import linear_to_srgb8
from backend.bake.cover import CoverSettings
from backend.bake.frames import select_frames, spread_frames, viewing_directions
from backend.bake.head_view import OFFSET, gain_at
from backend.bake.lighting import Lighting, albedo_of, estimate_lighting
from backend.bake.openings import Openings, openings_of
from backend.bake.part_weights import PartWeights, part_weights
from backend.bake.parts import vertices_in
from backend.bake.register import Registration, Shift
from backend.bake.shot_cover import ShotCover, SigmaPrior
from backend.bake.steady import steady_in_time
from backend.bake.texture import TextureBaker
from backend.bake.texture_settings import TextureSettings
from backend.bake.visibility import VISIBLE
from backend.geometry.rasterizer import to_pixels
from backend.head import Head
from backend.head.landmarks import layout

CLEAR = 0.01
"""Share of the face that may be covered in a frame that is merged without need."""
ALONE = np.radians(8)
"""A view is one of its own where no clear frame looks from within this angle."""

FIRST_HARMONIC = 0.282095
"""The constant one of `sh_basis`."""

MAX_FRAMES = 32
"""Frames that the skin's texture is merged from; eyes and mouth add up to twelve."""


class Picture(Protocol):
    """A frame of footage."""

    @property
    def index(self) -> int:
        """Its number in the clip."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) sRGB."""

    @property
    def corrupt(self) -> bool:
        """Whether the picture may be wrong."""


@dataclass(frozen=True)
class PosedShot:
    """The posed head in F frames and what was detected there."""

    frame_index: NDArray[np.int64]
    """(F,) numbers of the frames in the clip, ascending."""
    vertices: NDArray[np.float32]
    """(F, N, 3) metres, camera frame."""
    visibility: NDArray[np.float32]
    """(F, N) 0 to 1: what the head itself and the image's border leave."""
    K: NDArray[np.float64]
    """(F, 3, 3) pixels."""
    head_pose: NDArray[np.float32]
    """(F, 4, 4) T_camera_head."""
    expression: NDArray[np.float32]
    """(F, E)."""
    found: NDArray[np.bool_]
    """(F,)."""
    rest_vertices: NDArray[np.float32]
    """(N, 3) the neutral face, metres."""
    landmarks_2d: NDArray[np.float32] | None = None
    """(F, L, 2) pixels of the layout `dense320`, nan where no face was found."""
    landmark_sigma: NDArray[np.float32] | None = None
    """(F, L) pixels."""

    @property
    def n_frames(self) -> int:
        """F."""
        return len(self.frame_index)

    @property
    def number_of(self) -> dict[int, int]:
        """Which of the F frames a frame of the clip is, by its number."""
        return {int(index): number for number, index in enumerate(self.frame_index)}


@dataclass(frozen=True)
class BakeSettings:
    """How a shot is baked."""

    texture_size: int = 2048
    """Side of the texture; 0 for visibility alone."""
    cover: CoverSettings = field(default_factory=CoverSettings)
    """How what covers the head is found."""
    texture: TextureSettings = field(default_factory=TextureSettings)
    """How frames are weighed and merged."""
    max_frames: int = MAX_FRAMES
    """Frames that the skin is merged from."""
    register: RegisterSettings | None = field(default_factory=RegisterSettings)
    """How these are laid over each other; None takes the mesh as exact."""


@dataclass(frozen=True)
class BakedShot:
    """What a bake gives."""

    visibility: NDArray[np.float32]
    """(F, N) 0 to 1: the head, the border and what covers it taken together."""
    covered: NDArray[np.float32]
    """(F, N) 0 to 1: by something that is not the head."""
    gains: NDArray[np.float32]
    """(F, 9, 3) change of light against the shot's usual (`fit_gain`)."""
    texture: NDArray[np.uint8] | None
    """(S, S, 4) sRGB and alpha."""
    color: Tensor | None
    """(S, S, 3) the same colours in linear light, not rounded."""
    albedo: Tensor | None
    """(S, S, 3) in linear light: the texture without the shot's low-frequency shading."""
    lighting: Lighting | None
    """The shot's light."""
    measured_fraction: float
    """Share of the head's texels that were seen."""
    merged: NDArray[np.int64]
    """(m,) which of the F frames were merged."""


def bake_shot(
    frames: Callable[[], Iterable[Picture]],
    head: Head,
    shot: PosedShot,
    settings: BakeSettings | None = None,
    progress: Callable[[str, float], None] = lambda stage, fraction: None,
) -> BakedShot:
    """Bake a shot in four passes over its footage, each with one picture in memory.

    frames: starts the footage from its first frame. The first pass learns the usual look from
    some frames, the second judges every frame against it, the third lays those that show most over
    each other, the fourth merges the texture from them. progress: told the stage ("cover",
    "texture") and how far it is.
    """
    return bake_cameras([(frames, shot)], head, settings, progress)[0]


def bake_cameras(
    sources: Sequence[tuple[Callable[[], Iterable[Picture]], PosedShot]],
    head: Head,
    settings: BakeSettings | None = None,
    progress: Callable[[str, float], None] = lambda stage, fraction: None,
) -> list[BakedShot]:
    """Bake what several cameras, or several shots, show of one person; see `bake_shot`.

    Each is judged by itself. One texture is merged from all of them, in the colours of the first,
    and every result has it.
    """
    settings = settings or BakeSettings()
    judged = []
    for number, (frames, shot) in enumerate(sources):

        def tell(fraction: float, done: int = number) -> None:
            progress("cover", (done + fraction) / len(sources))

        judged.append(_judge(frames, head, shot, settings, tell))
    if settings.texture_size == 0:
        return [one.without_texture() for one in judged]
    for one in judged[1:]:
        one.gains[:, 0] += _other_colors(judged[0].cover, one.cover) / FIRST_HARMONIC

    baker = TextureBaker(head, settings.texture_size, settings.texture)
    most = max(8, settings.max_frames // len(judged))
    chosen = [one.choose(head, most) for one in judged]
    shifts: dict[tuple[int, int], Shift] = {}
    if settings.register is not None:
        registration: Registration[tuple[int, int]] = Registration(head, settings.register)
        for camera, number, image in _all_pictures(judged, chosen):
            one = judged[camera]
            registration.look(
                (camera, number),
                image,
                torch.from_numpy(one.shot.vertices[number]),
                torch.from_numpy(one.shot.K[number]).float(),
                torch.from_numpy(one.visibility[number]),
                torch.from_numpy(one.gains[number]),
                _openings(one.shot, number),
            )
        shifts = registration.solve()
    total = sum(len(numbers) for numbers in chosen) + 1
    for done, (camera, number, image) in enumerate(_all_pictures(judged, chosen)):
        one = judged[camera]
        baker.add(
            image,
            one.shot.vertices[number],
            one.shot.K[number],
            weight=float(one.weights.frame[number]),
            visible=1 - one.covered[number],
            emphasis=one.weights.of_vertices(number, head.regions, head.n_vertices),
            gain=torch.from_numpy(one.gains[number]),
            shift=shifts.get((camera, number)),
            openings=_openings(one.shot, number),
        )
        progress("texture", (done + 1) / total)
    color, alpha = baker.linear_result()
    texture = torch.cat((linear_to_srgb8(color), alpha[..., None]), -1).numpy()
    lighting = _lighting(head, judged[0].cover)
    albedo = None if lighting is None else albedo_of(color, lighting, baker.outer)
    progress("texture", 1.0)
    return [
        BakedShot(
            one.visibility,
            one.covered,
            one.gains,
            texture,
            color,
            albedo,
            lighting,
            baker.measured_fraction,
            np.array(sorted(numbers), np.int64),
        )
        for one, numbers in zip(judged, chosen, strict=True)
    ]


@dataclass
class _Judged:
    """What is known of one camera's shot before the texture."""

    frames: Callable[[], Iterable[Picture]]
    shot: PosedShot
    cover: ShotCover
    covered: NDArray[np.float32]  # (F, N)
    visibility: NDArray[np.float32]  # (F, N)
    gains: NDArray[np.float32]  # (F, 9, 3)
    weights: PartWeights

    def choose(self, head: Head, most: int) -> set[int]:
        """Numbers of the frames to merge."""
        return set(choose_frames(head, self.shot, self.weights, self.covered, most).tolist())

    def without_texture(self) -> BakedShot:
        """The result where none was asked for."""
        none = np.zeros(0, np.int64)
        return BakedShot(
            self.visibility, self.covered, self.gains, None, None, None, None, 0.0, none
        )


def _judge(
    frames: Callable[[], Iterable[Picture]],
    head: Head,
    shot: PosedShot,
    settings: BakeSettings,
    progress: Callable[[float], None],
) -> _Judged:
    """Learn a shot's usual look and find what covers the head in every frame."""
    number_of = shot.number_of
    cover = ShotCover(head, settings.cover)
    prior = _sigma_prior(head, shot)
    device = cover.device
    vertices, K = torch.from_numpy(shot.vertices), torch.from_numpy(shot.K).float()

    def arguments(number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        evidence = None if prior is None else prior(number).to(device)
        return vertices[number].to(device), K[number].to(device), evidence

    keys = set(spread_frames(shot.head_pose, shot.found, settings.cover.key_frames).tolist())
    for number, image in _pictures(frames(), number_of, keys):
        posed, own_K, evidence = arguments(number)
        seen = torch.from_numpy(shot.visibility[number]).to(device)
        cover.learn(image, posed, own_K, seen, evidence)
    cover.solve()

    covered = np.zeros(shot.visibility.shape, np.float32)
    gains = np.zeros((shot.n_frames, 9, 3), np.float32)
    wanted = set(np.flatnonzero(shot.found).tolist())
    for done, (number, image) in enumerate(_pictures(frames(), number_of, wanted)):
        found, gain = cover.judge(image, *arguments(number))
        covered[number], gains[number] = found.cpu().numpy(), gain.cpu().numpy()
        progress((done + 1) / len(wanted))
    covered = steady_in_time(covered, shot.rest_vertices, cover.faces.cpu().numpy())
    visibility = shot.visibility * (1 - covered)
    return _Judged(frames, shot, cover, covered, visibility, gains, _part_weights(head, shot))


def _other_colors(first: ShotCover, other: ShotCover) -> NDArray[np.float32]:
    """Log of the ratio of another camera's colours to the first one's, (3,)."""
    if first.consensus is None or other.consensus is None:
        return np.zeros(3, np.float32)
    both = (first.consensus.trust > 0.3) & (other.consensus.trust > 0.3)
    if int(both.sum()) < 50:
        return np.zeros(3, np.float32)
    looks = [c.color[both] / c.trust[both][:, None] for c in (first.consensus, other.consensus)]
    ratio = torch.log((looks[1] + OFFSET) / (looks[0] + OFFSET))
    median: NDArray[np.float32] = ratio.median(0).values.cpu().numpy()
    return median


def _all_pictures(
    judged: list[_Judged], chosen: list[set[int]]
) -> Iterable[tuple[int, int, NDArray[np.uint8]]]:
    for camera, (one, numbers) in enumerate(zip(judged, chosen, strict=True)):
        for number, image in _pictures(one.frames(), one.shot.number_of, numbers):
            yield camera, number, image


def choose_frames(
    head: Head,
    shot: PosedShot,
    weights: PartWeights,
    covered: NDArray[np.float32],
    max_frames: int,
) -> NDArray[np.int64]:
    """Frames to merge: spread over the views, and the best ones for eyes and mouth."""
    usable = shot.found.copy()
    if usable.any():
        burden = covered[:, head.regions["face"]].mean(1)
        clear = usable & (burden <= CLEAR) & (weights.frame >= 0.5 * weights.frame[usable].max())
        if clear.sum() >= 8:
            # Frames in which something covers the face, or all is blurred, serve only for views
            # that no better frame shows: what covers is never found to the last pixel.
            views = viewing_directions(np.asarray(shot.head_pose, np.float64))
            nearest = (views @ views[clear].T).max(1)
            usable &= clear | (nearest < np.cos(ALONE))
    chosen = select_frames(
        shot.head_pose, usable, max_frames, shot.expression, head.expression_names
    )
    picked = [chosen]
    for score in (*weights.eyes.values(), weights.mouth):
        # Ties are broken by how still the head is and how directly it is looked at.
        value = np.where(usable, score * weights.frame, -1.0)
        order = np.argsort(-value, kind="stable")
        best = order[: max(8, len(order) // 10)]
        picked.append(np.sort(best[value[best] > 0])[:: max(1, len(best) // 4)][:4])
    return np.unique(np.concatenate(picked)).astype(np.int64)


def _pictures(
    frames: Iterable[Picture], number_of: dict[int, int], wanted: set[int]
) -> Iterable[tuple[int, NDArray[np.uint8]]]:
    left = len(wanted)
    for frame in frames:
        if left == 0:
            return
        number = number_of.get(frame.index)
        if number is None or number not in wanted:
            continue
        left -= 1
        if not frame.corrupt:
            yield number, frame.image


def _sigma_prior(head: Head, shot: PosedShot) -> SigmaPrior | None:
    if shot.landmark_sigma is None or shot.landmarks_2d is None:
        return None
    points = layout("dense320")
    if shot.landmark_sigma.shape[1] != len(points):
        return None
    rest = torch.from_numpy(shot.rest_vertices)
    with np.errstate(invalid="ignore"):
        size = np.ptp(shot.landmarks_2d[:, :68], axis=1).max(-1)
    return SigmaPrior(shot.landmark_sigma, size, head.landmarks(rest, points), rest)


def _openings(shot: PosedShot, number: int) -> Openings | None:
    return None if shot.landmarks_2d is None else openings_of(shot.landmarks_2d[number])


def _part_weights(head: Head, shot: PosedShot) -> PartWeights:
    some = np.asarray(head.regions["face"])[::20]
    points = torch.from_numpy(shot.vertices[:, some])
    pixels = to_pixels(points, torch.from_numpy(shot.K).float())[..., :2].numpy()
    return part_weights(shot.landmarks_2d, pixels, shot.expression, tuple(head.expression_names))


def _lighting(head: Head, cover: ShotCover) -> Lighting | None:
    """The shot's light from the frames that its usual look was learnt from."""
    if not cover.keys or cover.consensus is None:
        return None
    builder = cover.builder
    normals = torch.stack([normal.float() for normal in builder.normals], 1)
    weights = torch.stack([trust.float() for trust in builder.trusts], 1)
    weights = weights * (torch.stack(cover.key_covered, 1) < VISIBLE)
    gains = torch.stack([gain_at(gain, normals[:, k]) for k, gain in enumerate(cover.key_gains)], 1)
    face = vertices_in(head.regions, ("face",), head.n_vertices, cover.device)
    rims = ("lips", "lids.L", "lids.R")
    skin = face & ~vertices_in(head.regions, rims, head.n_vertices, cover.device)
    is_skin = skin[cover.faces].all(1)[builder.texels.triangle].cpu()
    colors = torch.stack([color.float() for color in builder.colors], 1).cpu()
    position, size = builder.texels.position.cpu(), builder.texels.size
    return estimate_lighting(
        colors, normals.cpu(), weights.cpu(), gains.cpu(), is_skin, position, size
    )
