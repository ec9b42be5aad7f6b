"""Files that are no .npz, or no longer one, are said to be so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import BadInputError
from backend.npz_file import read_arrays
from backend.person import Person
from backend.track import Track


def test_arrays_come_by_name(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", one=np.arange(3), two=np.array("ü"))
    arrays = read_arrays(tmp_path / "a.npz", "is damaged.")
    assert arrays["one"].tolist() == [0, 1, 2] and str(arrays["two"]) == "ü"


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_are_no_traceback(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, one=generator.standard_normal(4000), two=np.arange(9))
    data = bytearray(path.read_bytes())
    for place in generator.integers(0, len(data), 400):
        data[place] ^= int(generator.integers(1, 256))
    path.write_bytes(bytes(data))
    for load in (Track.load, Person.load):
        with pytest.raises(BadInputError, match=r"a\.npz: is damaged or not a"):
            load(path)


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    for name, says in (("folder", "is a folder"), ("array", "is odd"), ("text", "is odd")):
        with pytest.raises(BadInputError, match=rf"{name}\.npz: {says}"):
            read_arrays(tmp_path / f"{name}.npz", "is odd")
