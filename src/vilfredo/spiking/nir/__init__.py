"""Spiking networks as graphs of the Neuromorphic Intermediate Representation (package `nir`), both ways.

In a graph here a timestep lasts `dt` units of NIR's time, an integrate-and-fire neuron does `v += dt · r ·
input` in it and fires if `v > v_threshold`, strictly, whereupon `v = v_reset`; what arrives without a Delay
arrives at once. That is the graph's differential equation by Euler's method. J. E. Pedersen et al.,
"Neuromorphic intermediate representation", Nature Communications 15, 8122 (2024).

What NIR cannot say is in the graph's metadata, from which `read` restores it, and in a report of `Loss`.
"""

from vilfredo.spiking.nir.loss import Loss
from vilfredo.spiking.nir.reader import network, program, read
from vilfredo.spiking.nir.writer import graph, write

__all__ = ["Loss", "graph", "network", "program", "read", "write"]
