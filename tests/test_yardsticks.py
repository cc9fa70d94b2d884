"""The yardsticks decide as their papers say, on small cases that can be followed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from vilfredo.forecast import rungs
from vilfredo.forecast.asha import Asha
from vilfredo.forecast.fixed import Fixed
from vilfredo.forecast.hyperband import Hyperband
from vilfredo.forecast.median import Median
from vilfredo.forecast.never import Never
from vilfredo.goal import Goal
from vilfredo.trial import Epoch, Key, State, Trial, Value

ERROR = Goal("error", unit="fraction")
MACS = Goal("macs", unit="count", stage="preview")
ONE = (ERROR,)
TWO = (ERROR, MACS)


def net(
    number: int, errors: Sequence[float], state: State = "paused", macs: float | None = None, full: int = 0
) -> Trial:
    """A network with these validation errors; complete ones have the last one as measured value."""
    values = {} if macs is None else {Key("macs"): Value(macs)}
    if state == "complete":
        values[Key("error")] = Value(errors[-1])
    epochs = tuple(Epoch(i, {"val_error": e}) for i, e in enumerate(errors, 1))
    return Trial(number, {}, state, epochs=epochs, values=values)


# -- fixed and never ------------------------------------------------------------------------------


def test_fixed_stops_everybody_at_k() -> None:
    engine = Fixed(ONE, k=3)
    assert engine(net(0, [0.5, 0.4]), [], 9).action == "go"
    verdict = engine(net(0, [0.5, 0.4, 0.01]), [], 9)
    assert (verdict.action, verdict.forecast) == ("stop", {})
    assert engine(net(0, [0.5, 0.4, 0.01]), [], 3).action == "go"


def test_a_forecast_is_what_changed_in_three_finished_peers() -> None:
    peers = [net(n, [0.5, 0.4, 0.4 - 0.1 * n], "complete") for n in (1, 2, 3)]
    verdict = Fixed(ONE, k=2)(net(9, [0.6, 0.5]), peers, 3)
    value = verdict.forecast["error"]
    assert value.mean == pytest.approx(0.3)
    assert value.sd == pytest.approx(0.1 * (4 / 3) ** 0.5)
    assert Fixed(ONE, k=2)(net(9, [0.6, 0.5]), peers[:2], 3).forecast == {}


def test_a_forecast_stays_within_what_was_seen() -> None:
    peers = [net(n, [0.9, 0.1], "complete") for n in (1, 2, 3)]
    assert Fixed(ONE, k=1)(net(9, [0.2]), peers, 2).forecast["error"].mean == pytest.approx(0.1)


def test_never_stops_nobody() -> None:
    assert Never()(net(0, [1.0] * 8), [net(n, [0.1] * 9, "complete") for n in range(1, 9)], 9).action == "go"


# -- median ---------------------------------------------------------------------------------------


def test_median_compares_the_best_with_running_averages() -> None:
    """Averages after two epochs: 0.35, 0.45, 0.55; the median is 0.45."""
    peers = [net(n, [0.1 * n + 0.3, 0.1 * n + 0.2], "stopped") for n in (1, 2, 3)]
    engine = Median(ONE, peers=3)
    assert engine(net(9, [0.44, 0.9]), peers, 5).action == "go"
    assert engine(net(9, [0.45, 0.9]), peers, 5).action == "go"
    verdict = engine(net(9, [0.46, 0.9]), peers, 5)
    assert verdict.action == "stop"
    assert "0.46" in verdict.reason
    assert "0.45" in verdict.reason
    assert engine(net(9, [0.46]), peers, 5).action == "go"
    assert engine(net(9, [0.46, 0.9, 0.9]), peers, 5).action == "go"  # nobody got as far
    assert Median(ONE, peers=4)(net(9, [0.46, 0.9]), peers, 5).action == "go"
    assert Median(ONE, peers=3, grace=3)(net(9, [0.46, 0.9]), peers, 5).action == "go"


def test_median_turns_with_the_sense() -> None:
    goal = Goal("reward", "max")

    def run(number: int, values: list[float]) -> Trial:
        epochs = tuple(Epoch(i, {"reward": v}) for i, v in enumerate(values, 1))
        return Trial(number, {}, "stopped", epochs=epochs)

    peers = [run(n, [10.0 * n, 10.0 * n]) for n in range(5)]
    engine = Median((goal,))
    assert engine(run(9, [19.0, 1.0]), peers, 5).action == "stop"
    assert engine(run(9, [21.0, 1.0]), peers, 5).action == "go"


def test_median_leaves_alone_who_is_not_dominated() -> None:
    peers = [net(n, [0.3, 0.3], "stopped", macs=100.0 + n) for n in range(5)]
    engine = Median(TWO)
    assert engine(net(9, [0.9, 0.9], macs=99.0), peers, 5).action == "go"
    assert engine(net(9, [0.9, 0.9], macs=100.0), peers, 5).action == "stop"
    assert engine(net(9, [0.9, 0.9]), peers, 5).action == "stop"  # nothing speaks for it


def test_who_breaks_a_limit_dominates_nobody() -> None:
    goals = (ERROR, Goal("macs", stage="preview", max=50.0))
    peers = [net(n, [0.3, 0.3], "stopped", macs=60.0) for n in range(5)]
    assert Median(goals)(net(9, [0.9, 0.9], macs=70.0), peers, 5).action == "go"
    assert Asha(goals, grace=2)(net(9, [0.9, 0.9], macs=70.0), peers, 5).action == "go"


# -- asha -----------------------------------------------------------------------------------------


def test_the_rungs() -> None:
    assert rungs.levels(1, 3, 27) == [1, 3, 9]
    assert rungs.levels(2, 4, 33) == [2, 8, 32]
    assert rungs.levels(5, 2, 5) == []


def test_asha_keeps_the_best_of_eta() -> None:
    engine = Asha(ONE)
    peers = [net(n, [0.1 * n], "stopped") for n in range(1, 6)]
    assert engine(net(9, [0.15]), peers, 9).action == "go"  # second of six
    verdict = engine(net(9, [0.35]), peers, 9)
    assert verdict.action == "stop"
    assert verdict.reason == "place 4 of 6 after epoch 1, the best 2 go on"
    assert engine(net(9, [0.9]), peers[:1], 9).action == "go"  # the first of a rung go on
    assert engine(net(9, [0.35, 0.9]), peers, 9).action == "go"  # no rung
    assert engine(net(9, [0.35, 0.9, 0.9]), peers, 9).action == "go"  # nobody else on the second rung


def test_asha_promotes_as_published() -> None:
    engine = Asha(ONE, pause=True)
    first, second, third = (net(n, [0.1 * n]) for n in (1, 2, 3))
    assert engine(first, [], 9).action == "pause"
    assert engine.revive([first]) == []
    assert engine(second, [first], 9).action == "pause"
    assert engine.revive([first, second]) == []
    assert engine(third, [first, second], 9).action == "pause"
    assert engine.revive([first, second, third]) == [1]
    again = net(1, [0.1, 0.1])
    assert engine(again, [first, second, third], 9).action == "go"
    best = net(4, [0.05])
    assert engine(best, [first, second, third], 9).action == "go"  # promoted without a pause
    sixth = [net(n, [0.1 * n]) for n in range(1, 7)]
    assert engine.revive(sixth) == [1, 2]


def test_asha_revives_from_the_highest_rung_first() -> None:
    engine = Asha(ONE, pause=True)
    low = [net(n, [0.1 * n]) for n in range(1, 4)]
    high = [net(n, [0.5, 0.5, 0.01 * n]) for n in range(11, 14)]
    assert engine.revive([*low, *high]) == [11, 1, 2]
    stopped = [net(n, [0.5, 0.5, 0.01 * n], "stopped") for n in range(11, 14)]
    assert engine.revive(stopped) == []
    assert list(Asha(ONE).revive(low)) == []


def test_asha_by_ranks_in_several_goals() -> None:
    """Errors and costs in conflict: all of the first rank go on, the others by rank."""
    engine = Asha(TWO)
    peers = [net(n, [0.1 * n], "stopped", macs=60.0 - 10 * n) for n in range(1, 6)]
    assert engine(net(9, [0.9], macs=5.0), peers, 9).action == "go"
    assert engine(net(9, [0.31], macs=30.0), peers, 9).action == "stop"
    pausing = Asha(TWO, pause=True)
    assert pausing(net(9, [0.31], macs=30.0), peers, 9).action == "pause"
    waiting = [net(n, [0.1 * n], macs=60.0 - 10 * n) for n in range(1, 6)]
    assert sorted(pausing.revive(waiting)) == [1, 2, 3, 4, 5]


def test_records_that_jump_over_a_rung() -> None:
    def sparse(number: int, value: float) -> Trial:
        epochs = (Epoch(2, {"val_error": value}), Epoch(4, {"val_error": value}))
        return Trial(number, {}, "stopped", epochs=epochs)

    peers = [sparse(n, 0.1 * n) for n in range(1, 6)]
    assert Asha(ONE, grace=3)(sparse(9, 0.9), peers, 9).action == "stop"
    assert Asha(ONE, grace=2, eta=9)(sparse(9, 0.9), peers, 9).action == "go"


# -- hyperband ------------------------------------------------------------------------------------


def test_hyperband_deals_networks_to_brackets() -> None:
    """Rungs 1 and 3 of 9 epochs: brackets from 1, from 3, and none."""
    engine = Hyperband(ONE)
    peers = [net(n, [0.1, 0.1, 0.1], "stopped") for n in range(9)]
    assert engine(net(9, [0.9]), peers, 9).action == "stop"
    assert engine(net(10, [0.9]), peers, 9).action == "go"
    assert engine(net(10, [0.9] * 3), peers, 9).action == "stop"
    assert engine(net(11, [0.9] * 3), peers, 9).action == "go"
    others = [p for p in peers if p.number % 3]
    assert engine(net(9, [0.9]), others, 9).action == "go"  # nobody of its bracket


# -- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Fixed, {"k": 0}),
        (Median, {"grace": 0}),
        (Median, {"peers": 0}),
        (Asha, {"grace": 0}),
        (Asha, {"eta": 1}),
        (Hyperband, {"grace": 0}),
        (Hyperband, {"eta": 1}),
    ],
)
def test_options_out_of_range(make: Any, options: dict[str, Any]) -> None:
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"{name} of {make.__name__.lower()} must be at least"):
        make(ONE, **options)
