"""Whether a processor can hold a network: one clear sentence about the first neuron or synapse that it
cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking.network import Floats, NetworkError, Properties, Property, SpikingNetwork


def check(network: SpikingNetwork, properties: Properties, who: str) -> None:
    """Raise `NetworkError` if the network's properties are not those of the processor `who`, or if a value is
    not finite, not whole where it must be, or out of range. Nothing is clipped."""
    if network.properties != Properties() and not same(network.properties, properties):
        raise NetworkError(
            f"the network's properties are not those of {who}: {difference(network.properties, properties)}"
        )
    _names(network.neurons, properties.neurons, "neurons", who, network.size)
    _names(network.synapses, properties.synapses, "synapses", who, len(network.source))
    for p in properties.neurons:
        bad = wrong(network.of_neurons(p.name), p)
        if bad is not None:
            raise NetworkError(f"neuron {network.ids[bad[0]]}: its {p.name} {bad[1]}")
    for p in properties.synapses:
        bad = wrong(network.of_synapses(p.name), p)
        if bad is not None:
            start, end = network.ids[network.source[bad[0]]], network.ids[network.target[bad[0]]]
            raise NetworkError(f"synapse {start} -> {end}: its {p.name} {bad[1]}")


def wrong(values: Floats, p: Property) -> tuple[int, str] | None:
    """Place and fault of the first value that property `p` does not allow."""
    fine: NDArray[np.bool_] = (values >= p.low) & (values <= p.high)  # false for NaN, too
    if p.kind != "float":
        fine &= values == np.floor(values)
    if fine.all():
        return None
    place = np.argwhere(~fine)[0]
    value = float(values[tuple(place)])
    if not np.isfinite(value) or p.kind == "float" or value == np.floor(value):
        return int(place[0]), f"is {value:.15g}, not within {p.low:.15g} to {p.high:.15g}"
    return int(place[0]), f"is {value:.15g}, not a whole number from {p.low:.15g} to {p.high:.15g}"


def same(one: Properties, other: Properties) -> bool:
    """Equal, in whatever order they are listed."""
    return all(set(a) == set(b) for a, b in zip(_parts(one), _parts(other), strict=True))


def difference(found: Properties, wanted: Properties) -> str:
    """The first difference, in words."""
    for what, a, b in zip(("neurons", "synapses", "network"), _parts(found), _parts(wanted), strict=True):
        have, need = {p.name: p for p in a}, {p.name: p for p in b}
        for name in sorted(set(need) - set(have)):
            return f"{name} of the {what} is missing"
        for name in sorted(set(have) - set(need)):
            return f"{name} of the {what} is not known"
        for name in need:
            if have[name] != need[name]:
                return f"{name} of the {what} is {_words(have[name])}, not {_words(need[name])}"
    return "none"


def _parts(properties: Properties) -> tuple[Sequence[Property], ...]:
    return properties.neurons, properties.synapses, properties.network


def _words(p: Property) -> str:
    return f"{p.kind} from {p.low:.15g} to {p.high:.15g} at index {p.index} of size {p.size}"


def _names(columns: Mapping[str, Floats], wanted: Sequence[Property], what: str, who: str, rows: int) -> None:
    names = {p.name for p in wanted}
    for p in wanted if rows else ():
        if p.name not in columns:
            raise NetworkError(f"the {what} of the network have no {p.name}, which {who} needs")
    for name in sorted(set(columns) - names):
        raise NetworkError(
            f"the {what} of the network have a {name}, which {who} does not know with its parameters"
        )
