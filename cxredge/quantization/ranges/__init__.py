"""Measuring activation ranges on calibration images."""
