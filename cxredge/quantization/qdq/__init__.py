"""INT8 graphs with QuantizeLinear and DequantizeLinear (Q/DQ) nodes in a target's dialect."""
