"""What lies beside the records of a folder: details that tables do not need, and verdicts on samples."""
