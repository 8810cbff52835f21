"""Results read as one: output folders of runs, and folders that were published."""
