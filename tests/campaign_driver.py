"""A campaign in a process of its own, to be killed: `python campaign_driver.py LOG RECORDS SIZE`.

It waits for that when its log is larger than SIZE bytes.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from campaign_cases import Slow, answers, images, small
from vilfredo.campaign.log import Log
from vilfredo.campaign.run import Campaign, run
from vilfredo.faults.bit_flip import BitFlip

SETTINGS = Campaign(BitFlip(0.1), error=0.0, budget=800, batch=16)


def engine() -> Slow:
    network = small(2)
    return Slow(network, images(network))


def hold(size: int) -> None:
    write = Log.write

    def held(log: Log, lines: Any) -> None:
        write(log, lines)
        if log.path.stat().st_size > size:
            print("waiting", flush=True)
            time.sleep(600)

    Log.write = held  # type: ignore[method-assign]


def main(log: str, out: str, size: str) -> None:
    hold(int(size))
    at_work = engine()
    for progress in run(at_work, answers(at_work), SETTINGS, log):
        records = progress.results.records
    np.save(out, records)


if __name__ == "__main__":
    main(*sys.argv[1:])
