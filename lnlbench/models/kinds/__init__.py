"""Kinds of phases beyond linear probing and full fine-tuning: partial, low-rank and prompt tuning."""
