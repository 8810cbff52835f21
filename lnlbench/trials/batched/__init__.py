"""Linear probing of several trials at once: one matrix product for all heads, a record for each."""
