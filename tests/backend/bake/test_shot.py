"""A shot, and two cameras of one person, are baked into one texture."""

from __future__ import annotations

import numpy as np
import pytest

from backend.bake.shot import BakeSettings, PosedShot, bake_cameras, bake_shot
from backend.bake.texture import MEASURED
from backend.bake.visibility import as_u8, landmark_visibility
from backend.evaluate.bake_footage import RenderedFootage, posed
from backend.evaluate.bake_scene import add_noise, make_room, perform, render_skin
from backend.head import Head
from backend.head.landmarks import layout

SIZE = 256
SETTINGS = BakeSettings(texture_size=SIZE)


@pytest.fixture(scope="module")
def scene():
    """Two cameras before the same performance: the second is darker, and from the other side."""
    head = Head.load()
    shot = perform(head, 12, 0.3, 0)
    rng = np.random.default_rng(0)
    skin = np.clip(rng.normal((180, 140, 120), 14, (SIZE // 4, SIZE // 4, 3)), 0, 255)
    skin = skin.astype(np.uint8).repeat(4, 0).repeat(4, 1)
    room = make_room(shot, 0)
    cameras = []
    for rows, light in ((slice(0, 6), 1.0), (slice(6, 12), 0.7)):
        pictures = []
        for number, vertices in enumerate(shot.vertices[rows]):
            image = render_skin(head, vertices, shot, skin, room=room)
            pictures.append(add_noise((light * image).astype(np.uint8), 1.0, number))
        whole = posed(head, shot)
        part = PosedShot(
            frame_index=np.arange(6),
            vertices=whole.vertices[rows],
            visibility=whole.visibility[rows],
            K=whole.K[rows],
            head_pose=whole.head_pose[rows],
            expression=whole.expression[rows],
            found=whole.found[rows],
            rest_vertices=whole.rest_vertices,
        )
        cameras.append((RenderedFootage(pictures), part))
    return head, skin, cameras


def test_two_cameras_make_one_texture(scene) -> None:
    head, skin, cameras = scene
    (first, first_shot), (second, second_shot) = cameras
    alone = bake_shot(lambda: first, head, first_shot, SETTINGS)
    both = bake_cameras(
        [(lambda: first, first_shot), (lambda: second, second_shot)], head, SETTINGS
    )
    assert alone.texture is not None and len(both) == 2
    assert both[0].texture is both[1].texture is not None
    assert both[0].visibility.shape == first_shot.visibility.shape
    # Each shows one side of the head.
    assert both[0].measured_fraction > 1.15 * alone.measured_fraction
    # What only the darker camera shows has the colours of the first.
    seen = both[0].texture[..., 3] == MEASURED
    new = seen & (alone.texture[..., 3] != MEASURED)
    error = np.abs(both[0].texture[..., :3].astype(float) - skin).mean(-1)
    bias = (both[0].texture[..., :3].astype(float) - skin)[new].mean(0)
    assert new.sum() > 500
    assert np.abs(bias).max() < 12
    assert np.median(error[seen]) < 10


def test_landmarks_follow_their_triangles(scene) -> None:
    _, _, cameras = scene
    soft = as_u8(cameras[0][1].visibility)
    points = layout("dense320")
    marks = landmark_visibility(soft, points.vertices, points.barycentric)
    assert marks.shape == (6, 320) and marks.dtype == np.uint8
    everything = landmark_visibility(soft * 0 + 255, points.vertices, points.barycentric)
    assert (everything >= 254).all()
    # In the first frame the head looks far to one side: one eye's corner is hidden, the other not.
    assert (marks[0, 36] >= 128) != (marks[0, 45] >= 128) or (marks[0, 0] >= 128) != (
        marks[0, 16] >= 128
    )
