"""Grids that come with lnlbench (``grids/*.toml``) and the numbers of the paper (``paper/*.csv``)."""
