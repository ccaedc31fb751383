"""Fine-tuning: trains a network on a manifest and writes a run. Needs the ``train`` extra."""

import os

# Must be set before torch loads its thread library. Spinning threads gain nothing on an idle
# machine and make a step several times slower on a shared one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
