"""Writing QuantizeLinear/DequantizeLinear pairs in a target's dialect."""
