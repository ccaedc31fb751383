"""Check a demo that was made: its network has learnt something, and INT8 has kept it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

passport = json.loads(Path(sys.argv[1], "bundle", "passport.json").read_text())
accuracy = {one["precision"]: one["accuracy"] for one in passport["candidates"]}
if accuracy["fp32"] <= 0.6:
    sys.exit(f"The demo's FP32 accuracy is {accuracy['fp32']:.3f}; it has been above 0.6.")
if abs(accuracy["fp32"] - accuracy["int8"]) >= 0.1:
    sys.exit(f"INT8 does not keep the demo's accuracy: {accuracy}.")
