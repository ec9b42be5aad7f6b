"""Messages survive the wire, and nothing that arrives can do more than raise DecodeError."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from shared import messages as m
from shared.codec import (
    VERSION_FRAME,
    DecodeError,
    Decoder,
    EncodeError,
    Limits,
    array_specs,
    decode_from_client,
    decode_from_server,
    encode,
)
from shared.version import PROTOCOL_MAJOR

ALL = tuple(dict.fromkeys((*m.CLIENT_MESSAGES, *m.SERVER_MESSAGES)))
decode = Decoder(ALL)
Make = Callable[..., Any]


def wire(message: m.Message) -> list[bytes]:
    return [bytes(frame) for frame in encode(message)]


def assert_same(a: m.Message, b: m.Message) -> None:
    assert type(a) is type(b)
    for name in a.__struct_fields__:
        first, second = getattr(a, name), getattr(b, name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second)
        else:
            assert first == second, name


@pytest.mark.parametrize("message_type", ALL, ids=m.tag_of)
def test_every_message_round_trips(message_type: type[m.Message], make: Make) -> None:
    message = make(message_type)
    frames = wire(message)
    again = decode(frames)
    assert_same(message, again)
    assert wire(again) == frames


@pytest.mark.parametrize("message_type", [t for t in ALL if not array_specs(t)], ids=m.tag_of)
def test_defaults_may_be_left_out(message_type: type[m.Message], make: Make) -> None:
    full = make(message_type)
    fields = msgspec.structs.fields(message_type)
    required = {field.name: getattr(full, field.name) for field in fields if field.required}
    header = {"type": m.tag_of(message_type), **required}
    assert_same(decode([VERSION_FRAME, msgspec.json.encode(header)]), message_type(**required))


def test_tags_are_unique_and_each_side_only_takes_what_the_other_may_send(make: Make) -> None:
    tags = [m.tag_of(message_type) for message_type in ALL]
    assert len(set(tags)) == len(tags)
    with pytest.raises(DecodeError, match="unknown message type"):
        decode_from_client(wire(make(m.JobDone)))
    with pytest.raises(DecodeError, match="unknown message type"):
        decode_from_server(wire(make(m.SubmitJob)))


def test_arrays_arrive_without_a_copy_and_any_layout_may_be_sent(make: Make) -> None:
    message = make(m.DiagnosticResult)
    fortran = m.DiagnosticResult(step=0, values=np.asfortranarray(message.values))
    big_endian = m.DiagnosticResult(step=0, values=message.values.astype(">f8"))
    strided = m.DiagnosticResult(step=0, values=np.repeat(message.values, 2, 1)[:, ::2])
    for other in (fortran, big_endian, strided):
        frames = wire(other)
        result = decode(frames)
        np.testing.assert_array_equal(result.values, message.values)
        assert result.values.dtype.str == "<f8"
        assert not result.values.flags.owndata and not result.values.flags.writeable


def test_empty_arrays_travel() -> None:
    message = m.DiagnosticResult(step=0, values=np.zeros((0, 0)))
    assert decode(wire(message)).values.shape == (0, 0)


def test_unknown_fields_and_arrays_are_ignored(make: Make) -> None:
    message = make(m.DiagnosticResult)
    frames = wire(message)
    header = json.loads(frames[1])
    header["colour"] = {"a": [1, 2]}
    header["arrays"].append({"name": "extra", "dtype": "u1", "shape": [3], "note": 1})
    assert_same(decode([frames[0], json.dumps(header).encode(), *frames[2:], b"abc"]), message)


def test_wrong_dtype_or_shape_is_not_sent(make: Make) -> None:
    with pytest.raises(EncodeError, match="f8"):
        encode(m.DiagnosticResult(step=0, values=np.zeros((2, 2), np.float32)))
    with pytest.raises(EncodeError, match="shape"):
        encode(m.DiagnosticResult(step=0, values=np.zeros((2, 3))))
    with pytest.raises(EncodeError, match="timestamp is nan"):
        frame = make(m.FrameResult)
        encode(msgspec.structs.replace(frame, timestamp=float("nan")))
    with pytest.raises(EncodeError, match="header"):
        encode(m.Error(code="internal", message="x" * 70_000))


def with_header(frames: list[bytes], **changes: Any) -> list[bytes]:
    header = {**json.loads(frames[1]), **changes}
    return [frames[0], json.dumps(header).encode(), *frames[2:]]


def array(name: str = "values", dtype: str = "f8", shape: Any = (3, 3)) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape}


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ([array(shape=[2, 2])], "should have 32 bytes"),
        ([array(shape=[3, 4])], "should have 96 bytes"),
        ([array(shape=[1, 1, 3, 3, 1])], "impossible shape"),
        ([array(shape=[-3, -3])], "impossible shape"),
        ([array(shape=[2**40, 2**40])], "should have"),
        ([array(shape=[9])], "must have shape"),
        ([array(shape=[1, 9])], "must have shape"),
        ([array(dtype="i8")], "must be f8"),
        ([array(dtype="O")], "unknown dtype"),
        ([array(dtype="<f8")], "unknown dtype"),
        ([array(), array()], "2 arrays stated, 1 buffers"),
        ([], "0 arrays stated"),
        ([array(name="other")], "missing required field `values`"),
        ([array(shape=[3.5, 3])], "Expected `int`"),
        ("values", "Expected `array`"),
    ],
)
def test_arrays_that_do_not_add_up_are_refused(arrays: Any, why: str, make: Make) -> None:
    frames = wire(make(m.DiagnosticResult))
    with pytest.raises(DecodeError, match=why):
        decode(with_header(frames, arrays=arrays))


def test_an_array_stated_twice_or_written_into_the_header_is_refused(make: Make) -> None:
    frames = wire(make(m.DiagnosticResult))
    twice = with_header(frames, arrays=[array(), array()])
    with pytest.raises(DecodeError, match="twice"):
        decode([*twice, frames[2]])
    inside = with_header(frames, arrays=[], values=[[1.0]])
    with pytest.raises(DecodeError, match="missing required field"):
        decode(inside[:2])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [VERSION_FRAME],
        [b"", b"{}"],
        [b"HTTP/1.1", b"{}"],
        [b"MIEN", b"{}"],
        [VERSION_FRAME + b"x", b"{}"],
        [VERSION_FRAME, b""],
        [VERSION_FRAME, b"null"],
        [VERSION_FRAME, b"[]"],
        [VERSION_FRAME, b"{}"],
        [VERSION_FRAME, b'{"type":7}'],
        [VERSION_FRAME, b'{"type":"ping","nonce":-1}'],
        [VERSION_FRAME, b'{"type":"ping","nonce":1e400}'],
        [VERSION_FRAME, b'{"type":"ping","nonce":null}'],
        [VERSION_FRAME, b'{"type":"ping"} '],
        [VERSION_FRAME, b"\xff\xfe"],
        [VERSION_FRAME, b'{"type":"hello","token":"\xff\xff"}'],
        [VERSION_FRAME, b'{"type":"\\ud800"}'],
        [VERSION_FRAME, b"[" * 60_000],
        [VERSION_FRAME, b'{"a":' * 10_000 + b"1" + b"}" * 10_000],
        [VERSION_FRAME, b"{" + b" " * 70_000 + b"}"],
        [VERSION_FRAME, b'{"type":"ping"}', b"a"],
        [VERSION_FRAME, b'{"type":"ping"}'] + [b""] * 17,
        [VERSION_FRAME, b'{"type":"submit_job","job_id":"../../etc","job":{"type":"track"}}'],
        [VERSION_FRAME, b'{"type":"cancel_job","job_id":"' + b"0" * 32 + b'\\n"}'],
    ],
)
def test_rubbish_raises_only_decode_error(frames: list[bytes]) -> None:
    if frames[1:] == [b'{"type":"ping"} ']:
        assert decode(frames) == m.Ping()
        return
    with pytest.raises(DecodeError):
        decode(frames)


def test_another_major_version_is_named() -> None:
    frames = [b"MIEN" + bytes([PROTOCOL_MAJOR + 1]), b"{}"]
    with pytest.raises(DecodeError, match=f"version {PROTOCOL_MAJOR + 1}.*{PROTOCOL_MAJOR}"):
        decode(frames)


def test_a_message_may_not_be_larger_than_the_limit(make: Make) -> None:
    small = Decoder(ALL, Limits(total_bytes=100))
    with pytest.raises(DecodeError, match="more than 100 bytes"):
        small(wire(make(m.DiagnosticResult)))
    with pytest.raises(EncodeError, match="more than 100 bytes"):
        encode(make(m.DiagnosticResult), Limits(total_bytes=100))


def test_twenty_thousand_mutations_never_escape(make: Make) -> None:
    rng = random.Random(1)
    originals = [wire(make(message_type)) for message_type in ALL]
    survivors = 0
    for _ in range(20_000):
        frames = [bytearray(frame) for frame in rng.choice(originals)]
        for _ in range(rng.randint(1, 4)):
            victim = rng.randrange(len(frames))
            kind = rng.randrange(5)
            frame = frames[victim]
            if kind == 0 and frame:
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            elif kind == 1 and frame:
                del frame[rng.randrange(len(frame)) :]
            elif kind == 2:
                frame[rng.randint(0, len(frame)) : 0] = rng.randbytes(rng.randint(1, 9))
            elif kind == 3 and len(frames) > 1:
                del frames[victim]
            else:
                frames.insert(victim, bytearray(rng.choice(rng.choice(originals))))
        try:
            message = decode(frames)
        except DecodeError:
            continue
        assert isinstance(message, ALL)
        survivors += 1
    assert 0 < survivors < 20_000
