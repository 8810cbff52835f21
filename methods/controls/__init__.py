"""Controls: simple losses, plain regularisation, and what good features give without training."""
