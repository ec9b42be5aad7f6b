"""What Infinite 3D Landmarks is trained to minimise; every addition to the paper has a switch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from backend.detect.infinite3d.camera import seen
from backend.detect.infinite3d.network import Encoding
from backend.train.infinite3d.truth import Truth
from backend.train.losses import gaussian_nll


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; the paper has the landmarks' alone, and zero for all the others."""

    before: float = 0.7
    """Landmarks before the rounds of the closer look."""
    presence: float = 0.3
    """Whether a window shows a face: the paper takes a face for granted."""
    window: float = 1.0
    """The transformer's window against the true region of interest."""
    shape: float = 0.1
    """Canonical points against the truth, where the truth is known."""
    pose: float = 0.1
    """Rotation and translation against the truth."""
    focal: float = 0.02
    """Focal length against the truth."""
    edge: float = 0.05
    """Lengths of mesh edges against the truth."""
    twins: float = 0.1
    """Canonical points of two views of one face against each other, where batches have any."""


def point_loss(
    points: Tensor, log_sigma: Tensor, target: Tensor, valid: Tensor, weight: Tensor
) -> Tensor:
    """Mean weighted Gaussian negative log-likelihood (Chandran et al., 2023).

    points, target (B,K,2) and log_sigma (B,K) in one unit, valid (B,K), weight (B,).
    """
    weights = valid * weight[:, None]
    return (weights * gaussian_nll(points, log_sigma, target)).sum() / weights.sum().clamp(min=1.0)


def window_loss(matrices: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean distance of the window's corners from the true region's.

    In units of the geometric mean of the frame's and the region's half sides: in the region's own,
    a few small faces would rule the gradient, in the frame's they would not count.

    matrices, target (B,2,3); weight (B,), 0 without a face.
    """
    corners = matrices.new_tensor([[-1, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]])
    difference = (matrices - target) @ corners.T
    unit = torch.linalg.det(target[:, :, :2]).abs().clamp(min=1e-4) ** 0.25
    distance = difference.norm(dim=1).mean(1) / unit
    loss = functional.smooth_l1_loss(distance, torch.zeros_like(distance), reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)


def shape_loss(canonical: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean distance (B,K,3) against (B,K,3), centimetres; valid (B,K)."""
    distance = (canonical - target).norm(dim=-1) * 100
    return (distance * valid).sum() / valid.sum().clamp(min=1.0)


def twin_loss(canonical: Tensor, twins: Tensor, weight: Tensor) -> Tensor:
    """Mean distance of the canonical points (B,K,3) of pairs of views (P,2), centimetres.

    What the paper's limitations ask for: its shapes change with the view. weight (B,).
    """
    first, second = twins.unbind(1)
    counts = ((weight[first] > 0) & (weight[second] > 0)).float()
    distance = (canonical[first] - canonical[second]).norm(dim=-1).mean(1) * 100
    return (distance * counts).sum() / counts.sum().clamp(min=1.0)


def edge_loss(canonical: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean difference of edge lengths, centimetres; points 2 i and 2 i + 1 are an edge's ends."""
    ours = (canonical[:, 0::2] - canonical[:, 1::2]).norm(dim=-1)
    theirs = (target[:, 0::2] - target[:, 1::2]).norm(dim=-1)
    difference = (ours - theirs).abs().mean(1) * 100
    return (difference * known).sum() / known.sum().clamp(min=1.0)


def pose_loss(encoding: Encoding, truth: Truth) -> Tensor:
    """Rotation, place and size of the head against the truth; a scalar.

    The translation is compared as it is seen: where the origin lies and how large the head looks.
    """
    rotation = (encoding.rotation - truth.rotation).square().sum((1, 2)).clamp(min=1e-8).sqrt()
    ours, theirs = (
        seen(encoding.translation, encoding.focal),
        seen(truth.translation, truth.focal),
    )
    place = functional.smooth_l1_loss(ours, theirs, reduction="none", beta=0.1).sum(1)
    return ((rotation + place) * truth.known).sum() / truth.known.sum().clamp(min=1.0)


def focal_loss(focal: Tensor, truth: Truth) -> Tensor:
    """Difference of the logarithms of focal lengths; far faces cannot tell theirs."""
    difference = focal.log() - truth.focal.clamp(min=0.5, max=60.0).log()
    loss = functional.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none")
    return (loss * truth.known).sum() / truth.known.sum().clamp(min=1.0)
