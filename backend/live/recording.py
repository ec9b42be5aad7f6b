"""Live frames as a track, in the files that `mien track` and `mien export` write."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backend.assembly import assemble_track
from backend.bake.visibility import VISIBLE, as_u8, soft_vertex_visibility
from backend.errors import BadInputError, NoFaceError
from backend.events import FrameMotion, frame_result, model_result
from backend.export import WRITERS, export_track
from backend.fit import FitSettings, FrameFit
from backend.fit.realtime import RealtimeFitter, RealtimeSettings
from backend.head import Head
from backend.track import Track
from shared.conventions import intrinsics

from .landmark_rows import LAYOUT
from .source import LiveImage
from .tracker import LiveFrame


def check_output(path: Path) -> None:
    """Raise `BadInputError` for a name that says no known format."""
    known = (".npz", *WRITERS)
    if path.suffix.lower() not in known:
        raise BadInputError(f"{path}: the output's name must end in {', '.join(known)}.")


@dataclass
class Recording:
    """The landmarks of every frame: the head is fitted to them again once the person is known."""

    index: list[int] = field(default_factory=list)
    timestamps: list[float] = field(default_factory=list)
    landmarks: list[tuple[NDArray[np.float32], NDArray[np.float32]] | None] = field(
        default_factory=list
    )

    def add(self, image: LiveImage, made: LiveFrame) -> None:
        """Take in a frame."""
        self.index.append(image.index)
        self.timestamps.append(image.timestamp)
        seen = made.seen if made.fit is not None else None
        self.landmarks.append(
            None
            if seen is None
            else (seen.landmarks_2d.astype(np.float32), seen.landmark_sigma.astype(np.float32))
        )

    def track(
        self, head: Head, identity: NDArray[np.float32], focal_px: float,
        image_size: tuple[int, int], frame_rate: Fraction, rows: NDArray[np.int64],
    ) -> Track:  # fmt: skip
        """Every frame fitted again with one identity and focal length.

        rows: which points of the layout the landmarks are. Frames without a face keep the last
        pose, those before the first face its. Raises: NoFaceError without any face.
        """
        fits = self._fits(head, identity, focal_px, image_size, rows)
        first = next((fit for fit in fits if fit is not None), None)
        if first is None:
            raise NoFaceError("No frame showed a face; nothing was recorded.")
        shape = torch.from_numpy(identity).to(head.template)
        K = intrinsics(focal_px, image_size)
        faces = head.faces.cpu()
        frames = []
        last = first
        for number, fit in enumerate(fits):
            last = fit or last
            motion = FrameMotion(last.expression, last.rotations, last.translation, focal_px)
            with torch.no_grad():
                vertices = head(
                    shape, torch.from_numpy(last.expression), torch.from_numpy(last.rotations),
                    torch.from_numpy(last.translation),
                ).numpy()  # fmt: skip
            soft = soft_vertex_visibility(vertices[None], faces, K, image_size)[0]
            landmarks, sigma = self._whole(number, rows)
            frames.append(
                frame_result(
                    head, shape, motion, frame_index=self.index[number],
                    timestamp=self.timestamps[number], found=fit is not None,
                    landmarks_2d=landmarks, landmark_sigma=sigma, vertices=vertices,
                    visibility=(soft >= VISIBLE).astype(np.uint8), soft_visibility=as_u8(soft),
                )
            )  # fmt: skip
        model = model_result(head, shape, True)
        return assemble_track(model, frames, None, K, image_size, frame_rate)

    def _fits(
        self, head: Head, identity: NDArray[np.float32], focal_px: float,
        image_size: tuple[int, int], rows: NDArray[np.int64],
    ) -> list[FrameFit | None]:  # fmt: skip
        settings = RealtimeSettings(energy=FitSettings(focal_px=focal_px), solve_identity=False)
        fitter = RealtimeFitter(head, LAYOUT, image_size, settings, identity, rows)
        fits: list[FrameFit | None] = []
        before = None
        for number, given in zip(self.index, self.landmarks, strict=True):
            if given is None:
                fitter.miss()
                fits.append(None)
                continue
            interval = 1 if before is None else max(1, number - before)
            before = number
            fit = fitter.step(*given, interval=float(interval))
            fits.append(None if fit is None else replace(fit.frame, focal_px=focal_px))
        return fits

    def _whole(
        self, number: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Landmarks (320,2) and sigma (320,) of a frame; NaN where there is none."""
        landmarks = np.full((320, 2), np.nan, np.float32)
        sigma = np.full(320, np.nan, np.float32)
        given = self.landmarks[number]
        if given is not None:
            landmarks[rows], sigma[rows] = given
        return landmarks, sigma


def write_recording(track: Track, path: Path) -> None:
    """Write a track as the file's name asks for. Raises: BadInputError."""
    check_output(path)
    if path.suffix.lower() == ".npz":
        track.save(path)
    else:
        export_track(track, path)
