"""Faults and variations of parameters; one file, one kind. They act on arrays, of any network."""
