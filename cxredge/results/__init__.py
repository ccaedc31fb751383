"""Results of ``cxredge evaluate`` and ``cxredge bench``: records, and how their files are read."""
