"""A user's own images by a table: a manifest in csv or parquet, with files or with the images themselves."""
