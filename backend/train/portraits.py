"""Make a local training library from portraits: fitted heads, real skins and labelled crops.

    python -m backend.train.portraits --portraits DIR --landmarks NPZ --out DIR

The library holds people's pictures: it stays on the machine that made it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro
from tqdm import tqdm

from backend.errors import BadInputError
from backend.head import Head

from .portraits_crops import CROP, CropMaker, background_windows, head_pose
from .portraits_fit import FitSettings, fit_portraits
from .portraits_points import (
    Correspondence,
    calibrate,
    ibug_points,
    ibug_surface,
    sideways,
    without_far_outline,
)
from .portraits_projection import PortraitFits, SurfacePoints
from .portraits_skin import SkinLifter
from .shards import KIND_PORTRAIT, ShardWriter

_FIT_FIELDS = ("identity", "expression", "rotation", "gaze", "translation", "focal_px", "cost")
# Skins beyond these show glasses, hair or hard shadows (see LiftedSkin).
MAX_FRAMES, MAX_FOREIGN = 2.8, 2.3
CHIN_Y = 0.122
"""Metres, head frame: below lie the neck and the throat."""
_SKIN_FIGURES = ("coverage", "sharpness", "colourfulness", "frames", "foreign")


@dataclass(frozen=True)
class PortraitSettings:
    """Fit the head to portraits and lift their skins and labels."""

    portraits: Path
    """Folder of pictures."""
    landmarks: Path
    """FaceMesh's points: ``names`` (P,), ``landmarks`` (P,478,3) pixels or NaN where none are."""
    out: Path
    """Folder of the library: fits.npz, skins.npz."""
    shards: Path | None = None
    """Folder of the labelled crops; ``out``/shards when not given."""
    calibration: int = 200
    """Near-frontal portraits that teach where FaceMesh's vertices lie on our head."""
    negatives: int = 4
    """Crops without a face, at most so many a portrait."""
    exclude: tuple[str, ...] = ()
    """Portraits to leave out, by file name: where FaceMesh saw a face that is none, say."""
    seed: int = 0
    """Of the crops without a face."""
    refit: bool = False
    """Fit again although fits.npz is there."""


@dataclass(frozen=True)
class PortraitSet:
    """The usable portraits with their FaceMesh points."""

    names: tuple[str, ...]
    folder: Path
    landmarks: np.ndarray
    """(B,478,2) px, centres at integers."""
    image_size: np.ndarray
    """(B,2) width and height."""

    def __len__(self) -> int:
        return len(self.names)

    def image(self, number: int) -> np.ndarray:
        """(H,W,3) u8 RGB."""
        picture = cv2.imread(str(self.folder / self.names[number]), cv2.IMREAD_COLOR)
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def load_portraits(
    folder: Path,
    landmarks: Path,
    exclude: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
) -> PortraitSet:
    """The portraits that are there, have points, are not excluded and are among `only`, by name.

    Raises: BadInputError when the folder or the file is missing, or no portrait is usable.
    """
    if not folder.is_dir() or not landmarks.is_file():
        raise BadInputError(f"portraits {folder} or landmarks {landmarks} are not there")
    with np.load(landmarks) as data:
        names, points = [str(n) for n in data["names"]], data["landmarks"].astype(np.float64)
    keep, sizes = [], []
    for i, name in enumerate(names):
        if name in exclude or (only is not None and name not in only):
            continue
        if np.isfinite(points[i, :, :2]).all() and (folder / name).is_file():
            picture = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
            if picture is not None:
                keep.append(i)
                sizes.append(picture.shape[1::-1])
    if not keep:
        raise BadInputError(f"{folder}: none of the {len(names)} pictures is usable")
    return PortraitSet(
        tuple(names[i] for i in keep), folder, points[keep, :, :2], np.array(sizes, np.float64)
    )


def fit_all(
    head: Head, portraits: PortraitSet, calibration: int
) -> tuple[PortraitFits, Correspondence]:
    """Fit every portrait with FaceMesh's points, calibrated on near-frontal ones."""
    size = torch.from_numpy(portraits.image_size)
    points = without_far_outline(portraits.landmarks)
    width = np.linalg.norm(points[:, 33] - points[:, 263], axis=-1)
    aside = sideways(points)
    chosen = np.argsort(aside + (width < 60), kind="stable")[: 2 * calibration : 2]
    subset, subset_size = portraits.landmarks[chosen], size[chosen]
    fits = fit_portraits(
        head, ibug_surface(), torch.from_numpy(ibug_points(subset)), subset_size, FitSettings()
    )
    for _ in range(3):
        found = calibrate(head, fits, subset, portraits.image_size[chosen])
        seen = torch.from_numpy(subset[:, found.mediapipe])
        fits = fit_portraits(
            head, found.points, seen, subset_size, FitSettings(iterations=12), start=fits
        )
    found = calibrate(head, fits, subset, portraits.image_size[chosen])
    seen = torch.from_numpy(points[:, found.mediapipe])
    return fit_portraits(head, found.points, seen, size, FitSettings()), found


def posed(
    head: Head, portraits: PortraitSet, fits: PortraitFits, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N,3) in the camera frame and K (3,3) of one portrait's fit."""
    one = fits.select(slice(number, number + 1))
    size = torch.from_numpy(portraits.image_size[number : number + 1])
    return one.vertices(head)[0].numpy(), one.intrinsics(size)[0].numpy()


def point_errors(
    head: Head, portraits: PortraitSet, fits: PortraitFits, found: Correspondence
) -> np.ndarray:
    """Distances (B,L) between fitted and observed points, in inter-ocular distances (93 mm).

    NaN for the outline of turned faces.
    """
    errors = []
    observed = without_far_outline(portraits.landmarks)
    for number in range(len(portraits)):
        vertices, K = posed(head, portraits, fits, number)
        corners = vertices[found.points.corners.numpy()]
        at = (corners * found.points.barycentric.numpy()[..., None]).sum(axis=1)
        pixels = at[:, :2] / at[:, 2:] * K[0, 0] + K[:2, 2]
        seen = observed[number][found.mediapipe]
        scale = 0.093 * K[0, 0] / float(fits.translation[number, 2])
        errors.append(np.linalg.norm(pixels - seen, axis=-1) / scale)
    return np.array(errors)


def save_fits(
    path: Path, portraits: PortraitSet, fits: PortraitFits, found: Correspondence
) -> None:
    """Write fits.npz: the fields of PortraitFits, the names, and FaceMesh's surface points."""
    np.savez_compressed(
        path,
        names=np.array(portraits.names),
        mediapipe=found.mediapipe,
        corners=found.points.corners.numpy(),
        barycentric=found.points.barycentric.numpy(),
        weight=found.points.weight.numpy(),
        **{name: vars(fits)[name].float().numpy() for name in _FIT_FIELDS},
    )


def load_fits(path: Path) -> tuple[tuple[str, ...], PortraitFits, Correspondence]:
    """Names, fits and FaceMesh's surface points of fits.npz."""
    with np.load(path) as data:
        fits = PortraitFits(**{name: torch.from_numpy(data[name]) for name in _FIT_FIELDS})
        points = SurfacePoints(
            *(torch.from_numpy(data[k]) for k in ("corners", "barycentric", "weight"))
        )
        return tuple(str(n) for n in data["names"]), fits, Correspondence(data["mediapipe"], points)


def lift_all(head: Head, portraits: PortraitSet, fits: PortraitFits) -> dict[str, np.ndarray]:
    """Skins of all portraits as JPEG pictures, with what is known about each.

    Returns arrays by name: names (B,), jpeg (bytes,) u8 with offsets (B+1,), and the figures
    of LiftedSkin (B,).
    """
    lifter = SkinLifter(head)
    pictures: list[np.ndarray] = []
    rows: list[tuple[float, ...]] = []
    for number in tqdm(range(len(portraits)), desc="skins", unit="portrait"):
        vertices, K = posed(head, portraits, fits, number)
        skin = lifter.lift(portraits.image(number), vertices, K)
        encoded = cv2.imencode(
            ".jpg", cv2.cvtColor(skin.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92]
        )[1]
        pictures.append(encoded.ravel())
        rows.append(tuple(vars(skin)[figure] for figure in _SKIN_FIGURES))
    columns = dict(zip(_SKIN_FIGURES, np.array(rows).T, strict=True))
    return {"names": np.array(portraits.names), **pack(pictures), **columns}


def pack(pictures: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Encoded pictures as one array ``jpeg`` and the ``offsets`` between them."""
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in pictures])]).astype(np.int64)
    return {"jpeg": np.concatenate(pictures), "offsets": offsets}


def choose_skins(lifted: dict[str, np.ndarray], residual: np.ndarray) -> dict[str, np.ndarray]:
    """The usable skins with a quality of 0 to 1.

    Args: lifted as by lift_all; residual (B,) of the fits, in inter-ocular distances. Pictures
    without colour, with glasses, hair over the forehead or hard shadows, hardly seen or badly
    fitted, are left out.
    """
    quality = np.clip(lifted["coverage"] / 0.6, 0, 1)
    quality *= np.clip(lifted["sharpness"] / 4.0, 0.2, 1) * np.clip(1.6 - residual / 0.015, 0, 1)
    good = (quality > 0.15) & (lifted["colourfulness"] > 6.0) & (lifted["frames"] < MAX_FRAMES)
    good &= lifted["foreign"] < MAX_FOREIGN
    chosen = np.flatnonzero(good)
    if not len(chosen):
        raise BadInputError(
            f"none of {len(good)} portraits gives a skin: without colour, glasses, hair over the "
            "forehead, hard shadows, hardly seen or badly fitted"
        )
    offsets = lifted["offsets"]
    pictures = [lifted["jpeg"][offsets[i] : offsets[i + 1]] for i in chosen]
    return {
        "names": lifted["names"][chosen],
        "quality": quality[chosen].astype(np.float32),
        **pack(pictures),
    }


def write_crops(
    head: Head, portraits: PortraitSet, fits: PortraitFits, found: Correspondence, folder: Path,
    negatives: int, seed: int,
) -> tuple[int, int]:  # fmt: skip
    """Fill shards with a labelled crop of each portrait and with crops that show no face.

    negatives: of the latter, at most so many a portrait. Returns how many of each were written.
    """
    maker = CropMaker(head, found)
    extra = {"camera": ((20,), np.float32), "coefficients": ((152,), np.float32)}
    faces = ShardWriter(folder, 1024, CROP, extra)
    background = ShardWriter(folder, 1024, CROP, extra)
    rng = np.random.default_rng(seed)
    above = head.template[:, 1].numpy() < CHIN_Y
    n_faces = n_background = 0
    for number in tqdm(range(len(portraits)), desc="crops", unit="portrait"):
        image = portraits.image(number)
        vertices, K = posed(head, portraits, fits, number)
        one = [vars(fits)[name][number].numpy() for name in ("identity", "expression")]
        coefficients = np.concatenate(one).astype(np.float32)
        padding = cv2.BORDER_REFLECT_101 if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        crop = maker.make(image, vertices, K, portraits.landmarks[number], coefficients, padding)
        flat = vertices[:, :2] / vertices[:, 2:] * K[0, 0] + K[:2, 2]
        for window in background_windows(image, flat[above], rng, negatives):
            background.add(
                images=window, has_face=0, valid=np.zeros(703), kind=KIND_PORTRAIT,
                camera=np.zeros(20), coefficients=np.zeros(152),
            )  # fmt: skip
            n_background += 1
        if crop is None:
            continue
        pose = head_pose(
            head,
            *(
                vars(fits)[k][number].numpy()
                for k in ("identity", "rotation", "gaze", "translation")
            ),
        )
        crop.camera[3:18] = pose
        faces.add(
            images=crop.image, landmarks=crop.landmarks, contour=crop.contour,
            visible=crop.visible, valid=crop.valid, weight=crop.weight, kind=KIND_PORTRAIT,
            camera=crop.camera, coefficients=coefficients,
        )  # fmt: skip
        n_faces += 1
    faces.close()
    background.close()
    return n_faces, n_background


def main(settings: PortraitSettings) -> None:
    """Run all stages; finished fits are read back unless they are to be made again."""
    head = Head.load()
    portraits = load_portraits(settings.portraits, settings.landmarks, settings.exclude)
    settings.out.mkdir(parents=True, exist_ok=True)
    fits_path = settings.out / "fits.npz"
    if settings.refit or not fits_path.is_file():
        fits, found = fit_all(head, portraits, settings.calibration)
        save_fits(fits_path, portraits, fits, found)
    names, fits, found = load_fits(fits_path)
    if names != portraits.names:
        raise BadInputError(f"{fits_path} belongs to other portraits; use --refit")
    shards = settings.shards or settings.out / "shards"
    if shards.is_dir():  # a library that is made again replaces its crops
        for old in shards.glob("shard-*"):
            shutil.rmtree(old)
    n_faces, n_background = write_crops(
        head, portraits, fits, found, shards, settings.negatives, settings.seed
    )
    lifted_path = settings.out / "lifted.npz"
    if settings.refit or not lifted_path.is_file():
        np.savez(lifted_path, **lift_all(head, portraits, fits))
    with np.load(lifted_path) as data:
        lifted = dict(data)
    error = point_errors(head, portraits, fits, found)
    skins = choose_skins(lifted, np.nanmean(error, axis=1))
    np.savez(settings.out / "skins.npz", **skins)
    print(
        f"{len(portraits)} portraits fitted to {100 * np.nanmedian(error):.2f} % of the "
        f"inter-ocular distance (median point), {len(skins['names'])} skins, {n_faces} faces and "
        f"{n_background} backgrounds"
    )


if __name__ == "__main__":
    main(tyro.cli(PortraitSettings))
