"""Classification metrics, confidence intervals and latency statistics."""
