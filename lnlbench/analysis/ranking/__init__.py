"""Statistics across settings: who is ahead, by how much, and how sure one can be."""
