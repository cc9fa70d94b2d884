"""Compiled simulation. Everything here is Numba; nothing here knows a processor or a task."""
