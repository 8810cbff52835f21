"""Plugins: find, locate, load, check, fingerprint."""
