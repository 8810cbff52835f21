"""What a network is fed: live images, their views, or cached features."""
