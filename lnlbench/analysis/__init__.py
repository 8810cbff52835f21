"""From records to frames, statistics and tables; imports neither torch nor ray."""
