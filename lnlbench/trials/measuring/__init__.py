"""What of a trial is measured: accuracy, how modes and views differ, maps of features."""
