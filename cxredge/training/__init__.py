"""Fine-tuning: manifest in, run out. Needs the ``train`` extra."""

import os

# Has to stand before torch loads its thread library. Threads that wait by spinning gain nothing
# here when the machine is free, and make a step several times slower when it is shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
