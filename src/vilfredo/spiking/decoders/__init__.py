"""From spikes to an answer: one file, one decoder."""
