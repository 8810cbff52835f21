"""Running a plan: what is pending, who executes it, and what is kept."""
