"""The track's file: round trip, reproducible bytes, atomic writing, readable errors."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadInputError
from backend.track import _ARRAYS, FORMAT_VERSION, Track

SIZES = dict(F=3, N=7, T=5, L=6, I=4, E=2, H=8, W=8, J=4)
REPOSITORY = Path(__file__).parents[2]


def make_track(seed: int = 0) -> Track:
    rng = np.random.default_rng(seed)

    def array(dtype: str, shape: tuple[str | int, ...]) -> np.ndarray:
        sizes = [SIZES[s] if isinstance(s, str) else s for s in shape]
        if np.dtype(dtype).kind == "f":
            return rng.normal(size=sizes).astype(dtype)
        return rng.integers(0, 2, sizes).astype(dtype)

    arrays = {name: array(*spec) for name, spec in _ARRAYS.items()}
    return Track(**arrays, expression_names=("jawOpen", "mouthClose"))


def test_round_trip(tmp_path: Path) -> None:
    track = make_track()
    track.save(tmp_path / "a.npz")
    loaded = Track.load(tmp_path / "a.npz")
    for field in fields(Track):
        value, again = getattr(track, field.name), getattr(loaded, field.name)
        np.testing.assert_array_equal(value, again)
        if isinstance(value, np.ndarray):
            assert value.dtype == again.dtype
    assert loaded.n_frames == 3


def test_the_file_opens_with_numpy_alone_and_has_every_field_of_the_documentation(
    tmp_path: Path,
) -> None:
    make_track().save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        names = set(file.files)
    text = (REPOSITORY / "docs" / "track-format.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.M))
    assert names == set(documented) == {field.name for field in fields(Track)}
    for name, (dtype, shape) in _ARRAYS.items():
        assert str(np.dtype(dtype)) in documented[name], name
        assert f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})" in documented[name], name


def test_the_same_track_gives_the_same_bytes(tmp_path: Path) -> None:
    make_track().save(tmp_path / "a.npz")
    make_track().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    make_track().save(path)
    before = path.read_bytes()

    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_track(1).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    "change",
    [
        {"vertices": np.zeros((3, 7, 2), np.float32)},
        {"vertices": np.zeros((3, 7, 3), np.float64)},
        {"found": np.zeros(4, bool)},
        {"expression_names": ("jawOpen",)},
        {"skin_weights": np.zeros((7, 3), np.float32)},
    ],
)
def test_wrong_shapes_and_types_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"shape|float64"):
        replace(make_track(), **change)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "damaged"),
        (b"PK\x03\x04 broken", "damaged"),
        (b"x", "damaged"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "shot.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=rf"shot\.npz: .*{says}"):
        Track.load(path)


def test_other_npz_and_newer_versions_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", vertices=np.zeros(3))
    with pytest.raises(BadInputError, match="lacks"):
        Track.load(tmp_path / "other.npz")
    replace(make_track(), format_version=FORMAT_VERSION + 1).save(tmp_path / "new.npz")
    with pytest.raises(BadInputError, match="newer"):
        Track.load(tmp_path / "new.npz")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    make_track().save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadInputError, match="damaged"):
        Track.load(path)


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        make_track().save(tmp_path / "file" / "a.npz")
