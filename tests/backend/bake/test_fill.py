"""Filling keeps what is known, is smooth, and meets the tone of its surroundings."""

from __future__ import annotations

import torch

from backend.bake.color import linear_to_srgb8, srgb8_to_linear
from backend.bake.complete import complete_smoothly, statistical_skin
from backend.bake.fill import match_tone, pad_alpha, pull_push, sample_known


def test_pull_push_keeps_the_known_and_reproduces_a_constant() -> None:
    generator = torch.Generator().manual_seed(0)
    color = torch.rand(64, 64, 3, generator=generator)
    known = torch.rand(64, 64, generator=generator) > 0.7
    filled = pull_push(color, known)
    torch.testing.assert_close(filled[known], color[known])
    assert filled.min() >= 0 and filled.max() <= 1
    one = torch.zeros(64, 64, dtype=torch.bool)
    one[5, 60] = True
    torch.testing.assert_close(pull_push(color, one), color[5, 60].expand(64, 64, 3))
    assert (pull_push(color, torch.zeros(64, 64)) == 0).all()


def test_pull_push_bridges_a_gap_smoothly() -> None:
    color = torch.zeros(128, 128, 1)
    known = torch.zeros(128, 128, dtype=torch.bool)
    known[:, :32] = known[:, 96:] = True
    color[:, 96:] = 1.0
    filled = pull_push(color, known)[..., 0]
    assert (filled[64].diff() >= -1e-6).all() and filled[64].diff().max() < 0.15
    assert abs(float(filled[64, 60:68].mean()) - 0.5) < 0.1


def test_sample_known_ignores_the_unknown() -> None:
    color = torch.zeros(8, 8, 3)
    color[2, 3], color[2, 4] = 0.5, 99.0
    known = torch.zeros(8, 8, dtype=torch.bool)
    known[2, 3] = True
    pixels = torch.tensor([[3.0, 2.0], [3.25, 2.0], [6.0, 6.0], [torch.nan, 1.0]])
    values, share = sample_known(color, known, pixels)
    torch.testing.assert_close(values[:2], torch.full((2, 3), 0.5))
    torch.testing.assert_close(share, torch.tensor([1.0, 0.75, 0.0, 0.0]))


def test_match_tone_takes_over_the_light_of_its_side() -> None:
    size = 64
    generator = torch.Generator().manual_seed(1)
    albedo = 0.3 + 0.2 * torch.rand(size, size, 3, generator=generator)
    light = torch.full((size, size, 1), 1.4)
    known = torch.zeros(size, size, dtype=torch.bool)
    known[:, :40] = True
    mirrored_known = torch.zeros(size, size, dtype=torch.bool)
    mirrored_known[:, 20:] = True
    toned = match_tone(albedo, albedo * light, known, mirrored_known)
    torch.testing.assert_close(toned[:, 40:], (albedo * light)[:, 40:], rtol=0.03, atol=0)


def test_alpha_grows_outwards_only_over_nothing() -> None:
    alpha = torch.zeros(16, 16, dtype=torch.uint8)
    alpha[8, 8], alpha[8, 9] = 255, 64
    grown = pad_alpha(alpha, 2)
    assert grown[8, 9] == 64 and grown[6, 6] == 255 and grown[8, 5] == 0


def test_srgb_round_trip_is_exact() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    linear = torch.from_numpy(srgb8_to_linear(levels.numpy()))
    assert torch.equal(linear_to_srgb8(linear), levels)
    assert abs(float(linear[188]) - 0.503) < 1e-3


def test_hair_goes_on_as_hair_beside_skin_that_goes_on_as_skin() -> None:
    size = 256
    skin = torch.ones(size, size, dtype=torch.bool)
    known = torch.zeros(size, size, dtype=torch.bool)
    known[96:200, 80:176] = True
    color = torch.full((size, size, 3), 0.4)
    # The upper rim of what was seen is dark hair; all around it is unknown.
    color[:116] = 0.02
    color = color * known[..., None]
    filled = complete_smoothly(color, skin, known)
    face = known.clone()
    face[:120] = False
    result = statistical_skin(filled, skin, known, face).mean(-1)
    assert float(result[40:90, 110:146].max()) < 0.15
    assert float(result[215:250, 110:146].min()) > 0.25
    # Another chart takes nothing from this one.
    apart = skin.clone()
    apart[60:66] = False
    beyond = statistical_skin(filled, apart, known, face).mean(-1)
    torch.testing.assert_close(beyond[120:], result[120:])
