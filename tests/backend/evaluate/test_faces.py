"""The measures on errors put in by hand, and the bench on two real pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from backend.cli.bench_table import as_table
from backend.detect import DenseDetector
from backend.errors import BadInputError
from backend.evaluate import faces
from backend.evaluate.faces import read_index
from backend.evaluate.landmark_errors import Measured, errors, figures, without_offset
from backend.evaluate.settings import BenchSettings, PartialFigures
from backend.footage.video import read_picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures whose labels are what the detector says, moved by 2 px to the right."""
    path = tmp_path_factory.mktemp("faces")
    astronaut = skimage.data.astronaut()[:, :, ::-1]
    smaller = cv2.resize(astronaut, (400, 400), interpolation=cv2.INTER_AREA)
    detector, items = DenseDetector.load(), []
    for name, source, image in (("a.png", "large", astronaut), ("b.png", "small", smaller)):
        cv2.imwrite(str(path / name), image)
        found = detector.find(read_picture(path / name)[0], 32, "fast")[0].ibug68()[0]
        points = found.astype(float) + [2.0, 0.0]
        items.append({"image": name, "source": source, "landmarks_68": points.tolist()})
    (path / "index.json").write_text(json.dumps({"items": items}))
    return path


def test_bench_on_two_pictures(folder: Path) -> None:
    result = faces.run(
        BenchSettings(data=folder, detectors=("dense",), quality="fast", device="cpu", peer=False)
    )
    labels = [p.landmarks_68 for p in read_index(folder)]
    eyes = [np.linalg.norm(points[45] - points[36]) for points in labels]
    assert result["nme51_large"] == pytest.approx(200 / eyes[0], rel=1e-3)
    assert result["nme68_small"] == pytest.approx(200 / eyes[1], rel=1e-3)
    assert result["nme51"] == pytest.approx((200 / eyes[0] + 200 / eyes[1]) / 2, rel=1e-3)
    # The offset is the same in pixels, so it is not quite the same share of either face.
    assert result["nme51_offset"] < 0.5 * result["nme51"]
    assert result["missed"] == result["failure_percent"] == result["extra_faces"] == 0
    assert result["images"] == 2 and result["ms_per_picture"] > 0


def test_a_face_elsewhere_is_missed(folder: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "index.json").read_text())
    item = index["items"][0] | {"image": str(folder / "a.png")}
    item["landmarks_68"] = [[x + 260, y + 300] for x, y in item["landmarks_68"]]
    (tmp_path / "index.json").write_text(json.dumps({"items": [item]}))
    result = faces.run(
        BenchSettings(data=tmp_path, detectors=("dense",), quality="fast", device="cpu", peer=False)
    )
    assert result["missed"] == result["missed_large"] == result["extra_faces"] == 1
    assert result["failure_percent"] == 100
    assert np.isnan(result["nme51"])


def test_what_was_measured_survives_a_stop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, calls = read_picture, []

    def stop_at_the_second(path: Path) -> tuple[np.ndarray, bool]:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(faces, "read_picture", stop_at_the_second)
    with pytest.raises(PartialFigures, match="1 of 2") as stopped:
        faces.run(
            BenchSettings(
                data=folder, detectors=("dense",), quality="fast", device="cpu", peer=False
            )
        )
    assert stopped.value.figures["images"] == 1 and stopped.value.figures["nme51"] > 0


def test_an_index_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"index\.json"):
        faces.run(BenchSettings(data=tmp_path, peer=False))
    with pytest.raises(BadInputError, match="--data"):
        faces.run(BenchSettings(peer=False))


def _labels(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    shape = rng.uniform(0, 100, (68, 2))
    shape[36], shape[45] = (10, 40), (90, 40)
    turns, sizes = rng.uniform(-1, 1, count), rng.uniform(0.5, 3, count)
    frames = [s * np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
              for s, t in zip(sizes, turns, strict=True)]  # fmt: skip
    return np.stack([shape @ frame.T + rng.uniform(0, 500, 2) for frame in frames])


def test_an_offset_turns_and_grows_with_the_face() -> None:
    """An offset that is constant in the face's frame is taken out; one of half a face is not."""
    labels = _labels(8)
    eye = labels[:, 45] - labels[:, 36]
    across = np.stack([-eye[:, 1], eye[:, 0]], -1)
    predicted = labels.copy()
    predicted[:, 30] += 0.1 * eye - 0.05 * across
    np.testing.assert_allclose(without_offset(predicted, labels), labels, atol=1e-9)
    assert errors(predicted, labels)[:, 30] == pytest.approx(np.hypot(0.1, 0.05))
    alone = labels.copy()
    alone[::2, 30] += 0.1 * eye[::2]
    assert errors(without_offset(alone, labels), labels)[:, 30].max() > 0.09


def test_missed_and_failed_faces_are_counted() -> None:
    labels = _labels(4)
    eye = labels[:, 45] - labels[:, 36]
    predicted = labels + 0.02 * eye[:, None]
    predicted[1] = np.nan
    predicted[2] = labels[2] + 0.11 * eye[2]
    result = figures(Measured(predicted, labels, ("x", "x", "y", "y")))
    assert result["missed"] == result["missed_x"] == 1 and result["missed_y"] == 0
    assert result["failure_percent"] == 50
    assert result["nme51"] == pytest.approx((2 + 11 + 2) / 3)
    assert result["nme68_median"] == pytest.approx(2) and result["nme51_y"] == pytest.approx(6.5)


def test_systems_stand_beside_each_other_in_the_table() -> None:
    figures = {"nme51": 3.0, "images": 9.0, "peer_nme51": 4.0, "peer_cut_nme51": 5.0}
    table = as_table(figures, ("peer_", "peer_cut_"))
    head, first, second = table.splitlines()
    assert head.split() == ["peer", "peer_cut"]
    assert first.split() == ["nme51", "3", "4", "5"] and second.split() == ["images", "9"]


def test_far_faces_have_their_share_of_the_frame_and_are_found(folder: Path) -> None:
    rng = np.random.default_rng(2)
    photograph = read_index(folder)[0]
    image = read_picture(photograph.path)[0]
    frame, labels = faces.far_away(image, photograph.landmarks_68, 0.08, rng)
    assert frame.shape == (1080, 1920, 3)
    assert np.ptp(labels[:, 1]) == pytest.approx(0.08 * 1080)
    # The pixels have moved with their labels.
    column, row = labels.mean(0).round().astype(int)
    x, y = photograph.landmarks_68.mean(0).round().astype(int)
    assert np.abs(frame[row, column].astype(int) - image[y, x]).max() < 40
    result = faces.run(
        BenchSettings(
            data=folder, detectors=("dense",), quality="fast", device="cpu", peer=False,
            face_height=0.08,
        )
    )  # fmt: skip
    assert result["missed"] == 0 and result["nme51"] < 12
