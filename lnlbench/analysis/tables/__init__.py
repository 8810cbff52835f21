"""Tables as values, and a renderer per format."""
