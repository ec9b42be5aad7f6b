"""The texture of every frame: what that frame shows, in its own light, over the merged one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from backend.bake.shot import BakedShot, PosedShot
from backend.bake.texture import MEASURED, OUTSIDE, TextureBaker
from backend.bake.texture_settings import TextureSettings
from backend.head import Head

ELSEWHERE = 192
"""Alpha of a texel that another frame has shown."""

FADE = 1 / 128
"""Width of the blend from a frame's own colours to the merged ones, as a share of the side."""


def frame_textures(
    footage: Iterable, head: Head, shot: PosedShot, baked: BakedShot, size: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield frame number, colours (S, S, 3) in linear light and alpha (S, S) u8 of every frame.

    Where a frame does not show a place, or something covers it, the merged texture stands, and its
    alpha. Frames without a face give the merged texture alone. One frame is in memory at a time.
    """
    assert baked.color is not None and baked.texture is not None and len(baked.color) == size
    merged, merged_alpha = baked.color, torch.from_numpy(baked.texture[..., 3].copy())
    settings = replace(TextureSettings(), samples=1, seams=False)
    number_of = {int(index): number for number, index in enumerate(shot.frame_index)}
    baker = TextureBaker(head, size, settings)
    fallback_alpha = torch.where(
        merged_alpha == MEASURED, torch.full_like(merged_alpha, ELSEWHERE), merged_alpha
    )
    for frame in footage:
        number = number_of.get(frame.index)
        if number is None:
            continue
        if frame.corrupt or not shot.found[number]:
            yield frame.index, merged, fallback_alpha
            continue
        baker.forget()
        baker.add(
            frame.image, shot.vertices[number], shot.K[number], visible=1 - baked.covered[number]
        )
        color, seen = baker.samples()
        inside = merged_alpha != OUTSIDE
        share = _fade(seen, max(1, round(FADE * size)))[..., None]
        yield (
            frame.index,
            torch.where(inside[..., None], merged + share * (color - merged), merged),
            torch.where(seen, torch.full_like(merged_alpha, MEASURED), fallback_alpha),
        )


def _fade(seen: Tensor, reach: int) -> Tensor:
    """(S, S) 0 outside of what is seen (S, S) bool, rising to 1 within it."""
    kernel = 2 * reach + 1
    share = avg_pool2d(seen.float()[None, None], kernel, 1, reach, count_include_pad=False)[0, 0]
    return ((2 * share - 1).clamp(min=0)) * seen
