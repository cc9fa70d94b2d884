"""Spiking networks: the network, processors that run it, encoders, decoders and tasks."""

from vilfredo.spiking.network import NetworkError, Properties, Property, SpikingNetwork

__all__ = ["NetworkError", "Properties", "Property", "SpikingNetwork"]
