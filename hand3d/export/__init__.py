"""Exported models: what other programs load and run without this package.

The only part of the library, with serving, that needs TensorFlow itself.
"""
