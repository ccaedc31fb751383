"""From image files to predictions and evaluations."""
