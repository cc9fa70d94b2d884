"""Decoders: laws of every file in the folder, what each promises, and whole episodes of the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cartpole_cases
import vilfredo.spiking.decoders
from vilfredo.spec import names
from vilfredo.spiking import coding
from vilfredo.spiking.decoders.decoder import Reading
from vilfredo.spiking.decoders.first_to_fire import FirstToFire
from vilfredo.spiking.decoders.population import Population
from vilfredo.spiking.decoders.rate import Rate
from vilfredo.spiking.decoders.winner_takes_all import WinnerTakesAll

FOLDER = Path(str(vilfredo.spiking.decoders.__file__)).parent
DECODERS = {name: names.find("decoder", name) for name in names.known("decoder")}


def plain(reading: Reading, counts: list[int], first: list[int]) -> int:
    """The rules as they are written down, one answer after the other."""
    if reading.rule == "level":
        return min(counts[0] * reading.answers // (reading.full + 1), reading.answers - 1)
    votes = [sum(counts[answer :: reading.answers]) for answer in range(reading.answers)]
    if reading.rule == "most":
        return votes.index(max(votes))
    times = [
        min((t for t in first[a :: reading.answers] if t >= 0), default=math.inf)
        for a in range(reading.answers)
    ]
    ranks = [(times[answer], -votes[answer], answer) for answer in range(reading.answers)]
    return min(ranks)[2]


@st.composite
def read(draw: st.DrawFn) -> tuple[Reading, list[int], list[int]]:
    """A decoder's reading, and spikes of its outputs."""
    decoder = DECODERS[draw(st.sampled_from(sorted(DECODERS)))]()
    reading = coding.reading(decoder, draw(st.integers(2, 5)), 24)
    counts = [draw(st.integers(0, 24)) for _ in range(reading.outputs)]
    return reading, counts, [draw(st.integers(0, 24 - n)) if n else -1 for n in counts]


def test_every_file_is_a_decoder() -> None:
    files = {file.stem for file in FOLDER.glob("*.py")} - {"__init__", "decoder"}
    assert set(DECODERS) == files
    for make in DECODERS.values():
        assert make() == make()
        assert isinstance(make().reading(3, 24), Reading)


@given(read())
def test_answers_follow_the_rules(case: tuple[Reading, list[int], list[int]]) -> None:
    reading, counts, first = case
    answer = coding.answers(reading, counts, first)
    assert answer.tolist() == [plain(reading, counts, first)]
    assert 0 <= answer[0] < reading.answers


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=6))
def test_many_are_read_as_one_by_one(counts: list[list[int]]) -> None:
    reading = Population(2).reading(2, 24)
    first = np.where(np.array(counts) > 0, 1, -1)
    together = coding.answers(reading, counts, first)
    assert together.tolist() == [coding.answers(reading, c, f)[0] for c, f in zip(counts, first, strict=True)]


def test_winner_takes_all_takes_the_first_of_equals() -> None:
    reading = WinnerTakesAll().reading(3, 24)
    table = [[0, 0, 0], [1, 2, 2], [2, 0, 2], [0, 0, 1]]
    assert coding.answers(reading, table, np.zeros((4, 3))).tolist() == [0, 1, 0, 2]


def test_population_adds_the_spikes_of_several_outputs() -> None:
    reading = Population(3).reading(2, 24)
    assert reading.outputs == 6
    # Outputs 0, 2, 4 vote for 0, outputs 1, 3, 5 for 1.
    assert coding.answers(reading, [5, 2, 0, 2, 0, 2], [0] * 6).tolist() == [1]
    assert coding.answers(reading, [5, 2, 1, 2, 0, 2], [0] * 6).tolist() == [0]


def test_first_to_fire_goes_by_time_then_spikes_then_order() -> None:
    reading = FirstToFire().reading(3, 24)
    assert coding.answers(reading, [9, 1, 1], [5, 4, 8]).tolist() == [1]
    assert coding.answers(reading, [1, 2, 2], [4, 4, 4]).tolist() == [1]
    assert coding.answers(reading, [0, 0, 3], [-1, -1, 23]).tolist() == [2]
    assert coding.answers(reading, [0, 0, 0], [-1, -1, -1]).tolist() == [0]


def test_rate_is_a_level() -> None:
    reading = Rate(full=9).reading(5, 24)
    levels = [coding.answers(reading, [n], [0])[0] for n in range(12)]
    assert levels == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4]
    assert Rate().reading(5, 24).full == 24


@given(st.integers(2, 9), st.integers(1, 40))
def test_rates_reach_all_levels_in_order(answers: int, full: int) -> None:
    if full + 1 < answers:
        with pytest.raises(ValueError, match=f"`full` must be at least {answers - 1}"):
            Rate(full).reading(answers, 24)
        return
    reading = Rate(full).reading(answers, 24)
    levels = coding.answers(reading, np.arange(full + 1)[:, None], np.zeros((full + 1, 1)))
    assert np.all(np.diff(levels) >= 0)
    assert set(levels.tolist()) == set(range(answers))


@pytest.mark.parametrize("name", cartpole_cases.CASES)
def test_actions_of_the_reference_follow_from_its_spikes(name: str) -> None:
    case = cartpole_cases.case(name)
    reading = coding.reading(WinnerTakesAll(), case.setting.actions, case.window)
    assert np.array_equal(coding.answers(reading, case.counts, np.zeros_like(case.counts)), case.actions)


@dataclass
class Own:
    """Somebody's own decoder."""

    made: Reading

    def reading(self, answers: int, window: int) -> Reading:
        return self.made


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (Reading("most", 4, 4), "Own reads 4 answers, the task has 3"),
        (Reading("most", 4, 3), "4 outputs cannot vote for 3 answers"),
        (Reading("first", 0, 3), "0 outputs cannot vote for 3 answers"),
        (Reading("level", 2, 3, 8), "needs one output"),
        (Reading("level", 1, 3, 0), "`full` from 1"),
    ],
)
def test_somebodys_own_decoder_is_checked(made: Reading, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        coding.reading(Own(made), 3, 24)


@pytest.mark.parametrize("bad", [0, 2.0, "4", True])
def test_options_are_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match="Population: `neurons` must be a whole number from 1"):
        Population(bad)
    with pytest.raises(ValueError, match="Rate: `full` must be a whole number from 1"):
        Rate(bad)


def test_other_outputs_than_read_are_refused() -> None:
    with pytest.raises(ValueError, match="spikes of 3 outputs, 2 are to be read"):
        coding.answers(WinnerTakesAll().reading(2, 24), [1, 2, 3], [0, 0, 0])
