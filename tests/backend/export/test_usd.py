"""USD files, read back by USD itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pxr import Usd, UsdGeom, UsdShade, UsdValidation

from backend.errors import BadInputError
from backend.export import export_track
from backend.track import Track


@pytest.fixture(scope="module", params=[".usdc", ".usda"])
def stage(
    request: pytest.FixtureRequest, moving_track: Track, tmp_path_factory: pytest.TempPathFactory
) -> Usd.Stage:
    path = tmp_path_factory.mktemp("usd") / f"shot{request.param}"
    assert export_track(moving_track, path) == [path, path.with_name("shot_texture.png")]
    assert sorted(path.parent.iterdir()) == sorted([path, path.with_name("shot_texture.png")])
    assert path.read_bytes().startswith(b"PXR-USDC" if path.suffix == ".usdc" else b"#usda")
    return Usd.Stage.Open(str(path))


def test_units_axes_and_time(stage: Usd.Stage) -> None:
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == 25.0
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (3.0, 6.0)
    assert stage.GetDefaultPrim().GetPath() == "/Mien"


def test_mesh_is_the_track_s_in_every_frame(stage: Usd.Stage, moving_track: Track) -> None:
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/Mien/Head"))
    assert mesh.GetPointsAttr().GetTimeSamples() == [3.0, 4.0, 5.0, 6.0]
    for number, time in enumerate(moving_track.frame_index.tolist()):
        points = np.array(mesh.GetPointsAttr().Get(time))
        np.testing.assert_array_equal(points * [1, -1, -1], moving_track.vertices[number])
        low, high = np.array(mesh.GetExtentAttr().Get(time))
        assert (points >= low).all() and (points <= high).all()
    indices = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    np.testing.assert_array_equal(indices, moving_track.faces)
    assert set(mesh.GetFaceVertexCountsAttr().Get()) == {3}
    assert mesh.GetSubdivisionSchemeAttr().Get() == "none"


def test_primvars(stage: Usd.Stage, moving_track: Track) -> None:
    primvars = UsdGeom.PrimvarsAPI(stage.GetPrimAtPath("/Mien/Head"))
    st = primvars.GetPrimvar("st")
    assert st.GetInterpolation() == "faceVarying"
    np.testing.assert_array_equal(np.array(st.Get()).reshape(-1, 3, 2), moving_track.uv)
    for number, time in enumerate(moving_track.frame_index.tolist()):
        seen = np.array(primvars.GetPrimvar("visible").Get(time))
        np.testing.assert_array_equal(seen, moving_track.visibility[number])
        assert primvars.GetPrimvar("found").Get(time) == moving_track.found[number]


def test_camera_projects_as_K_does(stage: Usd.Stage, moving_track: Track) -> None:
    camera = UsdGeom.Camera(stage.GetPrimAtPath("/Mien/Camera"))
    width, height = moving_track.image_size
    for number, time in enumerate(moving_track.frame_index.tolist()):
        frustum = camera.GetCamera(time).frustum
        matrix = np.array(frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix())
        vertices = moving_track.vertices[number].astype(np.float64)
        # USD multiplies rows from the left.
        clip = np.column_stack([vertices * [1, -1, -1], np.ones(len(vertices))]) @ matrix
        x, y = (clip[:, :2] / clip[:, 3:]).T
        pixels = np.column_stack([(x + 1) / 2 * width - 0.5, (1 - y) / 2 * height - 0.5])
        expected = vertices @ moving_track.K[number].T
        np.testing.assert_allclose(pixels, expected[:, :2] / expected[:, 2:], atol=1e-3)


def test_texture_is_bound(stage: Usd.Stage, moving_track: Track) -> None:
    binding = UsdShade.MaterialBindingAPI(stage.GetPrimAtPath("/Mien/Head"))
    material, _ = binding.ComputeBoundMaterial()
    surface, _, _ = material.ComputeSurfaceSource()
    assert surface.GetShaderId() == "UsdPreviewSurface"
    source = surface.GetInput("diffuseColor").GetConnectedSources()[0][0].source
    image = UsdShade.Shader(source.GetPrim())
    file = image.GetInput("file").Get()
    assert file.path == "./shot_texture.png"
    pixels = cv2.imread(file.resolvedPath)[..., ::-1]
    np.testing.assert_array_equal(pixels, moving_track.texture[..., :3])
    reader = image.GetInput("st").GetConnectedSources()[0][0].source.GetPrim()
    assert UsdShade.Shader(reader).GetInput("varname").Get() == "st"


def test_usd_s_own_validators_have_no_complaint(stage: Usd.Stage) -> None:
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert len(validators) > 5 and [error.GetMessage() for error in errors] == []


def test_without_a_texture(moving_track: Track, tmp_path: Path) -> None:
    bare = replace(moving_track, texture=np.zeros((0, 0, 4), np.uint8))
    export_track(bare, tmp_path / "a.usdc")
    assert [path.name for path in tmp_path.iterdir()] == ["a.usdc"]
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert not stage.GetPrimAtPath("/Mien/Skin").IsValid()


def test_written_again_over_an_older_file(moving_track: Track, tmp_path: Path) -> None:
    (tmp_path / "a.usdc").write_text("something else")
    export_track(moving_track, tmp_path / "a.usdc")
    export_track(moving_track, tmp_path / "a.usdc")
    assert Usd.Stage.Open(str(tmp_path / "a.usdc")).GetPrimAtPath("/Mien/Head").IsValid()


def test_a_folder_that_cannot_be_made(moving_track: Track, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="cannot be written"):
        export_track(moving_track, tmp_path / "file" / "a.usdc")
