"""The search for hyperparameters: a space, its configurations as trials, and what validation says of them.

    grid ─▶ base trials ─ space ─▶ configurations ─▶ trials ─▶ records ─▶ validation curves ─▶ ranking ─▶ file

The space and the ranking import neither torch nor ray; only :mod:`lnlbench.search.asha` runs trials.
"""
