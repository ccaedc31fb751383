"""INT8: choose calibration images, measure ranges, correct, emit a dialect, compare.

The order is ranges -> corrections -> emitter; each can be replaced without the others knowing.
"""
