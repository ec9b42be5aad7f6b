"""Messages put together: order, frames without a face, and the promises of the track format."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from backend.assembly import assemble_track
from shared.codec import decode_from_server, encode
from shared.conventions import intrinsics, rotvec_to_rotmat
from shared.messages import FrameResult, ModelResult
from tests.backend.conftest import KnownShot


def test_a_track_from_the_wire_equals_one_made_here(known_shot: KnownShot) -> None:
    def through_the_wire(message: ModelResult | FrameResult):
        return decode_from_server([bytes(part) for part in encode(message)])

    track = known_shot.track
    again = assemble_track(
        through_the_wire(known_shot.model),
        [through_the_wire(frame) for frame in reversed(known_shot.frames)],
        known_shot.texture,
        intrinsics(400.0, (320, 240)),
        (320, 240),
        Fraction(24),
    )
    for name in track.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(track, name), getattr(again, name), err_msg=name)


def test_frames_without_a_face_have_no_landmarks_but_a_pose(known_shot: KnownShot) -> None:
    track = known_shot.track
    assert track.found.tolist() == [True, False, True]
    assert np.isnan(track.landmarks_2d[1]).all() and np.isnan(track.landmark_sigma[1]).all()
    assert np.isfinite(track.landmarks_2d[[0, 2]]).all()
    assert np.isfinite(track.vertices).all() and np.isfinite(track.head_pose).all()


def test_vertices_follow_from_the_stored_parts_as_the_format_says(known_shot: KnownShot) -> None:
    """docs/track-format.md: rest + shape keys, skinned to joints with joint rotations, moved."""
    track = known_shot.track
    for frame in range(track.n_frames):
        offsets = np.tensordot(track.expression[frame], track.shape_keys.astype(np.float64), 1)
        bind = track.rest_vertices + offsets
        posed = np.zeros_like(bind)
        transforms: list[np.ndarray] = []
        for joint, parent in enumerate((-1, 0, 1, 1)):
            rotation = rotvec_to_rotmat(track.joint_rotations[frame, joint].astype(np.float64))
            local = np.eye(4)
            local[:3, :3] = rotation
            local[:3, 3] = track.joints[joint] - rotation @ track.joints[joint]
            transforms.append(local if parent < 0 else transforms[parent] @ local)
            placed = bind @ transforms[joint][:3, :3].T + transforms[joint][:3, 3]
            posed += track.skin_weights[:, joint : joint + 1] * placed
        posed += track.translation[frame]
        np.testing.assert_allclose(posed, track.vertices[frame], atol=2e-5)
        pose = transforms[1].copy()
        pose[:3, 3] += track.translation[frame]
        np.testing.assert_allclose(pose, track.head_pose[frame], atol=1e-5)


def test_frames_without_vertices_are_refused(known_shot: KnownShot) -> None:
    preview = FrameResult(
        stage="preview",
        frame_index=0,
        timestamp=0.0,
        found=True,
        focal_px=400.0,
        expression=known_shot.frames[0].expression,
        joint_rotations=known_shot.frames[0].joint_rotations,
        translation=known_shot.frames[0].translation,
        head_pose=known_shot.frames[0].head_pose,
        eye_rotation=known_shot.frames[0].eye_rotation,
    )
    with pytest.raises(ValueError, match="without its vertices"):
        assemble_track(known_shot.model, [preview], None, np.eye(3), (320, 240), Fraction(24))


def test_model_names_match_the_head(known_shot: KnownShot) -> None:
    head, model = known_shot.head, known_shot.model
    assert tuple(model.expression_names) == head.expression_names
    np.testing.assert_allclose(model.neutral, head.template.numpy(), atol=1e-7)
    assert model.faces.max() == head.n_vertices - 1
    assert model.uv.shape == (len(head.faces), 3, 2)
    assert torch.equal(torch.from_numpy(model.faces).long(), head.faces.cpu())
