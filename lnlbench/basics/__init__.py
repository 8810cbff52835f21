"""What every room needs: files, locks, seeds, clocks, text for terminals."""
