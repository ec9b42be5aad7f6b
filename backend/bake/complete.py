"""What no frame shows: completed from the other side, then from the measured skin's statistics."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from backend.bake.color import srgb_to_linear
from backend.bake.fill import match_tone, pull_push, sample_known

SPREAD = 0.12
"""Distance from measured skin, as a share of the texture's side, over which a completion passes
from the colours beside it to the skin's usual colour."""

NEAR = 0.012
"""The same for eyes, teeth and the mouth."""

GRAIN = (0.0007, 0.0014, 0.0028)
"""Sizes of the skin's grain that is measured and put into completed skin, shares of the side."""


def complete_from_mirror(
    color: Tensor, known: Tensor, position: Tensor, place: Tensor
) -> tuple[Tensor, Tensor]:
    """Fill what is unknown from the mirrored place, in this side's tone.

    color: (S, S, 3) linear light; known: (S, S) bool; position: (P,) texels on the head; place:
    (P, 2) their mirrored pixels. Returns the colours and which texels are new, (S, S) bool.
    """
    size = len(color)
    sampled, share = sample_known(color, known, place)
    mirrored = torch.zeros(size * size, 3)
    mirrored[position] = sampled
    mirrored_known = torch.zeros(size * size, dtype=torch.bool)
    mirrored_known[position] = share > 0.5
    mirrored, mirrored_known = mirrored.reshape(size, size, 3), mirrored_known.reshape(size, size)
    new = mirrored_known & ~known
    if bool(new.any()):
        toned = match_tone(mirrored, color, known, mirrored_known)
        color = torch.where(new[..., None], toned, color)
    return color, new


def complete_part(
    color: Tensor,
    inside: Tensor,
    known: Tensor,
    default: tuple[int, int, int],
    around: Tensor | None = None,
    usual_range: tuple[float, float] = (0.3, 0.7),
) -> Tensor:
    """Spread a part's known colours smoothly over the rest of it: (S, S, 3).

    inside, known: (S, S) bool. A part without any known colour takes its default, sRGB. around:
    (S, S) bool, texels of another part that this one joins on to, as the inside of the mouth does
    to the lips. usual_range: quantiles of brightness of the known colours that it passes to away
    from what is known: the white of an eye beside its iris, the dark of a mouth.
    """
    holes = inside & ~known
    own = inside & known
    source = own if around is None else own | (around & known)
    usual = torch.tensor(srgb_to_linear(np.array(default) / 255.0), dtype=torch.float32)
    if int(own.sum()) > 20:
        colors = color[own]
        level = colors.mean(-1)
        some = level[:: max(1, len(level) // 100_000)]
        limits = torch.quantile(some, torch.tensor(usual_range))
        usual = colors[(level >= limits[0]) & (level <= limits[1])].mean(0)
    if not bool(source.any()):
        return torch.where(holes[..., None], usual, color)
    distance = cv2.distanceTransform((~source).byte().numpy(), cv2.DIST_L2, 3)
    near = torch.from_numpy(np.exp(-((distance / (NEAR * len(color))) ** 2)))[..., None]
    spread = near * pull_push(color, source) + (1 - near) * usual
    return torch.where(holes[..., None], spread, color)


def complete_smoothly(color: Tensor, inside: Tensor, known: Tensor) -> Tensor:
    """Spread the known colours of a part over all of it, without an end: (S, S, 3)."""
    source = inside & known
    if not bool(source.any()):
        return color
    return torch.where((inside & ~known)[..., None], pull_push(color, source), color)


def statistical_skin(color: Tensor, skin: Tensor, known: Tensor, face: Tensor) -> Tensor:
    """Completed skin with the usual colour and the grain of the measured: (S, S, 3).

    color: (S, S, 3) with holes filled smoothly; skin, known, face: (S, S) bool: texels of skin,
    those that were seen or mirrored, and those of the face, whose colours and grain are taken. Far
    from what was seen the colour passes to the face's median; noise has, in each of four bands, the
    standard deviation that the logarithm of the measured face has there.
    """
    source = face & known
    if int(source.sum()) < 500:
        return color
    size = len(color)
    distance = cv2.distanceTransform((~known).byte().numpy(), cv2.DIST_L2, 3)
    far = torch.from_numpy(1 - np.exp(-((distance / (SPREAD * size)) ** 2)))[..., None]
    usual = color[source].median(0).values
    # What goes on from dark hair stays hair: by the nearest colour that was seen, since the mean of
    # all around fades to skin within a finger's width.
    nearest = _nearest(color, known, _chart_of(skin, source))
    like_skin = (nearest.mean(-1, keepdim=True) / usual.mean().clamp(min=1e-3) - 0.35) / 0.3
    like_skin = like_skin.clamp(0, 1)
    far = far * like_skin
    base = like_skin * color + (1 - like_skin) * nearest
    result = (1 - far) * base + far * usual
    grain = torch.from_numpy(_grain(color, source, size))
    near = torch.from_numpy(np.clip(distance / (0.004 * size), 0, 1))
    result = result * torch.exp(grain * near)[..., None]
    return torch.where((skin & ~known)[..., None], result, color)


def _chart_of(skin: Tensor, face: Tensor) -> Tensor:
    """The connected part (S, S) bool of the skin in which most of the face lies."""
    _, labels = cv2.connectedComponents(skin.byte().numpy(), connectivity=8)
    own = np.bincount(labels[face.numpy()])
    return torch.from_numpy(labels == int(own.argmax())) & skin


def _nearest(color: Tensor, known: Tensor, chart: Tensor) -> Tensor:
    """In a chart the colour (S, S, 3) of its nearest known place, without grain; else as given."""
    size = len(color)
    source = known & chart
    share = source.float().numpy()
    sigma = max(0.5, 0.004 * size)
    smooth = cv2.GaussianBlur(color.numpy() * share[..., None], (0, 0), sigma)
    smooth /= np.maximum(cv2.GaussianBlur(share, (0, 0), sigma), 1e-3)[..., None]
    distance, labels = cv2.distanceTransformWithLabels(
        (~source).byte().numpy(), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros((int(labels.max()) + 1, 3), np.float32)
    inside = source.numpy()
    table[labels[inside]] = smooth[inside]
    # The farther, the softer: neighbours with other nearest places are no edge.
    near, far = (cv2.GaussianBlur(table[labels], (0, 0), s * size) for s in (0.006, 0.04))
    share = np.clip(distance / (0.08 * size), 0, 1)[..., None]
    spread = torch.from_numpy(((1 - share) * near + share * far).astype(np.float32))
    return torch.where(chart[..., None], spread, color)


def _grain(color: Tensor, source: Tensor, size: int) -> np.ndarray:
    """Noise (S, S) for the logarithm of colour, with the spectrum of the measured skin."""
    tone = torch.log(color.mean(-1).clamp(min=0) + 0.02).numpy()
    noise = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    # Away from the rim of what is known, whose filled surroundings have no grain.
    rim = max(2, round(2 * GRAIN[-1] * size))
    inner = cv2.erode(source.byte().numpy(), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)) > 0
    if inner.sum() < 100:
        inner = source.numpy()
    result = np.zeros((size, size), np.float32)
    for scale in GRAIN:
        sigma = scale * size
        if sigma < 0.4:
            continue
        wanted = np.abs(_band(tone, sigma)[inner])
        band = _band(noise, sigma)
        # The lower third is blind to brows, stubble, nostrils and lips (2.3 times it is a
        # Gaussian's deviation).
        third = 2.3 * float(np.percentile(wanted, 33))
        result += band * (third / max(float(band.std()), 1e-9))
    return result


def _band(plane: np.ndarray, sigma: float) -> np.ndarray:
    fine = cv2.GaussianBlur(plane, (0, 0), sigma)
    band: np.ndarray = fine - cv2.GaussianBlur(plane, (0, 0), 2 * sigma)
    return band
