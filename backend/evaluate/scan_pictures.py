"""Scanned people as pictures that are tracked the whole way, as footage is."""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from backend.evaluate.bake_footage import RenderedFootage
from backend.evaluate.bake_scene import Performance, add_noise, make_room, render_skin
from backend.evaluate.bake_skin import performers_skin
from backend.evaluate.scans import RecordedShot
from backend.fit import ShotFit
from backend.head import Head
from backend.pipeline import run_track
from backend.settings import TrackSettings
from backend.solved import Solved
from shared.conventions import intrinsics

TEXTURE_SIZE = 1024
AMBIENT = 0.6
NOISE = 1.5
"""Of a sensor, of 255."""


@torch.no_grad()
def track_pictures(head: Head, shot: RecordedShot, seed: int) -> ShotFit:
    """The fit of a shot of one camera from its rendered frames alone, by `run_track`.

    head: the model's own, whose skin the people wear. Raises `NoFaceError` where the detector finds
    no face in any frame, `MissingWeightsError`.
    """
    K = intrinsics(shot.focal_px, shot.image_size).astype(np.float32)
    vertices = torch.from_numpy(shot.vertices)
    scene = Performance(vertices, shot.pose, shot.performance.expression, K, shot.image_size)
    skin, room = performers_skin(head, TEXTURE_SIZE, seed), make_room(scene, seed)
    pictures = [
        add_noise(render_skin(head, posed, scene, skin, AMBIENT, room=room), NOISE, f)
        for f, posed in enumerate(tqdm(vertices, desc="Scanned person", unit="frame", leave=False))
    ]
    track = run_track(RenderedFootage(pictures), TrackSettings(texture_size=0))
    return Solved.of(track).fit
