"""Backbones by source, their preprocessing, and networks made from them."""
