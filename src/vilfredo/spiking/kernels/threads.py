"""One compiled function in several threads at once. They share its arguments, and work out between them who
does what (by `vectors.take`).

Numba's own `prange` does the same, but takes as long again to compile as what is in it, and some
milliseconds for each call with many arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import numba


def count() -> int:
    """How many threads kernels take, as `numba.set_num_threads` or the environment says.

    The first time Numba is asked, it starts its threads. Where these are OpenMP's, whoever asked has as many
    from then on in all that OpenMP computes for it, whatever it was held to before: in PyTorch, too. So
    somebody asks who is gone afterwards.
    """
    first = Thread(target=numba.get_num_threads)
    first.start()
    first.join()
    return int(numba.get_num_threads())


def share(work: Callable[..., None], workers: int, *arguments: Any) -> None:
    """Call `work(*arguments)` in `workers` threads, this one among them, and wait for all.

    `work` is compiled with `nogil`. Raises what it raises.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work(*arguments)
        except BaseException as problem:
            failed.append(problem)

    others = [Thread(target=run, daemon=True) for _ in range(workers - 1)]
    for other in others:
        other.start()
    run()
    for other in others:
        other.join()
    if failed:
        raise failed[0]
