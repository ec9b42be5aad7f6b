"""PROTOCOL.md says what the code does, and `shared` stays fit for the add-on."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from backend.server import subscribers
from backend.server.dispatch import MOST_DEATHS
from backend.server.security import ZAP_DOMAIN
from shared import describe, messages
from shared.codec import LIMITS, WIRE_DTYPES
from shared.session import Timing
from shared.version import PROTOCOL_MAJOR, PROTOCOL_MINOR

TEXT = " ".join(describe.DOCUMENT.read_text("utf-8").split())
SHARED = Path(describe.__file__).parent


def test_the_tables_are_those_of_the_code() -> None:
    text = describe.DOCUMENT.read_text("utf-8")
    assert describe.updated_document(text) == text, "run python -m shared.describe"
    names = set(re.findall(r"^### `(\w+)`", text, re.MULTILINE))
    defined = {messages.tag_of(t) for t in vars(messages).values() if _is_message(t)}
    assert names == defined


def _is_message(value: object) -> bool:
    if not isinstance(value, type) or not issubclass(value, messages.Message):
        return False
    return value not in (messages.Message, messages.JobResult)


def test_every_field_has_a_sentence() -> None:
    for class_name, fields in describe.field_sentences().items():
        for name, (_, sentence) in fields.items():
            assert sentence.endswith("."), f"{class_name}.{name}"


@pytest.mark.parametrize(
    "statement",
    [
        f"Mien's protocol, version {PROTOCOL_MAJOR}.{PROTOCOL_MINOR}",
        f"major {PROTOCOL_MAJOR}, minor {PROTOCOL_MINOR}",
        f"{LIMITS.header_bytes} bytes at most",
        f"0 to {LIMITS.buffers} buffers",
        f"has {LIMITS.dimensions} dimensions at most",
        f"have {LIMITS.total_bytes} bytes at most",
        f"no single frame above {LIMITS.header_bytes + 1024} bytes",
        "is one of " + ", ".join(f"`{name}`" for name in WIRE_DTYPES),
        f"at most {subscribers.WINDOW_RESULTS} results or {subscribers.WINDOW_BYTES // 2**20} MiB",
        f"hears nothing for {Timing().silence_s} s",
        f"from {Timing().backoff_s} s, doubling up to {Timing().longest_backoff_s:g} s",
        f"After {MOST_DEATHS} workers",
        f"ZAP domain `{ZAP_DOMAIN.decode()}`",
    ],
)
def test_the_figures_are_those_of_the_code(statement: str) -> None:
    assert statement in TEXT


def test_all_error_codes_and_states_are_explained() -> None:
    table = re.findall(r"^\| `(\w+)` \|", describe.DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert [row for row in table if row in messages.ERROR_CODES] == list(messages.ERROR_CODES)
    for state in get_args(messages.JobState):
        assert f"`{state}`" in TEXT


def test_shared_imports_only_what_the_add_on_has() -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy", "msgspec"}
    files = list(SHARED.glob("*.py"))
    assert len(files) > 5
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert str(node.module).split(".")[0] in allowed, path
            elif isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
