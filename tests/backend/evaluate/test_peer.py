"""MediaPipe beside our own detector, where its environment has been made on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from backend.detect import DenseDetector
from backend.evaluate import peer
from backend.evaluate.peer import MediaPipeMesh, PeerError, as_ibug68, environment, open_peer


def test_markup_takes_means_of_vertices() -> None:
    vertices = np.stack([np.arange(478.0), -np.arange(478.0)], -1)
    points = as_ibug68(vertices)
    assert points.shape == (68, 2)
    # The chin, a jaw point between two vertices, the outer eye corners, a mouth corner.
    np.testing.assert_allclose(points[[8, 3, 36, 45, 48], 0], [152, (132 + 58) / 2, 33, 263, 61])
    np.testing.assert_allclose(points[:, 1], -points[:, 0])


def test_the_bench_goes_on_where_it_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peer, "cache_folder", lambda: tmp_path)

    def no_network(command: list[str]) -> None:
        raise PeerError("no network")

    monkeypatch.setattr(peer, "_run", no_network)
    assert open_peer(True) is None
    said = capsys.readouterr().err
    assert "without MediaPipe" in said and "no network" in said
    assert list(tmp_path.iterdir()) == []  # the next run tries again
    assert open_peer(False) is None and capsys.readouterr().err == ""


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho 'no such library' >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with MediaPipeMesh(tmp_path / "python") as mesh, pytest.raises(PeerError, match="no such lib"):
        mesh.find(np.zeros((8, 8, 3), np.uint8), 1)


@pytest.mark.skipif(
    not (peer.cache_folder() / f"mediapipe-{peer.VERSION}").exists(),
    reason="MediaPipe's environment is made by `mien bench faces`",
)
def test_it_sees_what_our_detector_sees() -> None:
    image = skimage.data.astronaut()
    ours = DenseDetector.load().find(image)[0].ibug68()[0]
    eyes = np.linalg.norm(ours[45] - ours[36])
    with MediaPipeMesh(environment()) as mesh:
        faces, seconds = mesh.find(image, 4)
        assert len(faces) == 1 and seconds > 0
        assert np.linalg.norm(faces[0] - ours, axis=-1)[17:].mean() < 0.1 * eyes
        none, _ = mesh.find(np.zeros((64, 48, 3), np.uint8), 4)
        assert none == []
        for _ in range(2):
            followed, _ = mesh.find(image, 1, clip=0)
        np.testing.assert_allclose(followed[0], faces[0], atol=0.05 * eyes)
