"""Neuromorphic processors: one file, one processor."""
