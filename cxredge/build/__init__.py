"""Building bundles: export, quantize, measure, gate, pack, and finish on the device."""
