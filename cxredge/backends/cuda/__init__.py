"""Device memory and driver of an NVIDIA GPU, whatever Python library reaches them."""
