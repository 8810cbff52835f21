"""Listeners that send epochs and results to other programs; each needs an extra of its name."""
