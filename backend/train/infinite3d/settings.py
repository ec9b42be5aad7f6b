"""How Infinite 3D Landmarks is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backend.detect.infinite3d.architecture import Normalisation, Size
from backend.train.augment import AugmentSettings
from backend.train.infinite3d.losses import LossWeights


@dataclass(frozen=True)
class Infinite3DSettings:
    """Train Infinite 3D Landmarks on shards of crops and of whole frames."""

    shards: tuple[Path, ...] = (Path("training/shards"),)
    """Folders of crops; more may arrive while training runs."""
    frames: tuple[Path, ...] = (Path("training/frames"),)
    """Folders of whole frames, for the spatial transformer."""
    out: Path = Path("training/infinite3d")
    """Folder of the checkpoint, the exported weights and metrics.csv."""
    size: Size = "small"
    """Which network."""
    minutes: float = 90.0
    """Time budget, what was spent before a resume counted in."""
    steps: int | None = None
    """Budget in steps instead, so that runs on a busy machine can be compared."""
    resume: bool = False
    """Go on from the checkpoint in `out`, where there is one."""
    start_from: Path | None = None
    """Checkpoint of another run of this trainer whose averaged weights to start from."""
    transformer_from: Path | None = None
    """Checkpoint of a third run whose transformer to take."""
    dense: Path | None = None
    """Checkpoint of the dense detector whose backbone to start from (size small)."""
    imagenet: Path | None = None
    """ImageNet weights of the encoder; by default the package's (size small), or none."""
    batch_size: int = 16
    """Windows and frames a step."""
    frame_share: float = 0.25
    """Share of a step's samples that are whole frames, which go through the transformer; 0 trains
    the encoder alone and 1 the transformer alone, so that two processes can share the work."""
    queries: int = 132
    """Landmarks asked for a step: iBUG's 68 and a random choice of the others."""
    edges: int = 18
    """Mesh edges a step, whose ends are asked for where the truth is known."""
    learning_rate: float = 1.2e-3
    """Highest rate of AdamW."""
    backbone_rate: float = 0.4
    """Of the encoder's backbone, relative to that."""
    weight_decay: float = 0.02
    """Of AdamW, on weights that are not of a normalisation."""
    warm_up: float = 0.02
    """Share of the time budget in which the rate rises."""
    apart: float = 0.07
    """First share of the time budget in which the backbone stands still and the transformer
    learns from the true regions alone."""
    frozen_blocks: int = 3
    """First blocks of EfficientNet-lite0 that keep their weights."""
    ema: float = 0.998
    """Weight of the past in the running average of the weights, a step."""
    weights: LossWeights = field(default_factory=LossWeights)
    """Of the loss's terms."""
    normalisation: Normalisation | None = None
    """Another than the preset's, for the ablation."""
    predict_3d: bool = True
    """Off for the ablation's 2D baseline."""
    predict_focal: bool = True
    """Off for the ablation's fixed focal length."""
    deform_queries: bool = True
    """Off for the ablation without query deformer."""
    refine: int | None = None
    """Rounds of the closer look, other than the preset's."""
    real_skin_share: float = 0.4
    """Share of windows with real skin on rendered heads, where shards have them."""
    portrait_share: float = 0.15
    """Share of windows that are portraits with pseudo-labels, where shards have them."""
    warp_share: float = 0.25
    """Share of windows that are re-posed portraits, where shards have them."""
    twin_share: float = 0.0
    """Share of windows that are two views of one face, where shards have them (`mien render data
    --views 2`): their canonical points are to agree."""
    background_share: float = 0.06
    """Share of windows without any face."""
    checkpoint_seconds: float = 60.0
    """Between checkpoints."""
    validate_seconds: float = 300.0
    """Between validations."""
    threads: int = 1
    """Threads of torch."""
    workers: int = 0
    """Processes that make the batches; 0 for a thread, which feeds a CPU."""
    device: str = "cpu"
    """Where to train."""
    seed: int = 0
    """Of the windows."""
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(wide=0.2))
    """How windows are cut and changed."""
