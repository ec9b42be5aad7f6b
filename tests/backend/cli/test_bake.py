"""`mien bake` with clips that are not those of the track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.cli.bake import Bake
from backend.errors import BadInputError
from backend.evaluate.fit_recovery import Simulation
from backend.evaluate.refine_speed import simulated_track
from backend.head import Head
from backend.picture_file import write_picture


def test_a_clip_without_the_tracks_frames_is_refused(tmp_path: Path) -> None:
    track = simulated_track(Head.load(), Simulation(frames=3, seed=2, noise_px=0.5))
    track.save(tmp_path / "shot.npz")
    width, height = track.image_size.tolist()
    for name, size in (("other", (height + 2, width, 3)), ("short", (height, width, 3))):
        (tmp_path / name).mkdir()
        for number in (4, 5):
            write_picture(tmp_path / name / f"{number}.png", np.zeros(size, np.uint8))
    for name, says in (("other", "its size differs"), ("short", "lacks 1 of its frames, 2 for")):
        bake = Bake(tmp_path / "shot.npz", tmp_path / name, tmp_path / "out", size=64)
        with pytest.raises(BadInputError, match=rf"{name}: is not the clip of .*{says}"):
            bake.run()
    assert not (tmp_path / "out").exists()
