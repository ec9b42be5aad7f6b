"""Everything that runs outside Blender: footage, detection, fitting, baking and the service."""

import os

# Before torch loads: OpenMP's threads sleep while they wait for each other. Spinning, they lose
# whole time slices to whatever else runs, and a busy machine slows down a hundredfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
