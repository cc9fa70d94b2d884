"""Real data for the tests: `$VILFREDO_DATA`, or `shared/data` beside the checkout where it exists."""

import os
import signal
from pathlib import Path

beside = Path(__file__).resolve().parents[2] / "shared" / "data"
if "VILFREDO_DATA" not in os.environ and beside.is_dir():
    os.environ["VILFREDO_DATA"] = str(beside)
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and so may whoever runs CI; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
