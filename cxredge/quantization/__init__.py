"""INT8 quantization: calibration, ranges, corrections, Q/DQ graphs and comparison with FP32.

Imports point one way: `sessions`, `ranges`, `qdq`, `correction`, then the modules of this package,
of which `quantize` is the last.
"""
