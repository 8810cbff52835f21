"""Data sets: what they are made of, where they come from, and their splits."""
