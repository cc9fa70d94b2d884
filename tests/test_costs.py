"""What a run costs: constants with their sources, and arithmetic by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.spiking.costs import CHIPS, Chip, Constant, chip, cost, cost_of
from vilfredo.spiking.program import Activity, Program

PUBLISHED = {  # J per synop and per neuron update, as printed in the sources
    "truenorth": (2.5e-12, None),
    "loihi": (23.6e-12, None),
    "spinnaker": (45e-12, None),
    "spinnaker2": (10e-12, None),
}
KERAS = {"loihi": (27.1e-12, 81e-12), "spinnaker": (13.3e-9, 26e-9)}


def test_the_published_figures_are_in_the_ranges() -> None:
    for name, (synop, _) in PUBLISHED.items():
        assert CHIPS[name].synop.low == synop
        assert "PMC10326429" in CHIPS[name].synop.source
    for name, (synop, update) in KERAS.items():
        assert CHIPS[name].synop.typical == pytest.approx(synop)
        assert CHIPS[name].update.typical == pytest.approx(update)
        assert "KerasSpiking" in CHIPS[name].synop.source


def test_one_chip_differs_by_up_to_300_times() -> None:
    synop = CHIPS["spinnaker"].synop
    assert 250 < synop.high / synop.low < 300


def test_every_constant_has_a_source_and_says_if_it_is_ours() -> None:
    for name, known in CHIPS.items():
        assert known.title
        for constant in (known.synop, known.update, known.step):
            assert len(constant.source) > 10, name
            if constant.source.startswith("our assumption"):
                assert constant.assumed, name


def test_by_hand() -> None:
    plain = Chip("x", Constant(1, 2, 3, "s"), Constant(10, 20, 40, "s"), Constant(0.5, 1, 2, "s"))
    one = cost(plain, synops=5, updates=6, steps=3)
    assert (one.energy.low, one.energy.mean, one.energy.high) == (65, 130, 255)
    assert (one.seconds.low, one.seconds.mean, one.seconds.high) == (1.5, 3, 6)
    assert one.energy.origin == one.seconds.origin == "estimated"
    assert (one.energy.sd, one.energy.n) == (0, 1)
    two = cost(plain, np.array([5, 7]), np.array([6, 6]), np.array([3, 3]))
    assert (two.energy.mean, two.energy.n) == (132, 2)
    assert two.energy.sd == pytest.approx(math.sqrt(8))
    assert two.seconds.sd == 0


def test_of_an_activity() -> None:
    none = np.zeros(0, np.int64)
    program = Program(
        numbers=np.arange(4),
        threshold=np.ones(4),
        leak=np.zeros(4, bool),
        first=np.zeros(5, np.int64),
        target=none,
        delay=none,
        weight=np.zeros(0),
        origin=none,
        inputs=none,
        outputs=none,
    )
    activity = Activity(np.zeros((2, 4), int), np.zeros((2, 0), int), np.array([10, 20]), np.array([3, 5]))
    loihi = chip("loihi")
    found = cost_of(loihi, program, activity)
    assert found.energy.mean == pytest.approx(4 * loihi.synop.typical + 60 * loihi.update.typical)
    assert found.seconds.mean == pytest.approx(15 * loihi.step.typical)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(sorted(CHIPS)))
def test_more_never_costs_less(synops: int, updates: int, steps: int, name: str) -> None:
    less, more = (
        cost(CHIPS[name], synops, updates, steps),
        cost(CHIPS[name], synops + 1, updates + 1, steps + 1),
    )
    for a, b in ((less.energy, more.energy), (less.seconds, more.seconds)):
        assert a.is_finite()
        rows = np.array([[x.low, x.mean, x.high] for x in (a, b)], float)
        assert (rows >= 0).all()
        assert (np.diff(rows, axis=0) >= 0).all()
        assert (np.diff(rows, axis=1) >= 0).all()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="did you mean loihi"):
        chip("lohi")
    with pytest.raises(ValueError, match="known are"):
        chip("zzzzzzz")
    with pytest.raises(ValueError, match="synops"):
        cost(CHIPS["odin"], -1, 0, 0)
    with pytest.raises(ValueError, match="timesteps"):
        cost(CHIPS["odin"], 1, 0, float("nan"))
    with pytest.raises(ValueError, match="at least one run"):
        cost(CHIPS["odin"], np.zeros(0), np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match="low <= typical"):
        Constant(2, 1, 3, "s")


def figure(x: float, unit: str) -> str:
    if x == 0:
        return "0"
    scale, prefix = next(
        (s, p)
        for s, p in ((1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))
        if x >= s or p == "p"
    )
    return f"{x / scale:.3g} {prefix}{unit}"


def cell(constant: Constant, unit: str) -> str:
    if constant.high == 0:
        return "in the synop"
    three = [figure(x, unit) for x in (constant.low, constant.typical, constant.high)]
    return (three[0] if len(set(three)) == 1 else " / ".join(three)) + (r" \*" if constant.assumed else "")


def test_the_page_has_these_figures() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "processors.md").read_text(encoding="utf-8")
    for name, known in CHIPS.items():
        cells = cell(known.synop, "J"), cell(known.update, "J"), cell(known.step, "s")
        assert f"| `{name}` | {' | '.join(cells)} |" in page
