"""Grids: from a TOML file to the trials that it asks for."""
