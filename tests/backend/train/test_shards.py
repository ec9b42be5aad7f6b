"""Shards hold what was written, and a reader meets only complete ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadInputError
from backend.train.shards import ShardReader, ShardWriter, decode_points, encode_points

SIZE = 24


def _sample(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "images": rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
        "landmarks": rng.uniform(-30, 60, (703, 2)),
        "contour": rng.uniform(-30, 60, (17, 2)),
        "visible": rng.integers(0, 2, 703, dtype=np.uint8),
        "camera": rng.normal(size=16).astype(np.float32),
    }


def test_round_trip_with_extra_fields(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [_sample(rng) for _ in range(7)]
    writer = ShardWriter(tmp_path, 3, SIZE, {"camera": ((16,), np.float32)})
    for sample in samples:
        writer.add(**sample)
    assert len(ShardReader(tmp_path)) == 6  # the seventh waits for a full shard or for close
    writer.close()
    reader = ShardReader(tmp_path)
    assert [len(shard) for shard in reader.shards] == [3, 3, 1]
    for index, sample in enumerate(samples):
        read = reader[index]
        np.testing.assert_array_equal(read["images"], sample["images"])
        np.testing.assert_array_equal(read["visible"], sample["visible"])
        np.testing.assert_array_equal(read["camera"], sample["camera"])
        np.testing.assert_allclose(
            decode_points(read["landmarks"]), sample["landmarks"], atol=0.5 / 64 + 1e-4
        )
        assert read["weight"] == 1 and read["has_face"] == 1 and read["valid"].all()


def test_reader_finds_shards_that_arrive_later_and_keeps_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    first, second = ShardWriter(tmp_path, 2, SIZE), ShardWriter(tmp_path, 2, SIZE)
    sample = {k: v for k, v in _sample(rng).items() if k != "camera"}
    first.add(**sample)
    first.add(**sample)
    reader = ShardReader(tmp_path)
    kept = reader[0]["images"].copy()
    assert reader.scan() == 0
    second.add(**{**sample, "images": 255 - sample["images"]})
    second.close()
    assert reader.scan() == 1
    np.testing.assert_array_equal(reader[0]["images"], kept)
    np.testing.assert_array_equal(reader[2]["images"], 255 - kept)


def test_reader_passes_over_a_shard_that_is_being_written(tmp_path: Path) -> None:
    (tmp_path / ".shard-00000000000000000001-1.part").mkdir()
    assert len(ShardReader(tmp_path)) == 0


def test_background_needs_no_labels(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, 1, SIZE)
    writer.add(images=np.zeros((SIZE, SIZE, 3), np.uint8), has_face=0)
    assert ShardReader(tmp_path)[0]["has_face"] == 0


@pytest.mark.parametrize(
    "change",
    [{"images": np.zeros((3, 3, 3), np.uint8)}, {"colour": np.zeros(3)}, {"landmarks": None}],
)
def test_a_bad_sample_is_refused(tmp_path: Path, change: dict) -> None:
    sample = {k: v for k, v in _sample(np.random.default_rng(2)).items() if k != "camera"}
    sample.update(change)
    if change.get("landmarks", 0) is None:
        del sample["landmarks"]
    with pytest.raises(BadInputError):
        ShardWriter(tmp_path, 1, SIZE).add(**sample)


def test_far_points_are_clipped_and_nan_is_zero() -> None:
    points = decode_points(encode_points([[1e6, -1e6], [np.nan, 1.5]]))
    np.testing.assert_allclose(points, [[32767 / 64, -512], [0, 1.5]])
