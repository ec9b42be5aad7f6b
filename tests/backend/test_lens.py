"""The lens from the skin's own features, on the embedded performance, whose lens is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from backend.fit import FitSettings, ShotFit
from backend.fit.tracks import FocalSolve
from backend.footage import Footage, open_footage
from backend.head import Head
from backend.lens import LANDMARKS_SD, combined, lens_from_skin
from backend.samples import PERFORMANCE, PERFORMANCE_TRUTH
from backend.stages import Observations, Reporter


def report() -> Reporter:
    return Reporter(lambda event: None, lambda: False)


def shot_of(footage: Footage) -> Observations:
    """A shot whose frames all have a face; its landmarks are not asked for here."""
    count = footage.n_frames
    return Observations(
        np.zeros((count, 320, 2), np.float32), np.ones((count, 320), np.float32),
        np.ones(count, bool), np.arange(count), np.arange(count) / 25.0, (None,) * count,
    )  # fmt: skip


def fit_with_lens(factor: float) -> tuple[ShotFit, float]:
    """The performance's truth with its lens too long by a factor, and the true focal length."""
    with np.load(PERFORMANCE_TRUTH) as truth:
        f4 = {name: truth[name].astype(np.float32) for name in truth.files}
    focal = float(f4["focal_px"])
    translation = f4["translation"] * np.array([1, 1, factor], np.float32)
    found = np.ones(len(translation), bool)
    fit = ShotFit(
        f4["identity"], f4["expression"], f4["rotations"], translation, focal * factor, found, ()
    )
    return fit, focal


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_a_wrong_lens_is_mended(factor: float) -> None:
    footage = open_footage(PERFORMANCE)
    fit, focal = fit_with_lens(factor)
    asked: list[tuple[FitSettings, ShotFit]] = []

    def refit(settings: FitSettings, before: ShotFit) -> ShotFit:
        asked.append((settings, before))
        assert settings.focal_px is not None
        return before.seen_with(settings.focal_px)

    solved = lens_from_skin(
        Head.load(), shot_of(footage), footage, fit, FitSettings(), refit, report()
    )
    (settings, before), error = asked[0], math.log(solved.focal_px / focal)
    assert abs(error) < 0.7 * abs(math.log(factor))
    assert abs(error) < 2.5 * solved.focal_sd_percent / 100
    assert settings.focal_px is not None and before is fit, "held in the second fit"
    assert math.log(settings.focal_px / focal) == pytest.approx(error, abs=1e-6)


def test_a_known_lens_is_left_alone() -> None:
    """Without looking at the footage again."""
    footage = open_footage(PERFORMANCE)
    fit, _ = fit_with_lens(1.4)

    def never(settings: FitSettings, before: ShotFit) -> ShotFit:
        raise AssertionError("solved again")

    few = replace(shot_of(footage), found=np.arange(len(fit.found)) < 5)
    for settings, shot in (
        (FitSettings(focal_px=900.0), shot_of(footage)), (FitSettings(zoom=True), shot_of(footage)),
        (FitSettings(), few),
    ):  # fmt: skip
        assert lens_from_skin(Head.load(), shot, footage, fit, settings, never, report()) is fit


def test_what_is_more_certain_counts_more() -> None:
    said = FocalSolve(1000.0, 5.0, True, 100, 50, 40.0, 0.2)
    focal, sd = combined(1500.0, said)
    assert 1000 < focal < 1020
    assert sd < 0.05
    equal = replace(said, sd_percent=100 * LANDMARKS_SD)
    assert combined(1500.0, equal)[0] == pytest.approx(math.sqrt(1000.0 * 1500.0))
