"""Pieces that several methods share: losses, mixtures, mixing, ramps."""
