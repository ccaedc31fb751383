"""The gate: whether a reduced precision keeps the decisions of FP32."""
