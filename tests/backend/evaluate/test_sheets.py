"""Sheets are laid out as asked and show the head where and as it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from backend.evaluate import sheets
from backend.head import Head


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.load()


def test_contact_sheet_places_pictures_and_labels() -> None:
    pictures = [np.full((30, 40, 3), 10 * i, np.uint8) for i in range(1, 6)]
    sheet = sheets.contact_sheet(pictures, 3)
    assert sheet.shape == (60, 120, 3)
    assert (sheet[:30, 40:80] == 20).all() and (sheet[30:, 40:80] == 50).all()
    assert (sheet[30:, 80:] == sheets.BACKGROUND).all()
    labelled = sheets.contact_sheet(pictures, 3, list("abcde"))
    assert labelled.shape == (100, 120, 3)
    assert (labelled[30:50, :40] != sheets.BACKGROUND).any()


def test_alpha_shows_the_background() -> None:
    picture = np.zeros((2, 1, 4), np.uint8)
    picture[1] = (9, 8, 7, 255)
    assert sheets.over_background(picture).tolist() == [
        [list(sheets.BACKGROUND)],
        [[9, 8, 7]],
    ]


def test_an_expression_changes_its_own_side_of_the_picture(head: Head) -> None:
    identity, neutral = torch.zeros(head.n_identity), torch.zeros(head.n_expression)
    closed = neutral.clone()
    closed[head.expression_names.index("eyeBlinkLeft")] = 1.0
    before, after = (sheets.render_head(head, identity, e, 128) for e in (neutral, closed))
    changed = (np.abs(before[..., :3].astype(int) - after[..., :3]).max(-1) > 30).sum(0)
    # The subject's left eye is in the right half of the image.
    assert changed[64:].sum() > 10 and changed[:64].sum() == 0


def test_every_sheet_is_written(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheets, "SHEET_SIZE", 48)
    files = sheets.render_head_sheets(tmp_path, head)
    assert sorted(file.stem for file in files) == [
        "expressions",
        "expressions_side",
        "identities",
        "landmarks_dense320",
        "landmarks_dense703",
        "landmarks_ibug68",
    ]
    for file in files:
        image = cv2.imread(str(file))
        assert image is not None and image.std() > 10
