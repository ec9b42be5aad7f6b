"""The bake computes on the head's device: the same there as here, and nothing strays between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.bake.openings import Openings
from backend.bake.register import Shift
from backend.bake.shot_cover import ShotCover
from backend.bake.texture import TextureBaker
from backend.bake.visibility import soft_vertex_visibility
from backend.geometry.rasterizer import ShadingSettings, render_shaded
from tests.backend.bake.other_device import OtherDevice

SIZE = (240, 192)
K = np.array([[270, 0, 119.5], [0, 270, 95.5], [0, 0, 1]], np.float32)
POSES = ((-0.5, 0.0), (-0.2, 0.1), (0.1, -0.1), (0.4, 0.0))


def _pictures(bust) -> list[tuple[torch.Tensor, np.ndarray]]:
    rng = np.random.default_rng(0)
    skin = rng.integers(90, 220, (128, 128, 3)).astype(np.uint8)
    frames = []
    for yaw, pitch in POSES:
        vertices = bust.posed(yaw, pitch, 0.45)
        image = render_shaded(
            vertices, bust.faces, K, SIZE, texture=skin, uv=bust.uv, face_uv=bust.face_uv,
            settings=ShadingSettings(ambient=1.0),
        )[..., :3]  # fmt: skip
        frames.append((vertices, np.ascontiguousarray(image)))
    return frames


def _with_parts(bust):
    """A bust with a mouth and a face, so that every path of the baker is taken."""
    front = torch.nonzero(bust.vertices[:, 2] < 0)[:, 0]
    mouth = torch.nonzero((bust.vertices - torch.tensor([0, 0.04, -0.09])).norm(dim=1) < 0.03)[:, 0]
    return replace(bust, regions={"skin": bust.regions["skin"], "face": front, "mouth": mouth})


def _bake(bust, frames, put) -> dict[str, np.ndarray]:
    """Everything that is computed of the frames, with tensors where `put` puts them."""
    on = replace(
        bust,
        **{name: put(getattr(bust, name)) for name in ("faces", "uv", "face_uv", "mirror")},
    )
    stacked = np.stack([vertices.numpy() for vertices, _ in frames])
    soft = soft_vertex_visibility(stacked, on.faces, K, SIZE)
    cover, baker = ShotCover(on), TextureBaker(on, 64)
    camera = put(torch.from_numpy(K))
    for (vertices, image), seen in zip(frames, soft, strict=True):
        cover.learn(image, put(vertices), camera, put(torch.from_numpy(seen)))
    cover.solve()
    lips = Openings({"mouth": torch.tensor([[110.0, 115], [120, 110], [130, 115], [120, 122]])})
    shift = Shift(torch.from_numpy(K), torch.full((192, 240, 2), 0.3), {"mouth": torch.ones(2)})
    covers, gains = [], []
    for vertices, image in frames:
        covered, gain = cover.judge(image, put(vertices), camera)
        covers.append(covered.cpu().numpy())
        gains.append(gain.cpu().numpy())
        baker.add(
            image, vertices.numpy(), K, visible=1 - covers[-1], gain=torch.from_numpy(gains[-1]),
            shift=shift, openings=lips,
        )  # fmt: skip
    return {
        "visibility": soft,
        "covered": np.stack(covers),
        "gains": np.stack(gains),
        "texture": baker.result().astype(np.float32),
    }


def test_no_tensor_strays_from_its_device(bust) -> None:
    head, frames = _with_parts(bust), _pictures(bust)
    here = _bake(head, frames, lambda tensor: tensor)
    other = OtherDevice()
    with other:
        there = _bake(head, frames, other.put)
    assert other.n_operations > 1000
    for name, values in here.items():
        np.testing.assert_array_equal(there[name], values, err_msg=name)


def test_the_rules_are_kept() -> None:
    other = OtherDevice()
    with other:
        there, here = other.put(torch.ones(3)), torch.ones(3)
        with pytest.raises(AssertionError, match="two devices"):
            _ = there + here
        with pytest.raises(AssertionError, match=r"without cpu"):
            there.numpy()
        with pytest.raises(AssertionError, match="two devices"):
            torch.cat((there[:2], torch.zeros(1)))
        assert (there + here.to(there)).cpu().numpy().sum() == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_cuda_gives_what_the_processor_gives(bust) -> None:
    head, frames = _with_parts(bust), _pictures(bust)
    here = _bake(head, frames, lambda tensor: tensor)
    there = _bake(head, frames, lambda tensor: tensor.cuda())
    np.testing.assert_allclose(there["visibility"], here["visibility"], atol=1e-4)
    np.testing.assert_allclose(there["gains"], here["gains"], atol=1e-3)
    for name, limit in (("covered", 0.01), ("texture", 1.0)):
        assert np.abs(there[name] - here[name]).mean() < limit
