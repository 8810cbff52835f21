"""The methods of the suite, installed as ``lnlbench.methods`` and found by entry points."""
