"""How fast lnlbench is, each part beside what it should be as fast as; see ``__main__``."""
