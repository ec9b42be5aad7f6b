"""What can be wrong with footage, said so that an artist can act on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av.error

from backend.errors import BadInputError


class FootageError(BadInputError):
    """The footage cannot be read; the message names the file and what to do."""


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn the decoder's errors into `FootageError`s that name `path` and the way out."""
    try:
        yield
    except av.error.FileNotFoundError as error:
        raise FootageError(f"{path}: no such file. Check the path.") from error
    except av.error.IsADirectoryError as error:
        raise FootageError(f"{path}: is a folder, not a clip.") from error
    except av.error.PermissionError as error:
        raise FootageError(f"{path}: may not be read. Check its permissions.") from error
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        raise FootageError(
            f"{path}: is damaged, incomplete or not a video or picture. "
            "Copy it again, or export it anew (H.264 in .mp4 or a PNG sequence are safe)."
        ) from error
    except (av.error.DecoderNotFoundError, av.error.DemuxerNotFoundError) as error:
        raise FootageError(
            f"{path}: uses a codec or format that is not supported here. "
            "Convert it to H.264 in .mp4 or to a PNG sequence."
        ) from error
    except av.error.MemoryError as error:
        raise MemoryError(f"{path}: not enough memory to decode it.") from error
    except av.error.FFmpegError as error:
        raise FootageError(
            f"{path}: cannot be decoded ({error.strerror}). "
            "Convert it to H.264 in .mp4 or to a PNG sequence."
        ) from error
