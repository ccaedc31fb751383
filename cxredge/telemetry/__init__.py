"""Facts about the machine, and its state while something is measured."""
