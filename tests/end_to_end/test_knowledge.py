"""What somebody knows of a shot, through the command line and a server: real processes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from backend.samples import PERFORMANCE
from backend.track import Track
from tests.end_to_end.conftest import run_mien
from tests.end_to_end.test_server import connection_file as connection_file

RANGE = ("--start", "3", "--end", "9", "--texture-size", "0", "--device", "cpu")


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shot") / "shot.npz"
    done = run_mien("track", PERFORMANCE, "-o", path, *RANGE)
    assert done.returncode == 0, done.stderr
    assert re.search(r"focal length \d+ px ± [\d.]+ %", done.stderr), done.stderr
    return path


def test_a_track_is_refined_from_its_file(shot: Path, tmp_path: Path) -> None:
    track = Track.load(shot)
    x, y = (track.landmarks_2d[2, 30] + [5, 0]).tolist()
    pins = tmp_path / "pins.json"
    pins.write_text(json.dumps([{"frame": 5, "point": "ibug68/30", "x": x, "y": y}]))
    out = tmp_path / "refined.npz"
    done = run_mien("refine", shot, "--pins", pins, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "7 frames about the changes in " in done.stderr, done.stderr
    assert "the whole shot (7) in " in done.stderr
    refined = Track.load(out)
    assert json.loads(refined.constraints)["pins"][0]["point"] == "ibug68/30"
    assert np.abs(refined.vertices[2] - track.vertices[2]).max() > 1e-4
    np.testing.assert_array_equal(refined.landmarks_2d, track.landmarks_2d)

    pins.write_text(json.dumps([{"frame": 50, "point": "ibug68/30", "x": x, "y": y}]))
    done = run_mien("refine", out, "--pins", pins, "-o", tmp_path / "no.npz")
    assert done.returncode == 2 and "frame 50: the shot has frames 3 to 9" in done.stderr
    assert not (tmp_path / "no.npz").exists()


def test_a_person_is_built_and_kept(tmp_path: Path) -> None:
    person, out = tmp_path / "person.npz", tmp_path / "out.npz"
    done = run_mien("identity", PERFORMANCE, "-o", person, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "frames of 1 sources" in done.stderr and PERFORMANCE.name in done.stderr
    done = run_mien("track", PERFORMANCE, "-o", out, "--identity", person, *RANGE)
    assert done.returncode == 0, done.stderr
    with np.load(person) as file:
        np.testing.assert_array_equal(Track.load(out).identity, file["identity"])
    done = run_mien("track", PERFORMANCE, "-o", out, "--identity", PERFORMANCE, *RANGE)
    assert done.returncode == 2 and "not a person" in done.stderr


def test_a_server_does_the_same(connection_file: Path, tmp_path: Path) -> None:
    """Two cameras that are one, a limit and a lens: here and there."""
    # The server may read the folder of the samples alone.
    limit = ("--limit", "jawOpen=0:0.05", "--focal-px", "850", "--offset", "2=0")
    here, there = tmp_path / "here.npz", tmp_path / "there.npz"
    arguments = ("track", PERFORMANCE, PERFORMANCE, "--rig", *RANGE, *limit)
    done = run_mien(*arguments, "-o", here)
    assert done.returncode == 0, done.stderr
    assert "offset +0.00 frames" in done.stderr
    done = run_mien(*arguments, "-o", there, "--server", connection_file)
    assert done.returncode == 0, done.stderr
    a, b = Track.load(here), Track.load(there)
    assert a.expression[:, a.expression_names.index("jawOpen")].max() <= 0.05 + 1e-6
    assert a.rig_clips == b.rig_clips and a.constraints == b.constraints
    for name in a.__dataclass_fields__:
        one, two = getattr(a, name), getattr(b, name)
        if isinstance(one, np.ndarray) and one.dtype.kind == "f":
            np.testing.assert_allclose(one, two, atol=1e-3, err_msg=name)
