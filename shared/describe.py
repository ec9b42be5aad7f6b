"""The message tables of PROTOCOL.md, made from the code: `python -m shared.describe` writes them.

A field's sentence is the string literal under it, which Python itself forgets, so the source is
read.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from . import jobs, messages, results
from .codec import array_specs
from .jobs import JOBS, PARTS, Part
from .messages import CLIENT_MESSAGES, SERVER_MESSAGES, Message, tag_of

DOCUMENT = Path(__file__).with_name("PROTOCOL.md")
BEGIN = "<!-- tables: begin (made by shared/describe.py) -->"
END = "<!-- tables: end -->"


def field_sentences() -> dict[str, dict[str, tuple[str, str]]]:
    """Return, by class and field name, the annotation's source and the sentence below it."""
    described: dict[str, dict[str, tuple[str, str]]] = {}
    trees = [ast.parse(inspect.getsource(module)) for module in (messages, jobs, results)]
    for node in (node for tree in trees for node in tree.body):
        if not isinstance(node, ast.ClassDef):
            continue
        fields: dict[str, tuple[str, str]] = {}
        for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(statement, ast.AnnAssign):
                continue
            assert isinstance(statement.target, ast.Name)
            sentence = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                sentence = " ".join(str(following.value.value).split())
            fields[statement.target.id] = (ast.unparse(statement.annotation), sentence)
        described[node.name] = fields
    return described


_ALIASES = {
    "Text": "str (max_length=4096)",
    "Count": "int (ge=0)",
    "JobId": "str (32 hexadecimal digits)",
    "Pixels": "int (ge=1)",
    "Positive": "float (gt=0)",
    "Row": "tuple[float, float, float]",
    "Whole": "int (ge=1)",
}
"""The field types of message_base.py in words."""


def _type_text(annotation: str) -> str:
    """Return an annotation in words that do not depend on Python's typing module."""
    text = re.sub(r"Annotated\[([\w\[\], ]+?), msgspec\.Meta\(([^)]*)\)\]", r"\1 (\2)", annotation)
    for name, words in _ALIASES.items():
        text = re.sub(rf"\b{name}\b", words, text)
    return text.replace("'", '"').replace("|", "or")


def message_table(message_type: type[Message] | type[Part], direction: str) -> str:
    """Return the section of one message, or of a part of one."""
    described = field_sentences()
    if issubclass(message_type, Message):
        specs = array_specs(message_type)
        title = f"### `{tag_of(message_type)}`" + (f" ({direction})" if direction else "")
    else:
        specs = {}
        title = f"#### {message_type.__name__}" + (f" ({direction})" if direction else "")
    summary = " ".join(inspect.cleandoc(message_type.__doc__ or "").split())
    lines = [title, "", summary, ""]
    rows = []
    for name in message_type.__struct_fields__:
        for base in message_type.__mro__:
            if name in described.get(base.__name__, {}):
                annotation, sentence = described[base.__name__][name]
                break
        if name in specs:
            shape = ", ".join(map(str, specs[name].shape))
            kind = f"array {specs[name].dtype} ({shape})"
            kind += " or None" if annotation.endswith("None") else ""
        else:
            kind = _type_text(annotation)
        rows.append(f"| `{name}` | {kind} | {sentence} |")
    if rows:
        lines += ["| field | type | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def tables() -> str:
    """Return the sections of all messages and jobs."""
    both = set(CLIENT_MESSAGES) & set(SERVER_MESSAGES)
    sections = []
    for message_type in dict.fromkeys((*CLIENT_MESSAGES, *SERVER_MESSAGES)):
        sender = "client to server" if message_type in CLIENT_MESSAGES else "server to client"
        direction = "either way" if message_type in both else sender
        sections.append(message_table(message_type, direction))
    sections += [message_table(job, "a job, inside `submit_job`") for job in JOBS]
    sections += [message_table(part, "a part of jobs") for part in PARTS]
    return "\n".join(sections)


def updated_document(text: str) -> str:
    """Return the document with its tables made anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(updated_document(DOCUMENT.read_text("utf-8")), "utf-8")
