"""Measured results beside the paper's: cells, rankings, and whether the protocol is the same."""
