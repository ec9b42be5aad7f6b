"""A training's state travels in parts: bit for bit, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import BadInputError
from backend.train.factory.packing import MANIFEST, pack_files, unpack_files
from backend.train.factory.travel import PackSettings, UnpackSettings, chosen_files, pack, unpack
from backend.train.running import CHECKPOINT

PART = 40_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory's folder with a real checkpoint, a table and files of awkward sizes."""
    path = tmp_path_factory.mktemp("factory")
    torch.manual_seed(0)
    net = torch.nn.Linear(150, 150)
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 150)).square().sum().backward()
    optimiser.step()
    run = path / "dense1"
    run.mkdir()
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step_count": 17}
    torch.save(state, run / CHECKPOINT)
    (run / "metrics.csv").write_text("minutes,step\n0.3,17\n")
    (run / "dense320.safetensors").write_bytes(np.random.default_rng(0).bytes(1003))
    (path / "stages").mkdir()
    (path / "stages" / "dense1.json").write_text("{}")
    (path / "assets.npz").write_bytes(b"")
    (path / "base.npz").write_bytes(np.random.default_rng(1).bytes(PART))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "pack"
    pack(PackSettings(folder, out, "all", part_mib=PART / 2**20))
    return out


def test_comes_back_bit_for_bit(folder: Path, packed: Path, tmp_path: Path) -> None:
    parts = sorted(packed.glob("part-*.bin"))
    assert len(parts) > 4 and all(part.stat().st_size <= PART for part in parts)
    unpack(UnpackSettings(packed, tmp_path / "there"))
    assert contents(tmp_path / "there") == contents(folder)
    before = torch.load(folder / "dense1" / CHECKPOINT, weights_only=True)
    after = torch.load(tmp_path / "there" / "dense1" / CHECKPOINT, weights_only=True)
    assert torch.equal(before["net"]["weight"], after["net"]["weight"])
    moments = [x["optimiser"]["state"][0]["exp_avg_sq"] for x in (before, after)]
    assert torch.equal(*moments) and after["step_count"] == 17


def test_numbers_shrink(tmp_path: Path) -> None:
    numbers = np.random.default_rng(2).normal(0, 0.02, 50_000).astype(np.float32)
    path = tmp_path / "numbers.bin"
    path.write_bytes(numbers.tobytes() + b"abc")
    assert pack_files(tmp_path, [path], tmp_path / "pack") < 0.9 * path.stat().st_size
    assert unpack_files(tmp_path / "pack", tmp_path / "there") == [tmp_path / "there/numbers.bin"]
    assert (tmp_path / "there/numbers.bin").read_bytes() == path.read_bytes()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def other_manifest(path: Path) -> None:
    manifest = json.loads(path.read_text())
    manifest["files"][0]["path"] = "../elsewhere"
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "spoil", "said"),
    [
        ("part-001.bin", Path.unlink, r"part-001\.bin: this part is missing"),
        ("part-002.bin", flip, r"part-002\.bin: is damaged"),
        ("part-000.bin", lambda p: p.write_bytes(b"short"), r"part-000\.bin: has 5 bytes"),
        (MANIFEST, Path.unlink, r"manifest\.json: missing"),
        (MANIFEST, lambda p: p.write_text("{}"), r"manifest\.json: damaged"),
        (MANIFEST, other_manifest, r"manifest\.json: damaged.*checksum"),
    ],
)
def test_spoiled_packs_are_refused(
    packed: Path, tmp_path: Path, name: str, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(packed / name)
    with pytest.raises(BadInputError, match=said):
        unpack_files(packed, tmp_path / "there")
    assert not contents(tmp_path / "there") if (tmp_path / "there").exists() else True


def test_what_is_packed(folder: Path, tmp_path: Path) -> None:
    def names(**settings: object) -> set[str]:
        chosen = chosen_files(PackSettings(folder, tmp_path, **settings))  # type: ignore[arg-type]
        return {path.relative_to(folder).as_posix() for path in chosen}

    run = {"dense1/checkpoint.pt", "dense1/metrics.csv"}
    assert names() == {*run, "dense1/dense320.safetensors", "stages/dense1.json"}
    assert names(light=True) == {*run, "stages/dense1.json"}
    assert names(what="assets") == {"assets.npz", "base.npz"}
    with pytest.raises(BadInputError, match="no run joint"):
        names(runs=("joint",))
    with pytest.raises(BadInputError, match="nothing to pack"):
        names(what="shards")
    # A single run's folder is packed as it is.
    single = chosen_files(PackSettings(folder / "dense1", tmp_path))
    assert {path.name for path in single} == {
        "checkpoint.pt", "metrics.csv", "dense320.safetensors"
    }  # fmt: skip


def test_assets_stay_small(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.train.factory.travel.ASSETS_LIMIT_MB", 0.01)
    with pytest.raises(BadInputError, match=r"more than 0\.01"):
        pack(PackSettings(folder, tmp_path, "assets"))


def test_a_newer_pack_replaces_an_older_one(folder: Path, packed: Path) -> None:
    pack(PackSettings(folder, packed, "assets", part_mib=1.0))
    assert len(list(packed.glob("part-*.bin"))) == 1
