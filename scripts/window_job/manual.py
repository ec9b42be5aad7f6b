"""Cut the manual's pictures out of those that `make window` has taken.

Arguments: the folder of pictures; without any, out/window.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
TARGET = REPOSITORY / "docs/images/manual"
LARGEST = 150_000
"""Bytes that a picture may have."""


@dataclass(frozen=True)
class Cut:
    """A picture of the manual."""

    source: str
    """The picture that it is cut out of."""
    target: str
    """Its file."""
    box: tuple[int, int, int, int] | None = None
    """Left, upper, right and lower edge; None for all of it."""


def panel(height: int) -> tuple[int, int, int, int]:
    """Return the box of a sidebar's first panel, without the tabs."""
    return (0, 0, 268, height)


CUTS = (
    Cut("first_dialog", "install_question.png", (200, 350, 697, 642)),
    Cut("install_panel", "installing.png", panel(146)),
    Cut("checked_preferences", "preferences.png", (466, 360, 984, 648)),
    Cut("final_view", "sample.jpg"),
    Cut("final_running", "tracking.jpg"),
    Cut("failure_panel", "failure.png", panel(416)),
    Cut("panel_smooth_and_output", "smoothing.png", panel(284)),
    Cut("live", "live_panel.png", panel(212)),
)


def main(folder: Path) -> None:
    """Cut all of them."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for cut in CUTS:
        source = folder / f"{cut.source}.png"
        if not source.exists():
            print(f"{source.name} is not there: {cut.target} stays as it was")
            continue
        with Image.open(source) as picture:
            shown = picture.convert("RGB")
        if cut.box is not None:
            left, top, right, bottom = cut.box
            shown = shown.crop((left, top, right, min(bottom, shown.height)))
        target = TARGET / cut.target
        if target.suffix == ".jpg":
            shown.save(target, quality=82, optimize=True)
        else:
            shown.quantize(128).save(target, optimize=True)
        size = target.stat().st_size
        assert size <= LARGEST, f"{target.name} has {size} bytes"
        print(f"{target.name}: {shown.width} x {shown.height}, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "out/window")
