"""One person from several sources, and their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import BadInputError, NoFaceError
from backend.evaluate.fit_recovery import SimulatedShot, Simulation, simulate
from backend.evaluate.truth import align
from backend.head import Head
from backend.identity import Seen, build_person, solve_person
from backend.person import Person, Source
from backend.picture_file import write_picture
from backend.stages import Reporter

QUIET = Reporter(lambda event: None, lambda: False)


def seen(shot: SimulatedShot, name: str, zoom: float, rows: slice, known: bool = False) -> Seen:
    """Frames of a shot through a longer lens, in pictures of half the size."""
    middle = (np.array(shot.image_size) - 1) / 2
    size = (shot.image_size[0] // 2, shot.image_size[1] // 2)
    points = (shot.landmarks_2d[rows] - middle) * zoom / 2 + (np.array(size) - 1) / 2
    focal = shot.focal_px * zoom / 2
    return Seen(
        Path(name), size, points, shot.landmark_sigma[rows] * zoom / 2, focal if known else None
    )


def test_sources_with_lenses_of_their_own_are_one_person() -> None:
    head = Head.load()
    shot = simulate(head, Simulation(frames=40, seed=6, noise_px=0.5, turn_deg=30.0))
    sources = [
        seen(shot, "wide.mp4", 1.0, slice(0, 16)),
        seen(shot, "tele.mp4", 1.4, slice(16, 32)),
        seen(shot, "photo.jpg", 1.2, slice(35, 36)),
    ]
    person = solve_person(head, sources, QUIET)
    assert [source.frames for source in person.sources] == [16, 16, 1]
    true = [0.5 * shot.focal_px * zoom for zoom in (1.0, 1.4, 1.2)]
    found = [source.focal_px for source in person.sources]
    assert np.abs(np.array(found[:2]) / true[:2] - 1).max() < 0.08
    assert abs(found[2] / true[2] - 1) < 0.3
    own = person.head(head)
    with torch.no_grad():
        rest = own.shape(torch.from_numpy(person.identity), torch.zeros(head.n_expression))
        truth = head.shape(torch.from_numpy(shot.identity), torch.zeros(head.n_expression))
    face = head.regions["face"]
    a, b = (x.double().numpy()[face] for x in (rest, truth))
    mean = head.template.double().numpy()[face]
    size = np.linalg.norm(a - a.mean(0)) / np.linalg.norm(b - b.mean(0))
    error = np.linalg.norm(align(a / size, b) - b, axis=-1).mean()
    assert error < 0.4 * np.linalg.norm(align(mean, b) - b, axis=-1).mean()


@pytest.mark.parametrize("given", [0, 2])
def test_a_focal_length_that_is_known_is_kept_and_helps_the_others(given: int) -> None:
    head = Head.load()
    shot = simulate(head, Simulation(frames=40, seed=6, noise_px=0.5, turn_deg=30.0))
    zooms, rows = (1.0, 1.4, 1.2), (slice(0, 10), slice(16, 26), slice(35, 36))
    sources = [
        seen(shot, f"{number}.mp4", zoom, part, number == given)
        for number, (zoom, part) in enumerate(zip(zooms, rows, strict=True))
    ]
    found = np.array([source.focal_px for source in solve_person(head, sources, QUIET).sources])
    off = found / (0.5 * shot.focal_px * np.array(zooms)) - 1
    assert abs(off[given]) < 1e-5
    assert np.abs(off[:2]).max() < 0.1 and abs(off[2]) < 0.3


def test_a_single_clip_has_its_own_focal_length() -> None:
    head = Head.load()
    shot = simulate(head, Simulation(frames=12, seed=6, noise_px=0.5, turn_deg=30.0))
    for known in (False, True):
        clip = seen(shot, "one.mp4", 1.3, slice(0, 12), known)
        person = solve_person(head, [clip], QUIET)
        error = abs(person.sources[0].focal_px / (0.65 * shot.focal_px) - 1)
        assert error < (1e-5 if known else 0.08)


def make_person(n: int = 5) -> Person:
    return Person(
        np.arange(3, dtype=np.float32), np.full((n, 3), 0.5, np.float32),
        np.zeros((4, 3), np.float32), (Source("a ü.mp4", 24, 1500.5, (1920, 1080)),),
    )  # fmt: skip


def test_the_file_keeps_everything(tmp_path: Path) -> None:
    person = make_person()
    person.save(tmp_path / "anna.npz")
    again = Person.load(tmp_path / "anna.npz")
    np.testing.assert_array_equal(again.correction, person.correction)
    np.testing.assert_array_equal(again.identity, person.identity)
    assert (again.sources, again.version) == (person.sources, person.version)
    with pytest.raises(BadInputError, match="another head"):
        again.head(Head.load())


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"gone\.npz: no such file"):
        Person.load(tmp_path / "gone.npz")
    for content in (b"", b"nothing"):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(BadInputError, match=r"a\.npz: is damaged or not a person"):
            Person.load(tmp_path / "a.npz")
    np.savez(tmp_path / "track.npz", vertices=np.zeros(3))
    with pytest.raises(BadInputError, match=r"track\.npz: is damaged or not a person"):
        Person.load(tmp_path / "track.npz")


def test_sources_without_a_face(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no pictures"):
        build_person([tmp_path])
    grey = np.full((120, 160, 3), 128, np.uint8)
    write_picture(tmp_path / "grey.png", grey)
    skipped: list[str] = []
    with pytest.raises(NoFaceError, match="any of 1"):
        build_person([tmp_path], device="cpu", on_skip=skipped.append)
    assert skipped == ["grey.png: no face was found, left out"]
