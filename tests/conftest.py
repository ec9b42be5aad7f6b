"""What several rooms' tests share."""

from __future__ import annotations

import os

# Tests run side by side with other work: one thread each, before torch or BLAS are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
