"""From numbers to spikes: one file, one encoder."""
