"""Records of trials: facts on disk, which of them are stale, and a frame of them."""
