"""Checks weight sets against their manifest: `python -m weights.verify [NAME or folder ...]`."""
