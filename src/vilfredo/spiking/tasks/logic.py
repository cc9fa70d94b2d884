"""Logic: a truth table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vilfredo.spiking import options
from vilfredo.spiking.tasks.classification import Samples

FUNCTIONS: Mapping[str, Callable[[NDArray[np.int64]], Any]] = {
    "and": lambda bits: bits.all(axis=1),
    "or": lambda bits: bits.any(axis=1),
    "nand": lambda bits: ~bits.all(axis=1),
    "nor": lambda bits: ~bits.any(axis=1),
    "xor": lambda bits: bits.sum(axis=1) % 2 == 1,
    "xnor": lambda bits: bits.sum(axis=1) % 2 == 0,
    "parity": lambda bits: bits.sum(axis=1) % 2 == 1,
    "majority": lambda bits: 2 * bits.sum(axis=1) > bits.shape[1],
}
LARGEST = 12


class Logic(Samples):
    """The truth table of a function of `inputs` bits: "and", "or", "nand", "nor", "xor" (the same as
    "parity": an odd number of ones), "xnor" or "majority" (more ones than zeros). Features are 0.0 or 1.0.

    A truth table is all there is: both splits, "search" and "test", are the whole of it, the first bit
    changing slowest.

    Raises `ValueError` for an unknown function, and for fewer than 2 or more than 12 inputs.
    """

    def __init__(self, function: str = "xor", inputs: int = 2) -> None:
        options.whole(self, "inputs", inputs, 2)
        if inputs > LARGEST:
            raise ValueError(
                f"Logic: a table of {inputs} inputs has 2^{inputs} rows; at most {LARGEST} inputs"
            )
        if function not in FUNCTIONS:
            raise ValueError(f"Logic: there is no function {function!r}; known: {', '.join(FUNCTIONS)}")
        rows = np.arange(2**inputs)[:, None] >> np.arange(inputs)[::-1] & 1
        table = rows.astype(np.float64), np.asarray(FUNCTIONS[function](rows), dtype=np.int64)
        self._set(table, table, f"{function} of {inputs}")
