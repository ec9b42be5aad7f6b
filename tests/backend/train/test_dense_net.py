"""Training starts, stops, resumes where it stood, and exports what the detector loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backend.detect.network import DenseLandmarkNet
from backend.detect.weights_file import load_network
from backend.errors import BadInputError
from backend.train import batches
from backend.train.augment import AugmentSettings, WindowSampler
from backend.train.batches import BatchMaker, SamplePool, collate
from backend.train.dense_net import WEIGHTS, Trainer, TrainSettings, run
from backend.train.running import CHECKPOINT, StepsAhead, rate
from backend.train.shards import ShardWriter


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of noise with face-like labels: the first is for validation."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    writer = ShardWriter(folder, 12, 160)
    for number in range(24):
        points = rng.uniform(45, 115, (703, 2))
        points[27], points[8] = [79.5, 60], [79.5, 112]
        writer.add(
            images=rng.integers(0, 256, (160, 160, 3), dtype=np.uint8),
            landmarks=points,
            contour=points[:17],
            kind=1 if number == 23 else 0,
        )
    return folder


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the published names, of untrained weights."""
    torch.manual_seed(0)
    state = DenseLandmarkNet().backbone.state_dict()
    state["_fc.weight"] = torch.zeros(1000, 1280)
    path = tmp_path_factory.mktemp("imagenet") / "weights.pth"
    torch.save(state, path)
    return path


def test_run_resumes_and_exports(shards: Path, imagenet: Path, tmp_path: Path) -> None:
    settings = TrainSettings(
        shards=(shards,), out=tmp_path, minutes=0.03, batch_size=4, imagenet=imagenet
    )
    run(settings)
    first = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert first["step_count"] > 0 and first["seconds"] >= 1.8
    assert (tmp_path / "metrics.csv").exists() and (tmp_path / "validation.csv").exists()
    load_network(tmp_path / WEIGHTS)
    size = sum(value.numel() for value in load_file(tmp_path / WEIGHTS).values()) * 2
    assert size < 16 * 2**20

    again = TrainSettings(
        shards=(shards,), out=tmp_path, minutes=0.06, batch_size=4, imagenet=imagenet, resume=True
    )
    run(again)
    second = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert second["step_count"] > first["step_count"]
    assert second["seconds"] > first["seconds"]


def test_a_resumed_run_takes_the_same_step(shards: Path, imagenet: Path, tmp_path: Path) -> None:
    settings = TrainSettings(
        shards=(shards,), out=tmp_path, batch_size=4, imagenet=imagenet, resume=True
    )
    sampler = WindowSampler(AugmentSettings(negative=0.0), np.random.default_rng(0))
    pool = SamplePool([shards], {})
    prepared = [collate([sampler.cut(pool.sample(sampler.rng), 96) for _ in range(4)])] * 2
    one = Trainer(settings)
    one.start()
    one.seconds = 600.0
    one.step(prepared[0], 96)
    one.save()
    other = Trainer(settings)
    other.start()
    losses = [trainer.step(prepared[1], 96) for trainer in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert one.samples == other.samples == 8
    for name, value in one.average.state_dict().items():
        torch.testing.assert_close(other.average.state_dict()[name], value, msg=name)


def test_no_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInputError):
        run(TrainSettings(shards=(tmp_path,), out=tmp_path))


def test_the_rate_rises_then_falls() -> None:
    assert rate(0.0, 0.1) < rate(0.05, 0.1) < rate(0.1, 0.1) == pytest.approx(1.0)
    assert rate(1.0, 0.1) == pytest.approx(0.01)


def test_the_pool_keeps_the_first_shard_and_limits_rare_kinds(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = SamplePool([shards], {1: 1.0})
    assert len(pool) == 12 and len(pool.validation) == 12
    assert pool.counts() == {0: 11, 1: 1}
    rng = np.random.default_rng(0)
    kinds = [int(pool.sample(rng)["kind"]) for _ in range(300)]
    assert all(kinds)  # one in twelve may be drawn twelve times as often, not more
    monkeypatch.setattr(batches, "MAX_REPEATS", 6.0)
    kinds = [int(pool.sample(rng)["kind"]) for _ in range(300)]
    assert 0.35 < np.mean(kinds) < 0.65


def test_the_stream_follows_a_change_of_size(shards: Path) -> None:
    maker = BatchMaker(SamplePool([shards], {}), AugmentSettings(), 4, 0, seed=0)
    stream = StepsAhead(maker.step)
    stream.start(96)
    assert stream.next(96).images.shape[1] == 96
    assert stream.next(128).images.shape[1] == 128
    stream.close()


def test_targets_of_a_larger_picture_are_those_of_its_windows(shards: Path) -> None:
    """The middle window of 3 x 3 has the targets that a cut of it would have."""
    sampler = WindowSampler(AugmentSettings(), np.random.default_rng(4))
    sample = SamplePool([shards], {}).sample(sampler.rng)
    batch = collate([sampler.cut(sample, 192, 1.5) for _ in range(6)])
    points, _, weight, presence = batch.targets(128, 3)
    assert points.shape == (6, 3, 3, 337, 2) and presence.shape == (6, 3, 3)
    expected = (2 * (batch.points - 32) + 1) / 128 - 1
    torch.testing.assert_close(points[:, 1, 1], expected)
    torch.testing.assert_close(points[:, 1, 2, :, 0] + 0.5, points[:, 1, 1, :, 0])
    assert ((presence == 1) <= (weight > 0)).all()
