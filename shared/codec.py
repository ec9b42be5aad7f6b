"""Messages to frames and back: [magic + major version][JSON header][raw buffers].

The header is the message without its arrays, plus `type` and `arrays`: name, dtype and shape of
each buffer, in order. Buffers are little-endian and C-ordered. Nothing is ever pickled, unknown
header fields are ignored, and whatever arrives, decoding returns a message or raises DecodeError.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from .messages import CLIENT_MESSAGES, SERVER_MESSAGES, ArraySpec, Message, tag_of
from .version import PROTOCOL_MAJOR

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC = b"MIEN"
VERSION_FRAME = MAGIC + bytes([PROTOCOL_MAJOR])

WIRE_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name if name == "u1" else "<" + name)
    for name in ("u1", "i4", "i8", "f2", "f4", "f8")
}
"""The dtypes that may travel, by their name in the header."""


@dataclass(frozen=True)
class Limits:
    """Sizes beyond which a message is refused."""

    header_bytes: int = 64 * 1024
    """Length of the JSON header."""

    buffers: int = 16
    """Number of buffers."""

    dimensions: int = 4
    """Dimensions of an array."""

    total_bytes: int = 384 * 1024 * 1024
    """Length of all frames together."""


LIMITS = Limits()


class DecodeError(Exception):
    """Frames that are not a message of this protocol; the text says why."""


class EncodeError(Exception):
    """A message that does not fit the protocol: a wrong dtype or shape, or too large."""


class _ArrayHeader(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: list[int]


@cache
def array_specs(message_type: type[Message]) -> dict[str, ArraySpec]:
    """Return the array fields of a message type, in order, with their dtype and shape."""
    specs: dict[str, ArraySpec] = {}
    for name, hint in typing.get_type_hints(message_type, include_extras=True).items():
        for part in (hint, *typing.get_args(hint)):
            for extra in getattr(part, "__metadata__", ()):
                if isinstance(extra, ArraySpec):
                    specs[name] = extra
    return specs


def _check_array(
    name: str, dtype: str, shape: Sequence[int], spec: ArraySpec, sizes: dict[str, int]
) -> None:
    """Raise ValueError unless dtype and shape are as declared; sizes collects the letters."""
    if dtype != spec.dtype:
        raise ValueError(f"array {name!r} must be {spec.dtype}, not {dtype}")
    if len(shape) != len(spec.shape):
        raise ValueError(f"array {name!r} must have shape {spec.shape}, not {tuple(shape)}")
    for size, wanted in zip(shape, spec.shape, strict=True):
        expected = sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
        if size != expected:
            raise ValueError(
                f"array {name!r} must have shape {spec.shape}, not {tuple(shape)}"
                f" ({wanted} = {expected})"
            )


def _wire_name(dtype: np.dtype[Any]) -> str:
    return dtype.newbyteorder("=").str.lstrip("<>=|")


def encode(message: Message, limits: Limits = LIMITS) -> list[Buffer]:
    """Return the frames of a message: version, header, then one buffer for each array.

    Arrays are sent without a copy where they are already little-endian and C-ordered, so they
    must not change before the frames are sent. Raises EncodeError.
    """
    specs = array_specs(type(message))
    header: dict[str, Any] = {"type": tag_of(type(message))}
    arrays: list[_ArrayHeader] = []
    buffers: list[Buffer] = []
    sizes: dict[str, int] = {}
    for name in message.__struct_fields__:
        value = getattr(message, name)
        if name not in specs:
            if isinstance(value, float) and not math.isfinite(value):
                # JSON has no such number: the receiver would refuse the message.
                raise EncodeError(f"{type(message).__name__}: {name} is {value}")
            header[name] = value
            continue
        if value is None:
            continue
        array: NDArray[Any] = np.asarray(value)
        dtype = _wire_name(array.dtype)
        try:
            _check_array(name, dtype, array.shape, specs[name], sizes)
        except ValueError as error:
            raise EncodeError(f"{type(message).__name__}: {error}") from None
        array = np.ascontiguousarray(array, dtype=WIRE_DTYPES[dtype]).reshape(array.shape)
        arrays.append(_ArrayHeader(name, dtype, list(array.shape)))
        buffers.append(array.reshape(-1).view(np.uint8).data if array.size else b"")
    if arrays:
        header["arrays"] = arrays
    try:
        text = msgspec.json.encode(header)
    except Exception as error:
        raise EncodeError(f"{type(message).__name__}: {error}") from error
    frames: list[Buffer] = [VERSION_FRAME, text, *buffers]
    if len(text) > limits.header_bytes:
        raise EncodeError(f"the header has {len(text)} bytes, more than {limits.header_bytes}")
    if frames_size(frames) > limits.total_bytes:
        raise EncodeError(f"the message has more than {limits.total_bytes} bytes")
    return frames


def frames_size(frames: Iterable[Buffer]) -> int:
    """Return the length of all frames together in bytes."""
    return sum(memoryview(frame).nbytes for frame in frames)


class Decoder:
    """Turns frames into messages of the given types.

    Arrays of a decoded message are read-only views of the frames, without a copy.
    """

    def __init__(self, message_types: Iterable[type[Message]], limits: Limits = LIMITS) -> None:
        self.limits = limits
        self._types = {tag_of(message_type): message_type for message_type in message_types}

    def __call__(self, frames: Sequence[Buffer]) -> Any:
        """Return the message of these frames. Raises DecodeError and nothing else."""
        try:
            return self._decode(frames)
        except DecodeError:
            raise
        except Exception as error:
            # Besides its own errors msgspec lets UnicodeDecodeError and RecursionError out.
            text = str(error)[:500] or type(error).__name__
            raise DecodeError(f"not a valid message: {text}") from error

    def _decode(self, frames: Sequence[Buffer]) -> Message:
        limits = self.limits
        if len(frames) < 2:
            raise DecodeError("a message has at least two frames: version and header")
        check_version(frames[0])
        if len(frames) - 2 > limits.buffers:
            raise DecodeError(f"{len(frames) - 2} buffers, more than {limits.buffers}")
        views = [memoryview(frame) for frame in frames]
        if sum(view.nbytes for view in views) > limits.total_bytes:
            raise DecodeError(f"the message has more than {limits.total_bytes} bytes")
        if views[1].nbytes > limits.header_bytes:
            raise DecodeError(f"the header has more than {limits.header_bytes} bytes")
        header = msgspec.json.decode(views[1])
        if not isinstance(header, dict):
            raise DecodeError("the header must be a JSON object")
        message_type = self._types.get(str(header.get("type")))
        if message_type is None:
            raise DecodeError(f"unknown message type {str(header.get('type'))[:64]!r}")
        entries = msgspec.convert(header.pop("arrays", []), list[_ArrayHeader])
        if len(entries) != len(frames) - 2:
            raise DecodeError(f"{len(entries)} arrays stated, {len(frames) - 2} buffers sent")
        specs = array_specs(message_type)
        for name in specs:
            header.pop(name, None)
        sizes: dict[str, int] = {}
        seen: set[str] = set()
        for entry, view in zip(entries, views[2:], strict=True):
            if entry.name in seen:
                raise DecodeError(f"array {entry.name[:64]!r} stated twice")
            seen.add(entry.name)
            array = _array_from(entry, view, limits)
            if entry.name in specs:
                _check_array(entry.name, entry.dtype, entry.shape, specs[entry.name], sizes)
                header[entry.name] = array
        return msgspec.convert(header, message_type)


def check_version(frame: Buffer) -> None:
    """Raise DecodeError unless this first frame is Mien's, of the same major version."""
    data = bytes(memoryview(frame)[:64])
    if len(data) != len(MAGIC) + 1 or not data.startswith(MAGIC):
        raise DecodeError("this is not a message of Mien: the first frame has no magic number")
    if data[-1] != PROTOCOL_MAJOR:
        raise DecodeError(
            f"the other side speaks protocol version {data[-1]}, this side speaks version"
            f" {PROTOCOL_MAJOR}: install the same version of Mien on both"
        )


def _array_from(entry: _ArrayHeader, view: memoryview, limits: Limits) -> NDArray[Any]:
    dtype = WIRE_DTYPES.get(entry.dtype)
    if dtype is None:
        raise DecodeError(f"array {entry.name[:64]!r} has unknown dtype {entry.dtype[:16]!r}")
    if len(entry.shape) > limits.dimensions or min(entry.shape, default=0) < 0:
        raise DecodeError(f"array {entry.name[:64]!r} has an impossible shape")
    expected = math.prod(entry.shape) * dtype.itemsize
    if expected != view.nbytes:
        raise DecodeError(
            f"array {entry.name[:64]!r} should have {expected} bytes, its buffer has {view.nbytes}"
        )
    if expected == 0:
        return np.empty(entry.shape, dtype)
    return np.frombuffer(view, dtype).reshape(entry.shape)


decode_from_client = Decoder(CLIENT_MESSAGES)
"""Decodes what a client may send."""

decode_from_server = Decoder(SERVER_MESSAGES)
"""Decodes what a server may send."""
