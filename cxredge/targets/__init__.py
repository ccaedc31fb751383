"""Devices that cxredge builds for: one TOML file each."""
