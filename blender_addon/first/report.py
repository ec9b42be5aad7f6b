# SPDX-License-Identifier: GPL-3.0-or-later
"""A report for whoever shall help: what is installed, what was set, what was said; knows no bpy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOG_LINES = 40
"""Lines that a report has of a log, the last ones."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    lines: Sequence[str]


def report_text(sections: Sequence[Section], home: Path, names: Mapping[str, str]) -> str:
    """Return the report, without what is nobody's business.

    home: the user's folder, which becomes "~". names: paths and secrets, each with what stands
    for it.
    """
    parts = [
        "\n".join([f"## {section.title}", *(section.lines or ["(nothing)"])])
        for section in sections
    ]
    text = "# Mien report\n\n" + "\n\n".join(parts) + "\n"
    # The longest first: a folder's path is the beginning of its files' paths.
    for private in sorted(filter(None, names), key=len, reverse=True):
        text = _replace(text, private, names[private])
    return _replace(text, str(home), "~")


def _replace(text: str, private: str, public: str) -> str:
    """Replace a path or a secret, also where its backslashes are doubled or are slashes."""
    for form in (private, private.replace("\\", "\\\\"), private.replace("\\", "/")):
        if len(form) < 2:
            continue  # A home that is "/" says nothing of anybody.
        whole = re.escape(form) + r"(?![\w-])"
        flags = re.IGNORECASE if re.match(r"[A-Za-z]:", form) else 0
        text = re.sub(whole, lambda _: public, text, flags=flags)
    return text


def host_kind(address: str) -> str:
    """Say where an address is without naming it."""
    match = re.fullmatch(r"tcp://(.+):(\d+)/?", address.strip())
    if match is None:
        return "a connection file" if address.strip() else "this user's connection file"
    return "this computer" if is_loopback(address) else "another computer"


def is_loopback(address: str) -> bool:
    """Whether an address is this computer's own, or is none at all but a connection file."""
    match = re.fullmatch(r"tcp://(.+):\d+/?", address.strip())
    if match is None:
        return True
    host = match[1].strip("[]").lower()
    return host in ("localhost", "::1") or host.startswith("127.")
