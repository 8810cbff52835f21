"""The metrics that every trial measures, through entry points like anybody's."""
