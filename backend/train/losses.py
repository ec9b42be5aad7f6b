"""What the dense landmark network is trained to minimise."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from backend.detect.network import N_CONTOUR, N_DENSE, Prediction

_IMPORTANT = 4.0
_CONTOUR = 1.5


def gaussian_nll(points: Tensor, log_sigma: Tensor, target: Tensor) -> Tensor:
    """Negative logarithm of a circular Gaussian's density, but for a constant.

    points, target (...,2) and log_sigma (...) in the same unit; Wood et al., equation 1:
    log(sigma^2) + |mu - mu'|^2 / (2 sigma^2). Returns (...).
    """
    squared = (points - target).square().sum(-1)
    return 2 * log_sigma + 0.5 * squared * torch.exp(-2 * log_sigma)


@lru_cache(maxsize=1)
def landmark_weights() -> Tensor:
    """(337,) lambda of equation 1: dense320 then the silhouette, with a mean of 1.

    The 51 inner iBUG points count four times: lids, lips, brows and the nose carry the
    expression and are what people look at. The hidden 3D jaw counts half where the silhouette says
    the same better.
    """
    weights = torch.ones(N_DENSE + N_CONTOUR)
    weights[:17] = 0.5
    weights[17:68] = _IMPORTANT
    weights[N_DENSE:] = _CONTOUR
    return weights / weights.mean()


def landmark_loss(prediction: Prediction, target: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
    """Mean weighted negative log-likelihood over the windows that count.

    target (...,P,2) in window units, valid (...,P) in {0,1}, weight (...) of each window, 0 for
    one without a face. Returns a scalar; 0 where nothing counts.
    """
    weights = landmark_weights().to(target) * valid * weight[..., None]
    nll = gaussian_nll(prediction.points, prediction.log_sigma, target)
    return (weights * nll).sum() / weights.sum().clamp(min=1.0)


def presence_loss(logit: Tensor, presence: Tensor) -> Tensor:
    """Binary cross entropy of presence (...) in {0,1}; negative values are left out."""
    counts = (presence >= 0).to(logit)
    loss = functional.binary_cross_entropy_with_logits(
        logit, presence.clamp(0, 1).to(logit), reduction="none"
    )
    return (loss * counts).sum() / counts.sum().clamp(min=1.0)


def presence_target(offset: Tensor, scale: Tensor, has_face: Tensor) -> Tensor:
    """Whether windows frame a face: 1 yes, 0 no, -1 between the two.

    offset (...): distance from the window's centre to the region of interest's in window sides;
    scale (...): window side over the region's side; has_face (...) bool.
    """
    good = (offset < 0.25) & (scale > 0.6) & (scale < 1.65)
    bad = (offset > 0.45) | (scale < 0.42) | (scale > 2.4)
    target = torch.full_like(offset, -1.0)
    target[good] = 1.0
    target[bad | ~has_face] = 0.0
    return target
