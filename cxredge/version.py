"""The version, in a module that imports nothing: packages below the API report it too."""

__version__ = "0.1.0"
