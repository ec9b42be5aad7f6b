"""Reading .npz files that may be anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import BadInputError


def read_arrays(path: Path, damaged: str) -> dict[str, Any]:
    """All arrays of a file by name.

    damaged: what to say of a file that does not read as one, after its name. Raises
    `BadInputError` that names the file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise BadInputError(f"{path}: no such file. Check the path.") from error
    except IsADirectoryError as error:
        raise BadInputError(f"{path}: is a folder, not a file.") from error
    except PermissionError as error:
        raise BadInputError(f"{path}: may not be read. Check its permissions.") from error
    except MemoryError:
        raise
    except Exception as error:
        # Flipped bits show in the archive's heads, in what is packed, or in an array's own head,
        # which is Python: there is no end of what that raises.
        raise BadInputError(f"{path}: {damaged}") from error
