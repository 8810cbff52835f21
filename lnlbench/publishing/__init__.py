"""Results that others can check: a folder with records, tables and a report, and what makes them again."""
