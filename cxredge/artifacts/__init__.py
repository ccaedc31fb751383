"""Artifacts: folders and files with a card, written whole or not at all."""
