"""Which labels of a data set are wrong? From a data set to a table, a page and a cleaned manifest.

asked ─▶ subject (features, labels) ─▶ examine (detectors) ─▶ findings ─▶ files · page · cleaned manifest
"""
