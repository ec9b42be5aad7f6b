"""USD: the head's exact vertices in every frame, its texture, and the camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdShade, Vt

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.export.axes import rate_of, rgb_of, to_y_up
from backend.picture_file import write_picture
from backend.track import Track

ROOT = "/Mien"
SENSOR_WIDTH = 0.36
"""Horizontal aperture in USD's unit for it, a tenth of a scene unit: 36 mm where that is metres."""


def write(track: Track, path: Path) -> list[Path]:
    """Write a stage (.usdc or .usda) and its texture beside it. Raises `BadInputError`.

    Metres, y up; the camera stands at the origin and looks along -z. Time codes are the clip's
    frame numbers.
    """
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, UsdGeom.LinearUnits.meters)
    rate = float(rate_of(track))
    stage.SetTimeCodesPerSecond(rate)
    stage.SetFramesPerSecond(rate)
    stage.SetStartTimeCode(float(track.frame_index[0]))
    stage.SetEndTimeCode(float(track.frame_index[-1]))
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, ROOT).GetPrim())
    mesh = _add_mesh(stage, track)
    _add_camera(stage, track)
    written = [path]
    image = rgb_of(track)
    if image is not None:
        texture = path.with_name(f"{path.stem}_texture.png")
        _add_material(stage, mesh, f"./{texture.name}")
        write_picture(texture, image)
        written.append(texture)
    try:
        with atomic_path(path) as temporary:
            # The library refuses a file that is there and is none of its own.
            temporary.unlink()
            if not stage.GetRootLayer().Export(str(temporary)):
                raise BadInputError(f"{path}: cannot be written.")
    except Tf.ErrorException as error:
        raise BadInputError(f"{path}: cannot be written ({error}).") from error
    return written


def _add_mesh(stage: Usd.Stage, track: Track) -> UsdGeom.Mesh:
    mesh = UsdGeom.Mesh.Define(stage, f"{ROOT}/Head")
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateOrientationAttr(UsdGeom.Tokens.rightHanded)
    count = np.full(len(track.faces), 3, np.int32)
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(count))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(track.faces.ravel()))
    primvars = UsdGeom.PrimvarsAPI(mesh)
    types, interpolation = Sdf.ValueTypeNames, UsdGeom.Tokens
    uv = np.ascontiguousarray(track.uv.reshape(-1, 2))
    primvars.CreatePrimvar("st", types.TexCoord2fArray, interpolation.faceVarying).Set(
        Vt.Vec2fArray.FromNumpy(uv)
    )
    seen = primvars.CreatePrimvar("visible", types.FloatArray, interpolation.vertex)
    found = primvars.CreatePrimvar("found", types.Float, interpolation.constant)
    points, extent = mesh.CreatePointsAttr(), mesh.CreateExtentAttr()
    for number, time in enumerate(track.frame_index.tolist()):
        vertices = to_y_up(track.vertices[number])
        box = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
        points.Set(Vt.Vec3fArray.FromNumpy(vertices), time)
        extent.Set(Vt.Vec3fArray.FromNumpy(box), time)
        visible = track.visibility[number].astype(np.float32)
        seen.Set(Vt.FloatArray.FromNumpy(visible), time)
        found.Set(float(track.found[number]), time)
    return mesh


def _add_camera(stage: Usd.Stage, track: Track) -> None:
    camera = UsdGeom.Camera.Define(stage, f"{ROOT}/Camera")
    width, height = (int(size) for size in track.image_size)
    per_pixel = SENSOR_WIDTH / width
    camera.CreateHorizontalApertureAttr(SENSOR_WIDTH)
    camera.CreateVerticalApertureAttr(per_pixel * height)
    camera.CreateClippingRangeAttr(Gf.Vec2f(0.01, 1000.0))
    focal = camera.CreateFocalLengthAttr()
    right = camera.CreateHorizontalApertureOffsetAttr()
    up = camera.CreateVerticalApertureOffsetAttr()
    # A camera's x and y focal lengths are one: pixels are square.
    for time, K in zip(track.frame_index.tolist(), track.K, strict=True):
        focal.Set(float(K[0, 0] * per_pixel), time)
        # The offset moves the window, and with it the picture's centre, off the optical axis.
        right.Set(float(((width - 1) / 2 - K[0, 2]) * per_pixel), time)
        up.Set(float((K[1, 2] - (height - 1) / 2) * per_pixel), time)


def _add_material(stage: Usd.Stage, mesh: UsdGeom.Mesh, texture: str) -> None:
    types = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, f"{ROOT}/Skin")
    reader = UsdShade.Shader.Define(stage, f"{ROOT}/Skin/Coordinates")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")
    image = UsdShade.Shader.Define(stage, f"{ROOT}/Skin/Texture")
    image.CreateIdAttr("UsdUVTexture")
    image.CreateInput("file", types.Asset).Set(Sdf.AssetPath(texture))
    image.CreateInput("sourceColorSpace", types.Token).Set("sRGB")
    image.CreateInput("st", types.Float2).ConnectToSource(
        reader.CreateOutput("result", types.Float2)
    )
    surface = UsdShade.Shader.Define(stage, f"{ROOT}/Skin/Surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", types.Float).Set(0.6)
    surface.CreateInput("diffuseColor", types.Color3f).ConnectToSource(
        image.CreateOutput("rgb", types.Float3)
    )
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
