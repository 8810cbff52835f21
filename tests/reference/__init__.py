"""Plain implementations of whole epochs, written from the papers and independent of lnlbench."""
