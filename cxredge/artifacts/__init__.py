"""Artifacts: folders with a card, typed records of files, atomic writes."""
