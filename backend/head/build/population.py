"""Random adult heads composed from anny's phenotypes and local targets, for the identity basis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .source import Source

PHENOTYPES = (
    "age", "gender", "muscle", "weight", "height", "proportions", "cupsize", "firmness",
    "african", "asian", "caucasian",
)  # fmt: skip
# Full ranges make a third of the heads caricatures; 0.7 sigma of the half range is plausible.
LOCAL_SIGMA = 0.3
# A left and a right target of one name move together but for this share of the deviation.
ASYMMETRY = 0.2
# A target that moves nothing on the head by this much (metres) does not shape it.
MIN_LOCAL_EFFECT = 5e-4


@dataclass(frozen=True)
class LocalPair:
    """A signed pair of local targets: positive values use ``increase``, negative ``decrease``."""

    name: str
    increase: int
    decrease: int


def head_local_pairs(source: Source, head: np.ndarray) -> list[LocalPair]:
    """The local pairs that reshape the head (anny lists increase and decrease side by side)."""
    first = next(i for i, name in enumerate(source.labels) if name.startswith("local_change:"))
    pairs = []
    for i in range(first, len(source.labels), 2):
        name = source.labels[i].split(":", 1)[1]
        effect = max(
            np.linalg.norm(source.shapes[j][head], axis=-1).max() for j in (i, i + 1)
        )
        # Torso, stomach and hip targets reach the neck by a hair; only the head's own count.
        if effect > MIN_LOCAL_EFFECT and not name.startswith(("torso", "stomach", "breast")):
            pairs.append(LocalPair(name, i, i + 1))
    return pairs


def sample_phenotypes(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,11) values of PHENOTYPES: adults of both sexes, all ancestries, few extremes."""
    gender = np.clip(np.where(rng.random(count) < 0.5, 0.1, 0.9) + rng.normal(0, 0.15, count), 0, 1)
    age = np.clip(rng.beta(1.6, 1.6, count) * 0.55 + 0.45, 0, 1)
    body = np.clip(rng.normal(0.5, 0.18, (count, 2)), 0.05, 0.95)
    build = np.clip(rng.normal(0.5, 0.12, (count, 2)), 0, 1)
    chest = np.full((count, 2), 0.5)
    ancestry = rng.dirichlet([0.5, 0.5, 0.5], count)
    return np.column_stack([age, gender, body, build, chest, ancestry])


def sample_local(count: int, pairs: list[LocalPair], rng: np.random.Generator) -> np.ndarray:
    """(count,P) signed strengths; a left and a right twin are correlated."""
    values = np.clip(rng.normal(0, LOCAL_SIGMA, (count, len(pairs))), -1, 1)
    index = {pair.name: i for i, pair in enumerate(pairs)}
    for name, i in index.items():
        twin = index.get("r-" + name[2:]) if name.startswith("l-") else None
        if twin is not None:
            keep = np.sqrt(1 - ASYMMETRY**2)
            values[:, twin] = keep * values[:, i] + ASYMMETRY * values[:, twin]
    return values


def compose(
    source: Source, shapes: np.ndarray, pairs: list[LocalPair],
    phenotypes: np.ndarray, local: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Heads from coefficients, anny's own linear composition.

    Args: shapes (B,n,3) blend shapes of the wanted vertices; phenotypes (S,11); local (S,P).
    Returns: (S,n,3) displacements from the template, metres.
    """
    from anny.models.phenotype import make_phenotype_anchors, phenotype_blendshape_weights

    weights = phenotype_blendshape_weights(
        torch.as_tensor(phenotypes),
        list(PHENOTYPES),
        make_phenotype_anchors(torch.float64, None),
        source.phenotype_mask.double(),
        extrapolate=False,
    ).numpy()
    n = weights.shape[1]
    rows = np.zeros((len(local), len(shapes)), dtype=np.float32)
    rows[:, :n] = weights
    for k, pair in enumerate(pairs):
        rows[:, pair.increase] = np.maximum(local[:, k], 0)
        rows[:, pair.decrease] = np.maximum(-local[:, k], 0)
    return (rows @ shapes.reshape(len(shapes), -1)).reshape(len(local), -1, 3)
