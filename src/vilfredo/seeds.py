"""Seeds: every random number of a run follows from the run's seed and a path of names and numbers."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *path: int | str) -> int:
    """A seed in [0, 2**63) that depends on nothing but `seed` and `path`.

    Two different paths give unrelated seeds, whatever the number of workers and the order in which
    they are asked for (law 3). The hash is BLAKE2b, so it is the same on every machine and version.
    """
    text = "/".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """A NumPy generator seeded by `derive(seed, *path)`."""
    return np.random.Generator(np.random.PCG64(derive(seed, *path)))
