"""What all tests share: real data, and chance that is the same in every run.

Real data are in `$VILFREDO_DATA`, or in `shared/data` beside the checkout where it exists.
"""

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if "VILFREDO_DATA" not in os.environ and beside.is_dir():
    os.environ["VILFREDO_DATA"] = str(beside)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and so may whoever runs CI; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Properties are tried on the same examples in every run, however slow the machine is. Others are found with
# `pytest --hypothesis-profile explore`, and with `--hypothesis-seed N` the same others again.
SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, database=None, **SLOW)
settings.register_profile("explore", derandomize=False, print_blob=True, **SLOW)
settings.load_profile("same")

FIRST = 67280421310721
"""What PyTorch seeds itself with: a test that loads it finds the same as one that finds it loaded."""


def seed() -> None:
    """Numbers that nobody seeded follow neither from the tests before this one nor from luck."""
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.manual_seed(FIRST)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    seed()  # whether or not this test was the first to need a fixture
