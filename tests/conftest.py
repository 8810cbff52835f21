"""What all tests need."""

import os

# Test processes side by side (pytest -n) take one core each: threads of several that wait for each
# other actively are slower than one process alone. Set before torch is imported, and inherited.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
