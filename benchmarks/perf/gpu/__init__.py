"""Does lnlbench run right and fast on a GPU? Eleven parts that each pass or fail; see ``command``."""
