"""One HTML file that says what was compared, what came out, and why one should believe it."""
