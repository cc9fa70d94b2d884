"""Vilfredo finds the Pareto set of neural networks for your data and your hardware."""
