"""Several processes that run one trial: what they tell each other, and what of a trial they share."""
