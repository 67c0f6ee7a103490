"""Weights made by others, turned into weight sets of hand3d: `python -m weights.convert --help`."""
