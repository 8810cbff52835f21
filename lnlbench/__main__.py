"""``python -m lnlbench``."""

from __future__ import annotations

import sys

from lnlbench.cli import main

sys.exit(main())
