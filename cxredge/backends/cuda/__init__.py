"""Driver, memory and streams of an NVIDIA GPU, through PyCUDA or cuda-python."""
