"""Predictions on a cluster: paths go out in shards, rows come back, one process commits them."""
