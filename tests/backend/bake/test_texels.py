"""Texels lie where the UV layout says, and every place knows its mirror image."""

from __future__ import annotations

import torch

from backend.bake.texels import build_texel_map, mirror_face_uv, uv_to_pixels


def test_texels_interpolate_their_own_uv(bust) -> None:
    texels = build_texel_map(bust.uv, bust.face_uv, 256)
    chosen = torch.arange(len(texels.position))
    uv = texels.interpolate(bust.uv[bust.face_uv], chosen)
    pixels = uv_to_pixels(uv, 256)
    torch.testing.assert_close(pixels[:, 0], (texels.position % 256).float(), atol=2e-2, rtol=0)
    torch.testing.assert_close(pixels[:, 1], (texels.position // 256).float(), atol=2e-2, rtol=0)
    covered = len(texels.position) / 256**2
    assert abs(float(texels.area.sum()) / 256**2 - covered) < 0.01


def test_mirrored_uv_leads_to_the_mirrored_point(bust) -> None:
    mirrored = mirror_face_uv(bust.faces, bust.uv, bust.face_uv, bust.mirror)
    assert not torch.isnan(mirrored).any()
    # On the bust the UVs themselves mirror about the middle of the square.
    expected = bust.uv[bust.face_uv] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    pole = (bust.faces >= len(bust.vertices) - 2).any(1)
    torch.testing.assert_close(mirrored[~pole], expected[~pole])


def test_missing_mirror_is_nan() -> None:
    faces = torch.tensor([[0, 1, 2]])
    uv = torch.rand(3, 2)
    mirrored = mirror_face_uv(faces, uv, faces, torch.tensor([3, 4, 5]))
    assert torch.isnan(mirrored).all()
