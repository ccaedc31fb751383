"""Activation statistics on calibration images, and the ranges that follow from them."""
