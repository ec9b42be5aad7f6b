"""What every message of the protocol is made of: the base class, codes, states and field types."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

ErrorCode: TypeAlias = Literal[
    "bad_input",
    "no_face",
    "cancelled",
    "out_of_memory",
    "missing_weights",
    "protocol",
    "unauthorised",
    "path_forbidden",
    "internal",
]
"""Why something was refused or failed."""

ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)

JobState: TypeAlias = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
"""Where a job is; the last three are final."""

FINAL_STATES: frozenset[str] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class ArraySpec:
    """What an array field must look like on the wire."""

    dtype: str
    """Little-endian dtype without its byte order: u1, i4, i8, f2, f4 or f8."""

    shape: tuple[str | int, ...]
    """Sizes; a string is a size that must agree between the arrays of one message."""


Float32s: TypeAlias = NDArray[np.float32]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
JobId: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]
Pixels: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65536)]


def new_job_id() -> str:
    """Return a fresh job identifier: 32 lower-case hexadecimal digits."""
    return uuid.uuid4().hex


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of every message; the header's `type` says which one it is."""


def tag_of(message_type: type[Any]) -> str:
    """Return the name of a message type on the wire, such as "frame_result"."""
    tag = message_type.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
