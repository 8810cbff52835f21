"""Trained networks as files that others use: written by trials, read by anybody."""
