"""Corrections of weights and biases before quantization."""
