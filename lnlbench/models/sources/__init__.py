"""Where backbones come from: hubs, packages, and networks for small images."""
