"""Encoders: laws of every file in the folder, what each promises, and whole episodes of the reference."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cartpole_cases
import vilfredo.spiking.encoders
from vilfredo.spec import names
from vilfredo.spiking import coding
from vilfredo.spiking.encoders.argyle import Argyle
from vilfredo.spiking.encoders.binning import Binning
from vilfredo.spiking.encoders.charge_injection import ChargeInjection
from vilfredo.spiking.encoders.encoder import Code
from vilfredo.spiking.encoders.flip_flop import FlipFlop
from vilfredo.spiking.encoders.rate import Rate
from vilfredo.spiking.encoders.spike_count import SpikeCount
from vilfredo.spiking.encoders.temporal import Temporal

FOLDER = Path(str(vilfredo.spiking.encoders.__file__)).parent
ENCODERS = {name: names.find("encoder", name) for name in names.known("encoder")}
OPTIONS: Mapping[str, st.SearchStrategy[Any]] = {
    "spikes": st.integers(1, 9),
    "interval": st.integers(1, 4) | st.floats(1.0, 4.0),
    "window": st.integers(9, 30),
    "bins": st.integers(1, 6),
    "neurons": st.integers(2, 6),
    "levels": st.integers(2, 300),
    "value": st.floats(0.01, 1.0),
    "seed": st.none() | st.integers(0, 5),
    "flip_flop": st.booleans(),
    "late": st.booleans(),
}
NUMBERS = st.floats(-1e6, 1e6)
RANGES = st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] + 1e-6 < pair[1])


@st.composite
def coded(draw: st.DrawFn) -> Code:
    """The code of any encoder with any options over any range."""
    make = ENCODERS[draw(st.sampled_from(sorted(ENCODERS)))]
    chosen = {f.name: draw(OPTIONS[f.name]) for f in dataclasses.fields(make) if f.name in OPTIONS}
    code: Code = make(**chosen).code(*draw(RANGES))
    return code


def counts(code: Code) -> np.ndarray:
    """Spikes (regions, neurons)."""
    return (code.charge > 0).sum(axis=2)


# -- every encoder --------------------------------------------------------------------------------


def test_every_file_is_an_encoder() -> None:
    files = {file.stem for file in FOLDER.glob("*.py")} - {"__init__", "encoder"}
    assert set(ENCODERS) == files
    for make in ENCODERS.values():
        assert make() == make()
        assert isinstance(make().code(-1.0, 1.0), Code)


@given(coded())
def test_charges_are_shares_of_the_full_input(code: Code) -> None:
    assert code.charge.shape == (code.regions, code.neurons, code.window)
    assert min(code.charge.shape) > 0
    assert np.all((code.charge >= 0) & (code.charge <= 1))
    assert code.low < code.high


@given(coded(), st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
def test_any_value_has_a_region_and_its_charges(code: Code, values: list[float]) -> None:
    places = coding.regions(code, values)
    assert np.all((places >= 0) & (places < code.regions))
    charges = coding.charges([code], np.array(values)[:, None])
    assert np.array_equal(charges, code.charge[places])


@given(coded(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=9))
def test_regions_grow_with_the_value(code: Code, shares: list[float]) -> None:
    values = np.sort(code.low + np.array(shares) * (code.high - code.low))
    assert np.all(np.diff(coding.regions(code, values)) >= 0)
    assert coding.regions(code, [code.low, -math.inf]).tolist() == [0, 0]
    assert coding.regions(code, [code.high, math.inf]).tolist() == [code.regions - 1] * 2


@given(coded(), st.floats(-2e6, 2e6))
def test_the_rule_is_the_one_that_is_written_down(code: Code, value: float) -> None:
    if code.rule == "floor":
        place = math.floor((value - code.low) / (code.high - code.low) * code.regions)
        expected = min(max(place, 0), code.regions - 1)
    else:
        middle = (code.regions - 1) // 2
        end = code.high if value > 0 else code.low
        share = math.ceil(min(1.0, value / end) * middle)
        expected = middle + share if value > 0 else middle - share
    assert coding.regions(code, [value]).tolist() == [expected]


# -- what each promises ---------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 4))
def test_spike_count_counts(spikes: int, interval: int) -> None:
    code = SpikeCount(spikes, interval).code(0.0, 1.0)
    assert counts(code)[:, 0].tolist() == list(range(spikes + 1))
    assert code.window == (spikes - 1) * interval + 1
    assert np.flatnonzero(code.charge[-1, 0]).tolist() == [n * interval for n in range(spikes)]


def test_intervals_may_be_fractions_and_are_rounded() -> None:
    charge = SpikeCount(8, 25 / 8).code(0.0, 1.0).charge[-1, 0]
    assert np.flatnonzero(charge).tolist() == [0, 3, 6, 9, 12, 16, 19, 22]
    for bad in (0.5, math.inf, math.nan, "3", True):
        with pytest.raises(ValueError, match="SpikeCount: `interval` must be a number from 1"):
            SpikeCount(interval=bad)  # type: ignore[arg-type]


@given(st.integers(1, 24))
def test_rates_are_regularly_spaced_unless_there_is_a_seed(spikes: int) -> None:
    regular = Rate(spikes, 24).code(0.0, 1.0)
    assert counts(regular)[:, 0].tolist() == list(range(spikes + 1))
    for n in range(2, spikes + 1):
        gaps = np.diff(np.flatnonzero(regular.charge[n, 0]))
        assert gaps.max() - gaps.min() <= 1


def test_a_bernoulli_rate_is_the_same_each_time_and_about_right() -> None:
    code = Rate(1000, 2000, seed=3).code(0.0, 1.0)
    assert np.array_equal(code.charge, Rate(1000, 2000, seed=3).code(0.0, 1.0).charge)
    assert not np.array_equal(code.charge, Rate(1000, 2000, seed=4).code(0.0, 1.0).charge)
    spikes = counts(code)[:, 0]
    assert np.all(np.abs(spikes - np.arange(1001)) < 5 * math.sqrt(2000 * 0.25))
    assert np.all(np.diff(code.charge[:, 0], axis=0) >= 0)  # a larger value keeps the spikes of a smaller one


@given(st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_one_bin_spikes_and_flip_flop_does_not_jump(bins: int, spikes: int, flip_flop: bool) -> None:
    table = counts(Binning(bins, spikes, flip_flop=flip_flop).code(0.0, 1.0))
    assert np.all((table > 0).sum(axis=1) == 1)
    assert np.array_equal((table > 0).argmax(axis=1), np.arange(bins * spikes) // spikes)
    if flip_flop:
        assert np.all(np.abs(np.diff(table.sum(axis=1))) <= 1)
    else:
        assert table.sum(axis=1).tolist() == [*range(1, spikes + 1)] * bins


def test_charge_injection_gives_each_charge_of_a_discrete_processor() -> None:
    for full in (1, 7, 15, 100, 127, 255, 1023):
        charge = ChargeInjection(full + 1).code(0.0, 1.0).charge[:, 0, 0]
        assert np.floor(charge * full).tolist() == list(range(full + 1))
        assert charge.max() == 1.0


@given(st.integers(1, 9), st.floats(0.0, 3.0))
def test_flip_flop_is_symmetric_and_silent_at_zero(spikes: int, value: float) -> None:
    code = FlipFlop(spikes).code(-2.0, 2.0)
    up, down = counts(code)[coding.regions(code, [value, -value])]
    assert up[::-1].tolist() == down.tolist()
    assert up.tolist() == [0, math.ceil(min(1.0, value / 2.0) * spikes)]


def test_flip_flop_without_a_zero_turns_at_the_middle() -> None:
    code = FlipFlop(8).code(4.0, 8.0)
    table = counts(code)[coding.regions(code, [4.0, 5.9, 6.1, 8.0])]
    assert table.tolist() == [[8, 0], [1, 0], [0, 1], [0, 8]]


@given(st.integers(2, 6), st.integers(1, 9))
def test_argyle_gives_all_values_as_many_spikes(neurons: int, spikes: int) -> None:
    table = counts(Argyle(neurons, spikes).code(0.0, 1.0))
    assert np.all(table.sum(axis=1) == spikes + 1)
    assert np.all((table > 0).sum(axis=1) == 2)
    assert table[0, :2].tolist() == [spikes, 1]
    assert table[-1, -2:].tolist() == [1, spikes]


def test_temporal_is_earlier_for_larger_values_or_later() -> None:
    early, late = Temporal(10).code(0.0, 1.0), Temporal(10, late=True).code(0.0, 1.0)
    assert counts(early).tolist() == counts(late).tolist() == [[1]] * 10
    assert early.charge[:, 0].argmax(axis=1).tolist() == list(range(9, -1, -1))
    assert late.charge[:, 0].argmax(axis=1).tolist() == list(range(10))


# -- the reference --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cartpole_cases.CASES)
def test_episodes_of_the_reference_are_encoded_spike_by_spike(name: str) -> None:
    case = cartpole_cases.case(name)
    codes = coding.codes(case.encoder, case.setting.ranges, case.window)
    charges = coding.charges(codes, case.observations)
    assert np.array_equal((charges > 0).sum(axis=2), case.given)
    assert [set(map(tuple, np.argwhere(step).tolist())) for step in charges] == case.spikes
    assert set(np.unique(charges)) == {0.0, 1.0}


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("bad", [0, -3, 1.5, "8", True])
def test_options_are_checked(name: str, bad: object) -> None:
    make = ENCODERS[name]
    for option in {f.name for f in dataclasses.fields(make)} & {
        "spikes",
        "window",
        "bins",
        "neurons",
        "levels",
    }:
        with pytest.raises(ValueError, match=f"{make.__name__}: `{option}` must be a whole number from"):
            make(**{option: bad})


@pytest.mark.parametrize("bad", [0, 1.5, -0.1, math.nan, "1", True])
def test_charges_are_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match="`value` must be a number above 0 and at most 1"):
        SpikeCount(value=bad)


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (-math.inf, 1.0), (0.0, math.nan)])
def test_ranges_are_checked(name: str, ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="from a number to a larger one"):
        ENCODERS[name]().code(*ends)


def test_more_spikes_than_timesteps_are_refused() -> None:
    with pytest.raises(ValueError, match="25 spikes do not go into 24 timesteps"):
        Rate(25, 24)


def test_a_code_must_fit_the_window() -> None:
    assert [c.window for c in coding.codes(FlipFlop(), [(-1, 1)] * 2, 24)] == [22, 22]
    with pytest.raises(ValueError, match="FlipFlop of number 0 needs 22 timesteps, the network runs only 20"):
        coding.codes(FlipFlop(), [(-1, 1)] * 2, 20)


def test_each_number_may_have_its_own_encoder() -> None:
    codes = coding.codes([FlipFlop(), Temporal()], [(-1, 1), (0, 3)])
    assert coding.inputs(codes) == 3
    charges = coding.charges(codes, [[-1.0, 3.0], [0.0, 0.0]])
    assert charges.shape == (2, 3, 24)
    assert (charges > 0).sum(axis=2).tolist() == [[8, 0, 1], [0, 0, 1]]
    with pytest.raises(ValueError, match="2 encoders for the 3 numbers"):
        coding.codes([FlipFlop(), Temporal()], [(-1, 1)] * 3)


@dataclasses.dataclass
class Own:
    """Somebody's own encoder."""

    charge: np.ndarray
    rule: Any = "floor"

    def code(self, low: float, high: float) -> Code:
        return Code(low, high, self.rule, self.charge)


def test_somebodys_own_encoder_is_checked() -> None:
    good = coding.codes(Own(np.ones((2, 1, 3))), [(0.0, 1.0)])
    assert coding.charges(good, [[0.7]]).tolist() == [[[1.0, 1.0, 1.0]]]
    for charge in (
        np.full((2, 1, 3), 1.1),
        np.full((2, 1, 3), -0.1),
        np.full((2, 1, 3), math.nan),
        np.ones((2, 3)),
    ):
        with pytest.raises(ValueError, match="Own of number 0: charges must be a table"):
            coding.codes(Own(charge), [(0.0, 1.0)])
    with pytest.raises(ValueError, match="'signed' needs an odd number of regions and a range around 0"):
        coding.codes(Own(np.ones((2, 1, 3)), "signed"), [(-1.0, 1.0)])


def test_nan_and_wrong_numbers_of_columns_are_refused() -> None:
    codes = coding.codes(FlipFlop(), [(-1, 1)] * 2)
    with pytest.raises(ValueError, match="number 1 of observation 2 is NaN"):
        coding.charges(codes, [[0, 0], [0, 0], [0, math.nan]])
    with pytest.raises(ValueError, match="observations have 3 numbers, there are codes for 2"):
        coding.charges(codes, [[0, 0, 0]])
