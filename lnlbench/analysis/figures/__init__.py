"""Figures, from records to files."""
