"""What spiking networks are to do: one file, one task."""
