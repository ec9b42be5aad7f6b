"""A person built by a real service is the one that is built here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.cli import main
from backend.errors import BadInputError, NoFaceError
from backend.footage import open_footage
from backend.identity import build_person
from backend.person import Person
from backend.picture_file import write_picture
from backend.samples import PERFORMANCE
from backend.server.identity_job import person_of, result_of
from shared import messages as m


@pytest.fixture(scope="module")
def photographs(service: Any) -> Path:
    """Two frames of the embedded performance, and a grey picture."""
    folder: Path = service.clips / "photographs ü"
    folder.mkdir()
    for frame in open_footage(PERFORMANCE, end=40):
        if frame.index in (0, 40):
            write_picture(folder / f"{frame.index}.png", frame.image)
    write_picture(folder / "grey.png", np.full((120, 160, 3), 128, np.uint8))
    return folder


def test_the_command_line_gets_the_same_person_from_a_service(
    service: Any, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [photographs / "0.png", photographs / "40.png", photographs / "grey.png"]
    out, server = tmp_path / "anna.npz", str(service.settings.connection_file)
    with pytest.raises(SystemExit) as ended:
        main(["identity", *map(str, sources), "-o", str(out), "--focal-px", "40.png=900",
              "--server", server])  # fmt: skip
    assert not ended.value.code
    assert "warning: grey.png: no face was found, left out" in capsys.readouterr().err
    there = Person.load(out)
    here = build_person(sources, focal_px={1: 900.0}, device="cpu")
    assert [source.name for source in there.sources] == ["0.png", "40.png"]
    assert there.sources[1].focal_px == pytest.approx(900.0)
    for name in ("identity", "correction", "joint_correction"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-3)
    again = person_of(result_of(here, []))
    assert again.sources == here.sources
    np.testing.assert_array_equal(again.correction, here.correction)


def test_what_cannot_be_built_is_refused(service: Any, photographs: Path) -> None:
    def ask(*paths: str) -> None:
        service.track(m.IdentityJob(sources=[m.PersonSource(path=path) for path in paths]))

    with pytest.raises(NoFaceError, match=r"grey\.png"):
        ask(str(photographs / "grey.png"))
    with pytest.raises(BadInputError, match=r"gone\.png: no such file"):
        ask(str(photographs / "0.png"), str(photographs / "gone.png"))
    with pytest.raises(BadInputError, match="outside of the folders"):
        ask(str(photographs / "0.png"), "/etc")
