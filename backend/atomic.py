"""Files that are there whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backend.errors import BadInputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name when the block succeeds.

    The temporary file keeps the suffix, which some writers read, and is removed on any exception.
    Raises `BadInputError` where the file cannot be written: no folder, no permission, a full disk.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        check_output(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    finally:
        # Where a folder stands in the way of the name, there is nothing to remove.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise `BadInputError` where `path` cannot be written, before long work is done for it.

    Nothing is made: of folders that are missing, the first that exists is asked. inputs: what the
    work reads: these, and the files of folders among them, are not to be written over.
    """
    own = path.resolve()
    if path.exists() and any(own in (i, i / own.name) for i in map(Path.resolve, inputs)):
        raise BadInputError(
            f"{path}: is read by this command: it would be lost. Name another file."
        )
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise _unwritable(path, f"{folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unwritable(path, f"{folder} may not be written to")


def _unwritable(path: Path, why: str) -> BadInputError:
    return BadInputError(f"{path}: cannot be written ({why}). Choose another place.")
