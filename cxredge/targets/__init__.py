"""Devices that cxredge builds for, with one TOML file each."""
