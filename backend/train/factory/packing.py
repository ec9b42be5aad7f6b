"""Training state as files of at most 16 MiB with checksums, restored bit for bit.

A pack is a folder with `manifest.json` and `part-000.bin`, `part-001.bin`, ...: the parts are one
stream of the files' bytes. Floating-point arrays shrink by about a seventh when the first bytes of
all numbers come first, then the second ones: so every file is stored that way, compressed, or as it
is where that is no smaller.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from backend.atomic import atomic_path
from backend.errors import BadInputError

MANIFEST = "manifest.json"
FORMAT = "mien training state"
VERSION = 1
PART_BYTES = 16 * 2**20
_LEVEL = 6
_CHUNK = 1 << 20

Encoding = Literal["planes+zlib", "zlib", "raw"]


@dataclass(frozen=True)
class PackedFile:
    """One file of a pack."""

    path: str
    """Relative, with forward slashes."""
    bytes: int
    sha256: str
    encoding: Encoding
    start: int
    """Where its encoded bytes lie in the stream of all parts."""
    end: int


@dataclass(frozen=True)
class Part:
    """One part of the stream."""

    name: str
    bytes: int
    sha256: str


def pack_files(root: Path, paths: Iterable[Path], out: Path, part_bytes: int = PART_BYTES) -> int:
    """Write files, each by its path relative to `root`, as a pack in the folder `out`.

    Parts and manifest of an older pack there are replaced. Returns the bytes of the parts.
    Raises: BadInputError for a file that is not there or cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in [*out.glob("part-*.bin"), out / MANIFEST]:
        old.unlink(missing_ok=True)
    files: list[PackedFile] = []
    parts = _PartWriter(out, part_bytes)
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"{path}: cannot be packed ({error.strerror}).") from error
        encoding, encoded = _encode(content)
        start = parts.total
        parts.write(encoded)
        name = path.relative_to(root).as_posix()
        digest = hashlib.sha256(content).hexdigest()
        files.append(PackedFile(name, len(content), digest, encoding, start, parts.total))
    parts.close()
    body = {"files": [asdict(f) for f in files], "parts": [asdict(p) for p in parts.written]}
    manifest = {"format": FORMAT, "version": VERSION, "sha256": _digest(body), **body}
    # Last of all: a pack that was interrupted has no manifest.
    with atomic_path(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")
    return parts.total


def unpack_files(pack: Path, root: Path) -> list[Path]:
    """Restore all files of a pack under `root`; the paths that were written.

    Everything is checked before the first file is put in its place.
    Raises: BadInputError that names the part or file which is missing, damaged or not of a pack.
    """
    files, parts = _read_manifest(pack)
    for part in parts:
        _check_part(pack / part.name, part)
    written: list[Path] = []
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as folder:
        stream = _Stream(pack, parts)
        for number, file in enumerate(files):
            content = _decode(stream.read(file.start, file.end), file, pack)
            (Path(folder) / str(number)).write_bytes(content)
        for number, file in enumerate(files):
            target = root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(folder) / str(number), target)
            written.append(target)
    return written


def _encode(content: bytes) -> tuple[Encoding, bytes]:
    plain = zlib.compress(content, _LEVEL)
    best: tuple[Encoding, bytes] = (
        ("zlib", plain) if len(plain) < len(content) else ("raw", content)
    )
    planes = zlib.compress(_to_planes(content), _LEVEL)
    return ("planes+zlib", planes) if len(planes) < len(best[1]) else best


def _to_planes(content: bytes) -> bytes:
    """The first bytes of all groups of four, then the second ones; what is left over comes last."""
    whole = len(content) // 4 * 4
    planes = np.frombuffer(content, np.uint8, whole).reshape(-1, 4).T
    return planes.tobytes() + content[whole:]


def _from_planes(planes: bytes) -> bytes:
    whole = len(planes) // 4 * 4
    content = np.frombuffer(planes, np.uint8, whole).reshape(4, -1).T
    return content.tobytes() + planes[whole:]


def _decode(encoded: bytes, file: PackedFile, pack: Path) -> bytes:
    try:
        content = encoded if file.encoding == "raw" else zlib.decompress(encoded)
    except zlib.error as error:
        raise BadInputError(f"{pack}: {file.path} is damaged ({error}).") from error
    if file.encoding == "planes+zlib":
        content = _from_planes(content)
    if len(content) != file.bytes or hashlib.sha256(content).hexdigest() != file.sha256:
        raise BadInputError(
            f"{pack}: {file.path} does not have the checksum that it was packed by."
        )
    return content


class _PartWriter:
    """Cuts a stream into files."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._buffer = bytearray()
        self.written: list[Part] = []
        self.total = 0

    def write(self, content: bytes) -> None:
        self._buffer += content
        self.total += len(content)
        while len(self._buffer) >= self._size:
            self._flush(self._size)

    def close(self) -> None:
        if self._buffer:
            self._flush(len(self._buffer))

    def _flush(self, count: int) -> None:
        content = bytes(self._buffer[:count])
        del self._buffer[:count]
        name = f"part-{len(self.written):03d}.bin"
        with atomic_path(self._folder / name) as temporary:
            temporary.write_bytes(content)
        self.written.append(Part(name, len(content), hashlib.sha256(content).hexdigest()))


class _Stream:
    """Reads ranges of the parts' bytes."""

    def __init__(self, folder: Path, parts: Sequence[Part]) -> None:
        self._folder, self._parts = folder, parts

    def read(self, start: int, end: int) -> bytes:
        out, at = bytearray(), 0
        for part in self._parts:
            low, high = max(start - at, 0), min(end - at, part.bytes)
            if low < high:
                with (self._folder / part.name).open("rb") as file:
                    file.seek(low)
                    out += file.read(high - low)
            at += part.bytes
        return bytes(out)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read_manifest(pack: Path) -> tuple[list[PackedFile], list[Part]]:
    path = pack / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        if manifest["format"] != FORMAT:
            raise ValueError("of something else")
        if manifest["version"] != VERSION:
            raise BadInputError(f"{path}: has version {manifest['version']}, not {VERSION}.")
        body = {name: manifest[name] for name in ("files", "parts")}
        if _digest(body) != manifest["sha256"]:
            raise ValueError("its own checksum differs")
        files = [PackedFile(**entry) for entry in body["files"]]
        parts = [Part(**entry) for entry in body["parts"]]
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: missing; without it the parts cannot be read.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: damaged or no manifest ({error}).") from error
    for name in [*(f.path for f in files), *(p.name for p in parts)]:
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts or "\\" in name:
            raise BadInputError(f"{path}: {name} would be written outside of the folder.")
    return files, parts


def _check_part(path: Path, part: Part) -> None:
    if not path.is_file():
        raise BadInputError(f"{path}: this part is missing.")
    size = path.stat().st_size
    if size != part.bytes:
        raise BadInputError(f"{path}: has {size} bytes instead of {part.bytes}.")
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    if digest.hexdigest() != part.sha256:
        raise BadInputError(f"{path}: is damaged (its checksum differs).")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
