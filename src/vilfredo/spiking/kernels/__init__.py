"""Compiled simulation. Everything here is Numba; nothing here knows a processor or a task."""

from vilfredo.spiking.kernels import jit as jit  # first of all: says what to install where Numba is missing
