"""The gate: comparison of a reduced precision with FP32, measure by measure."""
