"""Sheets of training samples, a kind each, as the augmented windows reach the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.detect.windows import roi
from backend.picture_file import write_picture
from backend.train.augment import AugmentSettings, Cut, WindowSampler
from backend.train.batches import collate
from backend.train.infinite3d.data import N_LANDMARKS
from backend.train.shards import (
    KIND_PORTRAIT,
    KIND_REAL_SKIN,
    KIND_SYNTHETIC,
    KIND_WARP,
    ShardReader,
)

_BACKGROUND, _SCANNED, _FRAME = -1, -2, -3
KINDS: dict[str, tuple[int, str]] = {
    "rendered": (KIND_SYNTHETIC, "Rendered heads with MakeHuman's skins"),
    "real_skin": (KIND_REAL_SKIN, "Rendered heads with skins of portraits"),
    "scanned": (_SCANNED, "Rendered heads of scanned people"),
    "portrait": (KIND_PORTRAIT, "Portraits with pseudo-labels"),
    "warp": (KIND_WARP, "Portraits in other poses and expressions"),
    "frames": (_FRAME, "Whole frames, as the spatial transformer sees them"),
    "background": (_BACKGROUND, "No face"),
}
"""Name of the sheet, kind of its samples and title."""
WINDOW, FRAME = 128, 256
TILE = 224
COLUMNS = 8
_GAP = 6
_LEGEND = (
    ("iBUG 68", (70, 235, 90)),
    ("others of dense703", (255, 200, 60)),
    ("jaw's silhouette", (255, 80, 230)),
    ("not trained on", (235, 60, 50)),
    ("true region", (90, 190, 255)),
)


def write_sheets(
    shards: Sequence[Path],
    frames: Sequence[Path],
    folder: Path,
    settings: AugmentSettings,
    count: int,
    seed: int,
) -> list[Path]:
    """A PNG for each kind that the shards hold; the paths that were written.

    shards: folders of crops; frames: folders of whole frames; settings: of the windows; count:
    samples a sheet.
    """
    crops = [ShardReader(path) for path in shards]
    whole = [ShardReader(path) for path in frames]
    written: list[Path] = []
    for name, (kind, title) in KINDS.items():
        rng = np.random.default_rng([seed, kind + 3])
        readers = whole if kind == _FRAME else crops
        places = [(r, i) for r in readers for i in _rows(r, kind)]
        if not places:
            continue
        sampler = WindowSampler(settings, rng, N_LANDMARKS)
        chosen = rng.choice(len(places), min(count, len(places)), replace=False)
        tiles = []
        for place in chosen:
            reader, row = places[place]
            is_frame = kind == _FRAME
            cut = sampler.cut(reader[row], FRAME if is_frame else WINDOW, whole=is_frame)
            tiles += [_plain(cut), _labelled(cut, is_frame)]
        path = folder / f"samples_{name}.png"
        write_picture(path, _sheet(tiles, title, f"{len(places):,} samples"))
        written.append(path)
    return written


def _rows(reader: ShardReader, kind: int) -> list[int]:
    """Numbers of the samples of a kind."""
    rows: list[int] = []
    start = 0
    for shard in reader.shards:
        has_face = np.asarray(shard.fields["has_face"]) > 0
        is_scanned = "scanned_camera" in shard.fields
        if kind == _BACKGROUND:
            mask = ~has_face
        elif kind == _FRAME:
            mask = np.ones(len(has_face), bool)
        elif kind == _SCANNED:
            mask = has_face & is_scanned
        else:
            mask = has_face & (np.asarray(shard.fields["kind"]) == kind) & (not is_scanned)
        rows += (start + np.flatnonzero(mask)).tolist()
        start += len(shard)
    return rows


def _plain(cut: Cut) -> NDArray[np.uint8]:
    """The window alone, enlarged without smoothing: these pixels the network sees."""
    return cv2.resize(cut.image, (TILE, TILE), interpolation=cv2.INTER_NEAREST)


def _labelled(cut: Cut, is_frame: bool) -> NDArray[np.uint8]:
    """The window, darker, with all that the network is to say of it."""
    size = cut.image.shape[0]
    tile = (0.6 * _plain(cut).astype(np.float32)).astype(np.uint8)
    if is_frame:  # wherever the face is, the transformer has to find it
        weight, presence = cut.weight, float(cut.has_face)
    else:
        _, _, weights, presences = collate([cut]).targets(size, 1)
        weight, presence = float(weights[0, 0, 0]), float(presences[0, 0, 0])
    said = {0.0: "no face", 1.0: ""}.get(presence, "face or not: not asked")
    if not cut.has_face:
        return _tag(tile, said)
    scale = TILE / size
    points = (cut.points + 0.5) * scale - 0.5
    ibug, dense, contour, bad, region = (colour for _, colour in _LEGEND)
    corners = roi(cut.points).to_image(np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float))
    outline = np.round((corners + 0.5) * scale - 0.5).astype(np.int32)
    cv2.polylines(tile, [outline], True, region, 1, cv2.LINE_AA)
    counts = (cut.valid > 0) & (weight > 0)
    for i in range(N_LANDMARKS - 1, 16, -1):  # iBUG's jaw is drawn as the silhouette
        colour = bad if not counts[i] else ibug if i < 68 else dense
        _dot(tile, points[i], 1 if i >= 68 else 2, colour)
    for point, is_counted in zip(points[N_LANDMARKS:], counts[N_LANDMARKS:], strict=True):
        _dot(tile, point, 2, contour if is_counted else bad)
    weighed = f"weight {weight:.2f}" if weight != 1 else ""
    return _tag(tile, ", ".join(text for text in (said, weighed) if text))


def _dot(tile: NDArray[np.uint8], point: NDArray, radius: int, colour: tuple[int, ...]) -> None:
    x, y = (16 * point).round().astype(int).clip(-(2**14), 2**14).tolist()
    cv2.circle(tile, (x, y), 16 * radius - 8, colour, -1, cv2.LINE_AA, shift=4)


def _tag(tile: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    if text:
        cv2.putText(
            tile, text, (6, TILE - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255,) * 3, 1, cv2.LINE_AA
        )
    return tile


def _sheet(tiles: list[NDArray[np.uint8]], title: str, note: str) -> NDArray[np.uint8]:
    """Pairs of tiles (the window, the window with its labels) under a line that explains them."""
    blank = np.full((TILE, TILE, 3), 255, np.uint8)
    tiles = tiles + [blank] * (-len(tiles) % COLUMNS)
    rows = []
    for start in range(0, len(tiles), COLUMNS):
        parts: list[NDArray[np.uint8]] = []
        for k, tile in enumerate(tiles[start : start + COLUMNS]):
            if k:
                width = _GAP if k % 2 == 0 else 1
                parts.append(np.full((TILE, width, 3), 255, np.uint8))
            parts.append(tile)
        rows += [
            np.hstack(parts),
            np.full((_GAP, sum(p.shape[1] for p in parts), 3), 255, np.uint8),
        ]
    body = np.vstack(rows)
    head = np.full((64, body.shape[1], 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    text = f"{title} ({note})"
    cv2.putText(head, text, (8, 26), font, 0.7, (20,) * 3, 1, cv2.LINE_AA)
    x = 10
    for name, colour in _LEGEND:
        cv2.circle(head, (x + 6, 48), 6, colour, -1, cv2.LINE_AA)
        cv2.putText(head, name, (x + 18, 53), font, 0.5, (60,) * 3, 1, cv2.LINE_AA)
        x += 34 + cv2.getTextSize(name, font, 0.5, 1)[0][0]
    return np.vstack([head, body])
