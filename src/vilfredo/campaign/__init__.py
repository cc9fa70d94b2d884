"""Fault campaigns: which faults a trained network meets, what they do to it, and how sure that is."""
