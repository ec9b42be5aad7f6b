"""Image sequences and single pictures, enumerated here so that a hole is seen and said."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from backend.footage.container import DEFAULT_MAX_PIXELS
from backend.footage.errors import FootageError
from backend.footage.frame import Footage, Frame
from backend.footage.video import read_picture

PICTURE_SUFFIXES = frozenset(".bmp .dpx .exr .j2k .jp2 .jpeg .jpg .png .tif .tiff .webp".split())
DEFAULT_RATE = Fraction(24)
"""Pictures carry no frame rate; film's is the most common one."""

_PATTERN = re.compile(r"(#+)|%0?(\d*)d")
_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$")


class ImageSequence(Footage):
    """Numbered pictures in one folder; frame 0 is the lowest number."""

    def __init__(
        self,
        path: Path,
        files: dict[int, Path],
        frame_rate: Fraction = DEFAULT_RATE,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        start: int | None = None,
        end: int | None = None,
    ) -> None:
        """Take the pictures `files`, keyed by their number.

        start, end: first and last frame counted from 0, both included. Raises `FootageError`.
        """
        self.path = path
        self.frame_rate = frame_rate
        self.warnings = []
        self._max_pixels = max_pixels
        numbers = sorted(files)
        low, high = start or 0, numbers[-1] - numbers[0] if end is None else end
        self._files = {n - numbers[0]: files[n] for n in numbers if low <= n - numbers[0] <= high}
        if not self._files:
            raise FootageError(
                f"{path}: no pictures from {low} to {high}; it has 0 to {numbers[-1] - numbers[0]}."
            )
        holes = sorted(set(range(min(self._files), max(self._files) + 1)) - set(self._files))
        if holes:
            names = ", ".join(str(hole + numbers[0]) for hole in holes[:8])
            more = f" and {len(holes) - 8} more" if len(holes) > 8 else ""
            self.warn(f"{path}: pictures {names}{more} are missing; those frames are left out.")
        self.n_frames = len(self._files)
        image, _ = read_picture(self._files[min(self._files)], max_pixels)
        self.image_size = (image.shape[1], image.shape[0])

    def frame_numbers(self) -> list[int]:
        """Numbers of the frames, ascending."""
        return list(self._files)

    def part(self, start: int, end: int) -> Footage:
        """The frames numbered `start` to `end`, both included, without listing them again."""
        chosen = copy.copy(self)
        chosen.warnings = []
        chosen._files = {i: file for i, file in self._files.items() if start <= i <= end}
        chosen.n_frames = len(chosen._files)
        return chosen

    def __iter__(self) -> Iterator[Frame]:
        for index, file in self._files.items():
            image, corrupt = read_picture(file, self._max_pixels)
            if (image.shape[1], image.shape[0]) != self.image_size:
                raise FootageError(
                    f"{file}: is {image.shape[1]} x {image.shape[0]} where the first picture is "
                    f"{self.image_size[0]} x {self.image_size[1]}. A sequence needs one size."
                )
            if corrupt:
                self.warn(f"{file}: is damaged; it may have tracked badly.")
            yield Frame(index, float(index / self.frame_rate), image, corrupt)


def list_pattern(pattern: Path) -> dict[int, Path]:
    """List the pictures of a name with `###` or `%04d` in it, keyed by number.

    Raises `FootageError` where there is none.
    """
    match = _PATTERN.search(pattern.name)
    if match is None:
        raise ValueError(f"{pattern} has no ### or %04d in its name")
    digits = len(match[1]) if match[1] else int(match[2] or 1)
    before, after = pattern.name[: match.start()], pattern.name[match.end() :]
    if not pattern.parent.is_dir():
        raise FootageError(f"{pattern.parent}: no such folder. Check the path.")
    name = re.compile(re.escape(before) + rf"(\d{{{digits},}})" + re.escape(after))
    files = {
        int(found[1]): file
        for file in pattern.parent.iterdir()
        if (found := name.fullmatch(file.name)) is not None
    }
    if not files:
        raise FootageError(f"{pattern}: no picture matches this name. Check the path.")
    return files


def list_folder(folder: Path) -> dict[int, Path]:
    """List the one image sequence of a folder, keyed by number.

    Raises `FootageError` where there is none, or more than one.
    """
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    unnumbered: list[Path] = []
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in PICTURE_SUFFIXES or file.name.startswith("."):
            continue
        found = _LAST_NUMBER.match(file.stem)
        if found is None:
            unnumbered.append(file)
        else:
            key = (found[1], found[3] + file.suffix)
            groups.setdefault(key, {})[int(found[2])] = file
    if len(groups) > 1:
        names = ", ".join(f"{before}###{after}" for before, after in sorted(groups))
        raise FootageError(f"{folder}: holds several sequences ({names}). Name one of them.")
    if groups:
        return next(iter(groups.values()))
    if len(unnumbered) == 1:
        return {0: unnumbered[0]}
    if unnumbered:
        raise FootageError(f"{folder}: its pictures have no numbers, so no order.")
    raise FootageError(f"{folder}: holds no pictures.")


def is_pattern(path: Path) -> bool:
    """Say whether a file name stands for a numbered sequence."""
    return _PATTERN.search(path.name) is not None and not path.exists()
