"""All tests, in two runs side by side: those of the backend, and those with Blender.

Arguments go to both, `-x` for one. Exits with 1 where any fails; Ctrl-C ends both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
HALVES = (
    ("tests/backend", "tests/shared"),
    ("tests/addon", "tests/end_to_end", "tests/blender"),
)
NO_TESTS = 5
"""pytest's exit code where what was asked for is all in the other half."""


def main(arguments: list[str]) -> int:
    """Run both halves; the first's output comes as it is written, the second's after it."""
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    environment = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, **os.environ}
    with tempfile.TemporaryFile() as later:
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "pytest", *half, *arguments], cwd=REPOSITORY,
                env=environment, stdout=later if i else None, stderr=later if i else None,
            )
            for i, half in enumerate(HALVES)
        ]  # fmt: skip
        try:
            codes = [run.wait() for run in runs]
        except KeyboardInterrupt:
            for run in runs:
                run.terminate()
            return 130
        later.seek(0)
        sys.stdout.buffer.write(later.read())
    return int(any(code not in (0, NO_TESTS) for code in codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
