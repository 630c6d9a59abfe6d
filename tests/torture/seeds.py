"""When the kills strike. The fresh seed stands in the names of its tests; TORTURE_SEED=… repeats it."""

from __future__ import annotations

import os
import random

FIXED_SEED = 20_260_302
FRESH_SEED = int(os.environ.get("TORTURE_SEED") or random.SystemRandom().randrange(1_000_000))
