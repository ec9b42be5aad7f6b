"""Write the landmarks that the add-on shows: `python scripts/addon_landmarks.py`.

The add-on has neither the head's file nor the backend's code: it gets the corners and weights of
the 320 landmarks that the fit knows, of the mesh that it shows.
"""

from __future__ import annotations

import json
from pathlib import Path

from backend.head import Head
from backend.head.landmarks import layout

FILE = Path(__file__).parents[1] / "blender_addon" / "refine" / "landmarks.json"


def content() -> str:
    """The file's text."""
    points = layout("dense320")
    table = {
        "n_vertices": Head.load().n_vertices,
        "names": list(points.names),
        "vertices": points.vertices.tolist(),
        "weights": [[round(float(w), 5) for w in row] for row in points.barycentric],
    }
    return json.dumps(table, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    FILE.write_text(content(), "utf-8")
