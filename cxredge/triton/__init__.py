"""Model repositories for NVIDIA Triton, and the model that Triton's Python backend runs."""
