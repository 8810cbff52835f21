"""Published data sets by name, and stand-ins with their layouts."""
