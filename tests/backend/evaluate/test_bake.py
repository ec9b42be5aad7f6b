"""The bake benchmark reaches its marks on the shipped head, and its ray caster is right."""

from __future__ import annotations

import torch

from backend.evaluate.bake import run
from backend.evaluate.bake_scene import cast_rays
from backend.evaluate.settings import BenchSettings


def test_quick_benchmark_reaches_the_marks() -> None:
    figures = run(BenchSettings(quick=True))
    assert figures["visibility_f1_self_true_mesh"] >= 0.99
    assert figures["texture_psnr_db_true_mesh"] >= 27
    assert figures["rerender_psnr_db"] >= 30
    assert 0.3 < figures["measured_fraction"] < 0.7
    assert figures["false_cover_percent"] < 2
    assert figures["visibility_f1_occluder_true_mesh"] >= 0.6


def test_rays_stop_at_the_first_triangle() -> None:
    near = torch.tensor([[-0.1, -0.1, 1.0], [0.1, -0.1, 1.0], [0.0, 0.1, 1.0]])
    far = torch.tensor([[0.0, 0.0, 2.0], [0.5, 0.0, 2.0], [0.0, 0.5, 2.0]])
    seen = cast_rays(torch.cat((near, far)), torch.tensor([[0, 1, 2], [3, 4, 5]]), 1e-4)
    assert seen.tolist() == [True, True, True, False, True, True]
    assert cast_rays(far, torch.tensor([[0, 1, 2]]), 1e-4).all()
