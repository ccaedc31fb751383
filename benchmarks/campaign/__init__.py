"""Hostile inputs, crashes and full disks, tried on the commands and counted."""
