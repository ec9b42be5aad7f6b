"""Rendered performances: clips of one head whose shape, motion and camera are known."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from backend.atomic import atomic_path

from . import sampling
from .assets import IRRADIANCE_BAND
from .dress import dress
from .procedural import make_background
from .renderer import FaceRenderer, FaceState

# Seconds between the keys of a performance.
EXPRESSION_KEY_S = 0.55
HEAD_KEY_S = 0.9
BLINK_EVERY_S = 2.2
BLINK_S = 0.28


@dataclass(frozen=True)
class Performance:
    """Coefficients of F frames, smooth in time."""

    identity: np.ndarray
    """(100,)"""
    expression: np.ndarray
    """(F,52)"""
    rotations: np.ndarray
    """(F,4,3) rotation vectors."""
    translation: np.ndarray
    """(F,3) metres."""
    focal_px: float
    image_size: tuple[int, int]
    """Width, height."""
    frame_rate: Fraction


@dataclass(frozen=True)
class PerformanceSettings:
    """Render a clip whose truth is known."""

    assets: Path
    """Asset library, by ``python -m backend.train.assets_build``."""
    base: Path
    """Training base, by ``python -m backend.head.build --training-base``."""
    output: Path
    """The clip (.mp4); the truth is written beside it as NAME_truth.npz."""
    seconds: float = 2.4
    """Length of the clip."""
    frame_rate: int = 25
    """Frames a second."""
    width: int = 640
    """Pixels."""
    height: int = 480
    """Pixels."""
    field_of_view_deg: float = 38.0
    """Horizontal field of view of the camera."""
    distance: float = 0.62
    """Mean distance of the head from the camera, metres."""
    turn_deg: float = 22.0
    """How far the head turns to either side."""
    skins: Path | None = None
    """Real skins, by ``python -m backend.train.portraits``."""
    seed: int = 3
    """Another seed is another person, dress, light and motion."""


def _keys(rng: np.random.Generator, seconds: float, step: float, draw) -> CubicSpline:  # type: ignore[no-untyped-def]
    times = np.arange(-step, seconds + 2 * step, step)
    return CubicSpline(times, np.stack([draw(i) for i in range(len(times))]))


def perform(settings: PerformanceSettings, renderer: FaceRenderer) -> Performance:
    """Random smooth acting: expressions, blinks, gaze and head motion over the clip."""
    rng = np.random.default_rng(settings.seed)
    frames = round(settings.seconds * settings.frame_rate)
    t = np.arange(frames) / settings.frame_rate
    generator = torch.Generator().manual_seed(settings.seed)
    identity = renderer.head.identity_prior.sample(1, generator)[0].numpy() * 0.8
    calm = np.zeros(52)
    acted = _keys(
        rng, settings.seconds, EXPRESSION_KEY_S,
        lambda i: calm if i % 4 == 0 else sampling.sample_expression(rng) * rng.uniform(0.5, 1.0),
    )  # fmt: skip
    expression = np.clip(acted(t), 0, 1)
    names = renderer.head.expression_names
    lids = [names.index("eyeBlinkLeft"), names.index("eyeBlinkRight")]
    looks = [i for i, name in enumerate(names) if name.startswith("eyeLook")]
    expression[:, lids] = 0
    blink_times = np.arange(rng.uniform(0.4, 0.9), settings.seconds, BLINK_EVERY_S)
    for centre in blink_times:
        pulse = np.exp(-0.5 * ((t - centre) / (BLINK_S / 3.0)) ** 2)
        expression[:, lids] = np.maximum(expression[:, lids], pulse[:, None])
    expression[:, looks] = 0
    sway = np.radians([0.35 * settings.turn_deg, settings.turn_deg, 0.25 * settings.turn_deg])
    head = _keys(
        rng, settings.seconds, HEAD_KEY_S,
        lambda i: sway * rng.uniform(0.4, 1.0, 3) * np.array([1, (-1) ** i, 1])
        * rng.choice([-1, 1], 3) ** np.array([1, 2, 1]),
    )(t)  # fmt: skip
    drift = _keys(rng, settings.seconds, HEAD_KEY_S, lambda i: rng.normal(0, [0.015, 0.01, 0.02]))(
        t
    )
    gaze = _keys(rng, settings.seconds, EXPRESSION_KEY_S, lambda i: rng.normal(0, [0.15, 0.08]))(t)
    gaze = gaussian_filter1d(gaze, 1.0, axis=0)
    rotations = np.zeros((frames, 4, 3))
    translation = np.zeros((frames, 3))
    vergence = float(np.arctan2(0.031, settings.distance))
    for f in range(frames):
        nod, turn, roll = head[f]
        yaw, pitch = np.clip(gaze[f, 0] - 0.5 * turn, -0.5, 0.5), np.clip(gaze[f, 1], -0.3, 0.35)
        total = sampling.euler_to_rotmat(turn, nod, roll)
        neck = sampling.euler_to_rotmat(0.35 * turn, 0.3 * nod, 0.3 * roll)
        rotations[f, 0] = sampling.rotmat_to_rotvec(neck)
        rotations[f, 1] = sampling.rotmat_to_rotvec(neck.T @ total)
        rotations[f, 2:] = sampling.gaze_rotations(yaw, pitch, vergence)
        expression[f] = sampling.lids_follow_gaze(expression[f], yaw, pitch)
        translation[f] = drift[f] + np.array([0.0, 0.02, settings.distance])
    focal = 0.5 * settings.width / np.tan(np.radians(settings.field_of_view_deg) / 2)
    return Performance(
        identity, expression, rotations, translation, float(focal),
        (settings.width, settings.height), Fraction(settings.frame_rate),
    )  # fmt: skip


def save_truth(path: Path, performance: Performance) -> None:
    """Write the coefficients; vertices follow from them through the head (see ``load_truth``)."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            identity=performance.identity.astype(np.float32),
            expression=performance.expression.astype(np.float32),
            rotations=performance.rotations.astype(np.float32),
            translation=performance.translation.astype(np.float32),
            focal_px=np.float64(performance.focal_px),
            image_size=np.array(performance.image_size),
            frame_rate=np.array(performance.frame_rate.as_integer_ratio()),
        )


def render_performance(settings: PerformanceSettings) -> Path:
    """Render the clip and write it with its truth; returns the truth's path."""
    width, height = settings.width, settings.height
    size = max(width, height)
    renderer = FaceRenderer(settings.assets, settings.base, size, settings.skins)
    performance = perform(settings, renderer)
    rng = np.random.default_rng([settings.seed, 1])
    environment = renderer.library.environments[rng.integers(len(renderer.library.environments))]
    light = sampling.sample_light(environment.sh, IRRADIANCE_BAND, rng)
    wardrobe = dress(renderer.library, renderer.skins, rng)
    background = cv2.GaussianBlur(make_background(rng, size, size, "gradient"), (0, 0), 6)
    camera = (performance.focal_px, (width - 1) / 2, (height - 1) / 2)
    settings.output.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(settings.output) as temporary,
        av.open(str(temporary), "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=settings.frame_rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "17", "preset": "slow"}
        stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        stream.codec_context.colorspace = 1
        for f in tqdm(range(len(performance.expression)), desc="render", unit="frame"):
            state = FaceState(
                performance.identity,
                performance.expression[f],
                performance.rotations[f],
                performance.translation[f],
            )
            image, _ = renderer.render(state, wardrobe, camera, light)
            alpha = image[..., 3:].astype(np.float32) / 255.0
            full = image[..., :3] * alpha + background * (1.0 - alpha)
            # A sensor's noise keeps the clip from being cleaner than any camera's.
            full = np.clip(full + rng.normal(0, 1.5, full.shape), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(full[:height, :width], format="rgb24")
            frame = frame.reformat(
                width, height, "yuv420p", src_colorspace="ITU709", dst_colorspace="ITU709"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    truth = settings.output.with_name(settings.output.stem + "_truth.npz")
    save_truth(truth, performance)
    return truth
