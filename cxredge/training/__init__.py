"""Fine-tuning: manifest in, run out. Needs the ``train`` extra."""
