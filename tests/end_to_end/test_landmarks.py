"""`mien landmarks` in a process of its own, on a real photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
import skimage.io

from tests.end_to_end.conftest import run_mien


def test_rows_for_faces_and_for_none(portrait: Path, tmp_path: Path) -> None:
    empty = tmp_path / "brick.png"
    skimage.io.imsave(empty, skimage.data.brick(), check_contrast=False)
    path = tmp_path / "landmarks.npz"
    done = run_mien("landmarks", portrait, empty, "-o", path, "--layout", "ibug68")
    assert done.returncode == 0, done.stderr
    with np.load(path, allow_pickle=False) as rows:
        assert set(rows.files) == {"names", "landmarks_2d", "sigma", "found"}
        assert rows["names"].tolist() == ["astronaut.png", "brick.png"]
        assert rows["found"].tolist() == [True, False]
        points, sigma = rows["landmarks_2d"], rows["sigma"]
    assert points.shape == (2, 68, 2) and sigma.shape == (2, 68)
    assert np.isfinite(points[0]).all() and (sigma[0] > 0).all()
    assert np.isnan(points[1]).all() and np.isnan(sigma[1]).all()
    # iBUG's order: the eye on the left of the picture is 36-41, the other 42-47, lips 48-67.
    # The places were measured by hand in the picture.
    for part, place in (
        (slice(36, 42), (201, 101)),
        (slice(42, 48), (246, 103.5)),
        (slice(48, 68), (223, 144)),
    ):
        assert np.linalg.norm(points[0, part].mean(0) - place) < 5


def test_several_faces_come_largest_first(tmp_path: Path) -> None:
    face = skimage.data.astronaut()[:256, 96:352]
    picture = np.full((512, 768, 3), 128, np.uint8)
    picture[:256, 480:736] = face
    picture[:, :512][:512] = np.repeat(np.repeat(face, 2, 0), 2, 1)
    picture[:256, 512:] = face
    path = tmp_path / "two.png"
    skimage.io.imsave(path, picture, check_contrast=False)
    done = run_mien("landmarks", path, "-o", tmp_path / "two.npz", "--max-faces", "3")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "two.npz") as rows:
        assert rows["names"].tolist() == ["two.png"] * 2 and rows["found"].all()
        widths = np.ptp(rows["landmarks_2d"][..., 0], axis=1)
        centres = rows["landmarks_2d"].mean(1)
    assert 1.7 < widths[0] / widths[1] < 2.3
    assert centres[0, 0] < 512 < centres[1, 0]


def test_a_picture_that_cannot_be_read_is_named(portrait: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(portrait.read_bytes()[:100])
    path = tmp_path / "out.npz"
    done = run_mien("landmarks", portrait, bad, "-o", path)
    assert done.returncode == 2 and "bad.png" in done.stderr and not path.exists()
    done = run_mien("landmarks", bad, portrait, "-o", path, "--skip-bad")
    assert done.returncode == 0 and "bad.png" in done.stderr
    with np.load(path) as rows:
        assert rows["names"].tolist() == ["astronaut.png"] and rows["found"].all()
