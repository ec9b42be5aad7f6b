"""A person: the face that was solved once, to be kept in later shots; one documented file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from backend.atomic import atomic_path
from backend.errors import BadInputError
from backend.fit import corrected_head
from backend.head import Head
from backend.npz_file import read_arrays
from shared.version import __version__

FORMAT_VERSION = 1
"""Raised when a reader of an older version would misread a file."""


@dataclass(frozen=True)
class Source:
    """A photograph or clip that a person was built from."""

    name: str
    """File name."""
    frames: int
    """Frames of it that went in."""
    focal_px: float
    """Its solved or given focal length, pixels."""
    image_size: tuple[int, int]
    """Width and height in pixels."""


@dataclass(frozen=True, eq=False)
class Person:
    """One person's head of N vertices."""

    identity: NDArray[np.float32]
    """(I,) coefficients in standard deviations."""
    correction: NDArray[np.float32]
    """(N,3) metres added to the mean head: what the coefficients leave undone."""
    joint_correction: NDArray[np.float32]
    """(4,3) metres, of the joints' centres."""
    sources: tuple[Source, ...]
    """What it was built from."""
    version: str = __version__
    """Version of Mien that built it."""

    def head(self, head: Head) -> Head:
        """The head with this person's correction; its mean is no longer the mean face's.

        Raises `BadInputError` where the person was built for another head.
        """
        if len(self.correction) != head.n_vertices or len(self.identity) != head.n_identity:
            raise BadInputError("The person was built with another head model: build it again.")
        return corrected_head(
            head, torch.from_numpy(self.correction), torch.from_numpy(self.joint_correction)
        )

    def save(self, path: Path) -> None:
        """Write the .npz file: whole, or not at all."""
        sources = [
            {**vars(source), "image_size": list(source.image_size)} for source in self.sources
        ]
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                person_version=np.int64(FORMAT_VERSION),
                identity=self.identity,
                correction=self.correction,
                joint_correction=self.joint_correction,
                provenance=np.array(json.dumps({"mien": self.version, "sources": sources})),
            )

    @classmethod
    def load(cls, path: Path) -> Person:
        """Read a file; raises `BadInputError` that names it."""
        damaged = "is damaged or not a person. `mien identity` builds one."
        arrays = read_arrays(path, damaged)
        try:
            if int(arrays["person_version"]) > FORMAT_VERSION:
                raise BadInputError(f"{path}: is newer than this version of Mien. Update it.")
            about = json.loads(str(arrays["provenance"]))
            person = cls(
                np.asarray(arrays["identity"], np.float32),
                np.asarray(arrays["correction"], np.float32),
                np.asarray(arrays["joint_correction"], np.float32),
                tuple(
                    Source(
                        str(one["name"]), int(one["frames"]), float(one["focal_px"]),
                        (int(one["image_size"][0]), int(one["image_size"][1])),
                    )
                    for one in about["sources"]
                ),
                str(about["mien"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BadInputError(f"{path}: {damaged}") from error
        parts = (person.identity, person.correction, person.joint_correction)
        if [a.ndim for a in parts] != [1, 2, 2] or not all(np.isfinite(a).all() for a in parts):
            raise BadInputError(f"{path}: is not a valid person. Build it again.")
        return person
