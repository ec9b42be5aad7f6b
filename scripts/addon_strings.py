"""List the add-on's texts, and compare the catalogues of its translations with them.

`python scripts/addon_strings.py` prints what is missing from each catalogue of
blender_addon/translations and what no longer is in the add-on; `--update` writes both into the
files: new texts without a translation, old ones taken out. Needs an environment with `bpy`.
docs/translations.md says more.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

TEXT_ARGUMENTS = {"text", "heading", "title", "confirm_text"}
"""Keyword arguments of Blender's layouts and dialogs whose values are shown."""
INTERNAL = {"png.py"}
"""Files whose errors are for developers."""
SHOWN = {"report": 1, "draw_text": 1, "iface": 0, "tip": 0, "rpt": 0}
"""Functions and which of their arguments, counted from 0, is shown."""
MANY_ITEMS = 15
"""Lists of choices with more entries are names, such as ARKit's or landmarks', which stay."""
GIVEN = {"rna_type", "name", "filepath", "check_existing", "filter_glob", "directory", "files"}
"""Properties that come with Blender's own classes."""


def in_sources(folder: Path) -> tuple[set[str], list[str]]:
    """Return the texts in an add-on's sources, and places with texts that cannot be translated."""
    found: set[str] = set()
    wrong: list[str] = []
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        if relative.parts[0] in {"shared", "translations"} or relative.as_posix() in INTERNAL:
            continue
        tree = ast.parse(path.read_text("utf-8"))
        named = _assigned(tree)
        for node in ast.walk(tree):
            for shown in _shown(node):
                for part in _parts(shown, named):
                    if isinstance(part, ast.JoinedStr):
                        if _has_words(part):
                            wrong.append(f"{relative.as_posix()}:{part.lineno}")
                    elif not isinstance(node, ast.Raise) or " " in part.value:
                        # A word alone is for the code that catches the error.
                        found.add(part.value)
    return {text for text in found if _is_text(text)}, sorted(set(wrong))


def _shown(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a call that end up before the artist."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        yield from node.exc.args
    if not isinstance(node, ast.Call):
        return
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in SHOWN and len(node.args) > SHOWN[name]:
        yield node.args[SHOWN[name]]
    if name in {"poll_message_set", "status_text_set"}:
        yield from node.args[:1]
    if name == "Problem":
        yield from node.args[1:]
    if isinstance(function, ast.Attribute):
        yield from (k.value for k in node.keywords if k.arg in TEXT_ARGUMENTS)


def _parts(value: ast.expr, named: dict[str, list[ast.expr]], depth: int = 0) -> Iterator[Any]:
    """Yield the string constants and f-strings that an expression may be."""
    if depth > 4:
        return
    if isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    ):
        yield value
    elif isinstance(value, ast.IfExp):
        yield from _parts(value.body, named, depth + 1)
        yield from _parts(value.orelse, named, depth + 1)
    elif isinstance(value, ast.BoolOp):
        for part in value.values:
            yield from _parts(part, named, depth + 1)
    elif isinstance(value, ast.Name):
        for other in named.get(value.id, ()):
            yield from _parts(other, named, depth + 1)
    elif isinstance(value, ast.Dict):
        for part in value.values:
            yield from _parts(part, named, depth + 1)
    elif isinstance(value, ast.List | ast.Tuple):
        for part in value.elts:
            yield from _parts(part, named, depth + 1)
    elif isinstance(value, ast.Subscript):
        yield from _parts(value.value, named, depth + 1)
    elif (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "get"
    ):
        yield from _parts(value.func.value, named, depth + 1)


def _assigned(tree: ast.Module) -> dict[str, list[ast.expr]]:
    """Return what each name of a module is set to, and the constants that loops go through."""
    named: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                _bind(named, target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            _bind(named, node.target, node.value)
        elif isinstance(node, ast.For | ast.comprehension):
            items = node.iter
            if isinstance(items, ast.Name):
                items = next(iter(named.get(items.id, ())), items)
            if isinstance(items, ast.List | ast.Tuple):
                for item in items.elts:
                    _bind(named, node.target, item)
    return named


def _bind(named: dict[str, list[ast.expr]], target: ast.expr, value: ast.expr) -> None:
    if isinstance(target, ast.Name):
        named.setdefault(target.id, []).append(value)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, part in zip(target.elts, value.elts, strict=False):
            _bind(named, one, part)


def _has_words(value: ast.JoinedStr) -> bool:
    texts = [part.value for part in value.values if isinstance(part, ast.Constant)]
    return any(re.search(r"[A-Za-z]{3,}", text) for text in texts)


def _is_text(text: str) -> bool:
    """Whether it has words, and is no part of a data-block's name (" Camera")."""
    return not text.startswith(" ") and bool(
        re.search(r"[A-Za-z]{2,}", re.sub(r"\{[^}]*\}", "", text))
    )


def in_blender(package: str) -> set[str]:
    """Return the labels, names and descriptions that an add-on has given to Blender."""
    import bpy

    found: set[str] = set()
    for base in (
        bpy.types.Operator, bpy.types.Panel, bpy.types.Menu, bpy.types.PropertyGroup,
        bpy.types.AddonPreferences,
    ):  # fmt: skip
        for kind in registered(base, package):
            if base is bpy.types.Operator:
                found |= {rna_of(kind).name, rna_of(kind).description}
            elif base in (bpy.types.Panel, bpy.types.Menu):
                found |= {kind.bl_label, kind.__doc__ or ""}
            for prop in own_properties(kind):
                found |= _texts_of(prop)
    for kind in (bpy.types.Scene, bpy.types.Collection):
        for prop in kind.bl_rna.properties:
            if prop.identifier.startswith("mien_") and prop.type != "POINTER":
                found |= _texts_of(prop)
    return {text for text in found if _is_text(text)}


def registered(base: type, package: str) -> list[type]:
    """Return the registered classes of an add-on under one of Blender's."""
    found: list[type] = []
    waiting = list(base.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith(f"{package}.") and "bl_rna" in vars(kind):
            found.append(kind)
    return sorted(set(found), key=lambda kind: kind.__name__)


def rna_of(kind: Any) -> Any:
    """Return what Blender knows of a class: operators have a structure of their own for that."""
    import bpy

    if issubclass(kind, bpy.types.Operator):
        room, _, name = kind.bl_idname.partition(".")
        return getattr(getattr(bpy.ops, room), name).get_rna_type()
    return kind.bl_rna


def own_properties(kind: Any) -> list[Any]:
    """Return the properties that a class of the add-on has itself, without hidden ones."""
    return [
        prop
        for prop in rna_of(kind).properties
        if prop.identifier not in GIVEN
        and not prop.identifier.startswith("bl_")
        and prop.identifier in _annotated(kind)
        and not prop.is_hidden
    ]


def _annotated(kind: type) -> set[str]:
    return {name for base in kind.__mro__ for name in vars(base).get("__annotations__", {})}


def _texts_of(prop: Any) -> set[str]:
    found = {prop.name, prop.description}
    if prop.type == "ENUM" and len(prop.enum_items) <= MANY_ITEMS:
        for item in prop.enum_items:
            found |= {item.name, item.description}
    return found


def collect(package: str, folder: Path) -> tuple[set[str], list[str]]:
    """Return all texts of an add-on that is registered, and what cannot be translated."""
    texts, wrong = in_sources(folder)
    return texts | in_blender(package), wrong


def quoted(text: str) -> str:
    """Return a text as a catalogue has it."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def write_catalogue(path: Path, texts: dict[str, str], header: str) -> None:
    """Write a catalogue, sorted by its English texts."""
    entries = [
        f"msgid {quoted(text)}\nmsgstr {quoted(other)}\n" for text, other in sorted(texts.items())
    ]
    path.write_text("\n".join([header, *entries]), "utf-8", newline="\n")


def main() -> int:
    """Compare, and update where that is asked for; returns how many catalogues differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--update", action="store_true", help="write the files anew")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import build_addon

    with tempfile.TemporaryDirectory() as temporary:
        folder = build_addon.assemble(Path(temporary) / "mien")
        sys.path.insert(0, temporary)
        package: Any = importlib.import_module("mien")
        package.register()
        try:
            texts, wrong = collect("mien", folder)
        finally:
            package.unregister()
    for place in wrong:
        print(f"{place}: a text with values in it: use iface, tip or rpt")
    catalogue: Any = importlib.import_module("mien.translations.catalogue")
    differ = 0
    for path in sorted((ROOT / "blender_addon" / "translations").glob("*.po")):
        known = catalogue.read_catalogue(path)
        missing, stale = sorted(texts - set(known)), sorted(set(known) - texts)
        differ += bool(missing or stale)
        print(f"{path.name}: {len(texts)} texts, {len(missing)} missing, {len(stale)} stale")
        for sign, several in (("+", missing), ("-", stale)):
            for text in several:
                print(f"  {sign} {text!r}")
        if arguments.update:
            header = path.read_text("utf-8").partition("\n\n")[0] + "\n"
            write_catalogue(path, {text: known.get(text, "") for text in texts}, header)
    return differ + len(wrong)


if __name__ == "__main__":
    sys.exit(main())
