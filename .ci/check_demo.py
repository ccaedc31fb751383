"""Check the result of a demo: the network has learnt, and INT8 preserves its accuracy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

candidates = json.loads(Path(sys.argv[1], "bundle", "passport.json").read_text())["candidates"]
fp32 = next(one["accuracy"] for one in candidates if one["precision"] == "fp32")
if fp32 <= 0.6:
    sys.exit(f"The demo's FP32 accuracy is {fp32:.3f}; expected more than 0.6.")
int8 = {one["backend"]: one["accuracy"] for one in candidates if one["precision"] == "int8"}
if not int8 or any(abs(accuracy - fp32) >= 0.1 for accuracy in int8.values()):
    sys.exit(f"INT8 does not preserve the demo's accuracy of {fp32:.3f}: {int8}.")
