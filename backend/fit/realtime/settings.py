"""Settings of the fit in real time."""

from __future__ import annotations

from dataclasses import dataclass, field

from backend.fit.settings import FitSettings


@dataclass(frozen=True)
class RealtimeSettings:
    """How frames are fitted as they come."""

    energy: FitSettings = field(default_factory=FitSettings)
    """Weights of the terms that a frame has in a shot, too; focal length or where it starts."""
    temporal_weight: float = 0.6
    """Weight of the squared motion of landmarks since the last frame, less what is foreseen of
    it, in units of 1 % of the face."""
    smoothness_weight: float = 1.0
    """Weight of the squared change of expression since the last frame."""
    momentum: float = 0.5
    """Share of the last frame's motion that the temporal term takes to go on: without it what
    moves lags behind, with all of it the noise of two frames comes in."""
    moving_percent: float = 0.8
    """Distance of a landmark from where it is expected, in per cent of the face, at which the
    temporal term counts a quarter: what rests is held still, what moves does not lag."""
    iterations: int = 4
    """Most Levenberg-Marquardt iterations of a frame that starts from the last one."""
    cold_iterations: int = 12
    """Most of one that does not."""
    tolerance: float = 2e-3
    """A frame ends when an iteration lowers its cost by less than this share."""
    near: float = 0.15
    """Median distance of landmarks from the last frame's, as a share of the face, beyond which
    a frame does not start from it."""
    key_frames: int = 12
    """Frames of which identity and focal length are solved."""
    update_every: int = 20
    """Frames between two updates of identity and focal length."""
    settled_every: int = 90
    """The same once no frame differs from the keys and the updates have become small."""
    focal_keys: int = 4
    """Least key frames of which a focal length is solved: one face from one side says little."""
    novelty: float = 0.015
    """Root mean square distance of the landmarks' shape from every key's, over the face's size,
    that makes a frame a key while there is room; later it must differ more than the keys do."""
    solve_identity: bool = True
    """Whether the person's shape is solved; the mean head, or what is given, where not."""
