"""How long an inference takes on this machine."""

from __future__ import annotations

import gc
import statistics
import time

import torch

from vilfredo.goal import KNOWN
from vilfredo.objectives.candidate import Candidate, evaluated
from vilfredo.trial import Value

GOAL = KNOWN["latency"]
QUIET = True  # measured while no other candidate of the run computes

WARM_UP = 0.02  # seconds
BUDGET = 0.1  # seconds of timed runs
FEWEST, MOST = 5, 1000  # runs, whatever the budget says


def objective(candidate: Candidate, batch: int = 1) -> Value:
    """Wall seconds of one forward pass over `batch` inputs, on one thread or on the GPU.

    After a warm-up, runs are timed for `BUDGET` seconds: `mean` is their median, since a run can be
    disturbed but never be too fast; `sd` is 1.4826 times the median absolute deviation (the standard
    deviation of undisturbed runs), `n` is how many runs there were. Nothing else should compute
    meanwhile: see `Problem.quiet`. Raises `ValueError` for a batch below 1.
    """
    if batch < 1:
        raise ValueError(f"latency cannot be measured on a batch of {batch}; give 1 or more")
    model, x = candidate.model, candidate.sample(batch)
    cuda = x.device.type == "cuda"
    threads, collecting = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(1)
    gc.disable()
    times: list[float] = []
    try:
        with evaluated(model), torch.inference_mode():
            start = time.perf_counter()
            while True:
                model(x)
                if time.perf_counter() - start > WARM_UP:
                    break
            if cuda:
                torch.cuda.synchronize(x.device)
            start = time.perf_counter()
            while len(times) < FEWEST or (len(times) < MOST and time.perf_counter() - start < BUDGET):
                before = time.perf_counter()
                model(x)
                if cuda:
                    torch.cuda.synchronize(x.device)
                times.append(time.perf_counter() - before)
    finally:
        torch.set_num_threads(threads)
        if collecting:
            gc.enable()
    middle = statistics.median(times)
    spread = 1.4826 * statistics.median(abs(t - middle) for t in times)
    return Value(middle, spread, len(times))
