"""An evaluation is a function of its arguments, and whatever goes wrong in it becomes a failure."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from candidates import Walk
from vilfredo import artifacts
from vilfredo.evaluation import evaluate, steps
from vilfredo.goal import Goal
from vilfredo.protocols import GO, Outcome, Progress, Task, Verdict, Work
from vilfredo.trial import Artifact, Key, Value


def task(genome=None, folder="", **changes) -> Task:
    of_task = {
        name: changes.pop(name) for name in ("resume", "parents", "checkpoint_seconds") if name in changes
    }
    return Task(7, Work({"x": 0.25, **(genome or {})}, **changes), seed=11, folder=str(folder), **of_task)


def plain(outcome: Outcome) -> Outcome:
    """The outcome without what may differ between two evaluations: wall time and paths."""
    epochs = tuple(replace(e, seconds=0.0) for e in outcome.epochs)
    return replace(outcome, epochs=epochs, seconds={}, artifact=None, notes=())


def at(epoch: int, verdict: Verdict):
    return lambda progress: verdict if progress.epoch.index == epoch else GO


def test_complete_with_every_key_and_second():
    outcome = evaluate(Walk(), task())
    assert outcome.state == "complete"
    assert [e.index for e in outcome.epochs] == [1, 2, 3]
    assert set(outcome.values) == {Key("size"), Key("error"), Key("latency")}
    assert set(outcome.seconds) == {"preview", "train", "measure"}
    assert outcome.failure is None
    assert outcome.artifact is None
    assert plain(outcome) == plain(evaluate(Walk(), task()))


def test_keys_carry_split_fidelity_noise_and_repeat():
    outcome = evaluate(Walk(), task(split="test", fidelity=2, noise=5, repeat=1))
    assert len(outcome.epochs) == 2
    assert set(outcome.values) == {
        Key("size"),
        Key("error", "test", 2, 5, 1),
        Key("latency", "test", 2, 5, 1),
    }
    assert Key("error", "validation", None) in evaluate(Walk(), task(fidelity=3)).values


def test_only_the_goals_that_are_asked_for():
    outcome = evaluate(Walk(), task({"at": "quiet", "does": "raise"}, goals=frozenset({"error"})))
    assert outcome.state == "complete"
    assert {k.goal for k in outcome.values} == {"size", "error"}


def test_beyond_a_limit_nothing_is_trained():
    outcome = evaluate(Walk(), task({"size": 101.0, "at": "train", "does": "raise"}))
    assert outcome.state == "rejected"
    assert outcome.epochs == ()
    assert outcome.values == {Key("size"): Value(101.0)}


def test_quiet_is_held_for_the_goals_that_need_it_and_no_other():
    inside: list[bool] = []

    class Spy(Walk):
        def measure(self, work, model, seed):
            assert ("latency" in work.goals) == bool(inside and inside[-1])
            return {**super().measure(work, model, seed), "other": Value(1.0)}

    @contextlib.contextmanager
    def quiet() -> Iterator[None]:
        inside.append(True)
        yield
        inside.append(False)

    outcome = evaluate(Spy(), task(), quiet=quiet)
    assert inside == [True, False]
    assert outcome.values[Key("other")] == Value(1.0)


def test_the_time_it_took_is_a_goal_too():
    problem = Walk(goals=(Goal("error"), Goal("train_seconds")), quiet=frozenset())
    outcome = evaluate(problem, task({"seconds": 0.001}))
    assert outcome.values[Key("train_seconds")].mean == sum(e.seconds for e in outcome.epochs) > 0


@pytest.mark.parametrize(
    ("genome", "kind", "message"),
    [
        ({"at": "preview", "does": "raise"}, "exception", "RuntimeError: something is wrong"),
        ({"at": "train", "does": "raise"}, "exception", "RuntimeError: something is wrong"),
        ({"at": "measure", "does": "raise"}, "exception", "RuntimeError: something is wrong"),
        ({"at": "quiet", "does": "raise"}, "exception", "RuntimeError: something is wrong"),
        ({"at": "preview", "does": "impossible", "with": "no layers"}, "impossible", "no layers"),
        ({"at": "train", "does": "raise", "with": "memory"}, "out of memory", "MemoryError: something"),
        ({"at": "train", "does": "exit", "with": 3}, "exit", "the candidate called exit with code 3"),
        ({"metric": math.nan}, "not finite", "loss is nan after epoch 2"),
        ({"metric": -math.inf}, "not finite", "loss is -inf after epoch 2"),
        ({"metric": "low"}, "exception", "ValueError"),
        ({"error": Value(math.nan)}, "not finite", "the goal 'error' is nan"),
        ({"error": Value(1.0, math.inf)}, "not finite", "the goal 'error' is 1.0 with a spread"),
        ({"error": 0.5}, "exception", "the goal 'error' must come as a Value, not as float"),
        ({"size": math.nan}, "not finite", "the goal 'size' is nan"),
    ],
)
def test_failures_have_their_cause(genome, kind, message, tmp_path):
    outcome = evaluate(Walk(), task(genome, tmp_path))
    assert outcome.state == "failed"
    assert outcome.failure is not None
    assert outcome.failure.kind == kind
    assert outcome.failure.message.startswith(message)
    assert not (tmp_path / "checkpoint-0.safetensors").exists()


def test_a_traceback_names_the_place():
    outcome = evaluate(Walk(), task({"at": "measure", "does": "raise"}))
    assert "candidates.py" in outcome.failure.traceback


def test_exceptions_that_hide_what_they_are():
    class Mute(BaseException):
        def __str__(self) -> str:
            raise ValueError

    class Hostile(Walk):
        def measure(self, work, model, seed):
            raise Mute

    assert evaluate(Hostile(), task()).failure.message == "Mute: (its message cannot be shown)"


def test_torch_out_of_memory_is_known_by_name():
    class OutOfMemoryError(RuntimeError):
        pass

    class Greedy(Walk):
        def preview(self, work):
            raise work.genome["error"]

    for error in (
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ):
        assert evaluate(Greedy(), task({"error": error})).failure.kind == "out of memory"


def test_interrupts_are_for_the_driver():
    with pytest.raises(KeyboardInterrupt):
        evaluate(Walk(), task({"at": "train", "does": "raise", "with": "interrupt"}))


def test_a_goal_that_nothing_computes():
    outcome = evaluate(Walk(goals=(Goal("error"), Goal("beauty"))), task())
    assert outcome.failure.message == "nothing computes the goal 'beauty'"


def test_numbers_of_other_types_become_plain():
    values = evaluate(Walk(), task({"error": Value(np.float32(0.5), np.float64(0.25), np.int64(3))})).values
    assert type(values[Key("error")].mean) is float
    assert type(values[Key("error")].n) is int


# -- verdicts ---------------------------------------------------------------------------------------


def test_stopped_takes_the_forecast_and_measures_the_rest(tmp_path):
    stop = Verdict("stop", {"error": Value(0.3, 0.1), "size": Value(9.0), "beauty": Value(1.0)})
    outcome = evaluate(Walk(), task(folder=tmp_path), on_epoch=at(2, stop))
    assert outcome.state == "stopped"
    assert len(outcome.epochs) == 2
    assert outcome.values == {
        Key("size"): Value(1.0),
        Key("error"): Value(0.3, 0.1, origin="forecast"),
        Key("latency", fidelity=2): Value(0.001),
    }
    assert outcome.artifact == artifacts.find(tmp_path, 0)
    assert outcome.artifact.epoch == 2


def test_stopped_without_a_forecast_measures_the_model_as_it_is():
    stopped = evaluate(Walk(), task(), on_epoch=at(2, Verdict("stop")))
    short = evaluate(Walk(), task(fidelity=2))
    assert stopped.values == short.values
    assert stopped.epochs[-1].metrics == short.epochs[-1].metrics


def test_forecasts_that_are_not_finite_are_none():
    stop = Verdict("stop", {"error": Value(math.nan)})
    outcome = evaluate(Walk(), task(), on_epoch=at(1, stop))
    assert outcome.values[Key("error", fidelity=1)].origin == "measured"


def test_stopped_without_checkpoints_leaves_out_what_it_cannot_measure():
    stop = Verdict("stop", {"error": Value(0.3)})
    outcome = evaluate(Walk(checkpoints=False), task(), on_epoch=at(1, stop))
    assert outcome.state == "stopped"
    assert {k.goal for k in outcome.values} == {"size", "error"}
    assert "latency" in outcome.notes[0]


def test_stopped_without_checkpoints_takes_goals_that_are_metrics():
    class Telling(Walk):
        def train(self, work, seed, resume, parents):
            for snapshot in super().train(work, seed, resume, parents):
                yield replace(snapshot, metrics={**snapshot.metrics, "latency": 0.5})

    outcome = evaluate(Telling(checkpoints=False), task(), on_epoch=at(1, Verdict("stop")))
    assert outcome.values[Key("latency", fidelity=1)] == Value(0.5)
    assert "error" in outcome.notes[0]
    assert "latency" not in outcome.notes[0]


def test_after_the_last_epoch_a_verdict_comes_too_late():
    outcome = evaluate(Walk(), task(), on_epoch=at(3, Verdict("stop", {"error": Value(0.3)})))
    assert outcome.state == "complete"
    assert outcome.values[Key("error")].origin == "measured"


def test_paused_goes_on_as_if_it_had_not_stopped(tmp_path):
    paused = evaluate(Walk(), task(folder=tmp_path), on_epoch=at(2, Verdict("pause")))
    assert paused.state == "paused"
    assert paused.values == evaluate(Walk(), task(), on_epoch=at(2, Verdict("stop"))).values
    assert paused.artifact.path.endswith("checkpoint-0.safetensors")
    seen: list[Progress] = []
    again = evaluate(
        Walk(),
        task(folder=tmp_path, resume=paused.artifact),
        on_epoch=lambda progress: seen.append(progress) or GO,
    )
    assert plain(again) == plain(evaluate(Walk(), task()))
    assert not any(key.fidelity for key in again.values)
    assert [e.index for e in seen[0].earlier] == [1, 2]
    assert seen[0].values == {Key("size"): Value(1.0)}
    assert os.listdir(tmp_path) == ["model-0.safetensors"]


# -- artifacts --------------------------------------------------------------------------------------


def test_the_model_is_kept_and_can_be_measured_again(tmp_path):
    first = evaluate(Walk(), task(folder=tmp_path))
    again = evaluate(Walk(), task(folder=tmp_path, resume=first.artifact, split="test"))
    assert again.epochs == first.epochs
    assert again.artifact == first.artifact
    assert again.values[Key("error", "test")].mean == first.values[Key("error")].mean + 1


def test_checkpoints_when_too_much_would_be_lost(tmp_path):
    found = []

    def look(progress: Progress) -> Verdict:
        found.append(artifacts.find(tmp_path, 0))
        return GO

    evaluate(Walk(), task(folder=tmp_path, checkpoint_seconds=0.0), on_epoch=look)
    assert [a and a.epoch for a in found] == [None, 1, 2]
    found.clear()
    evaluate(Walk(), task(folder=tmp_path, repeat=1), on_epoch=lambda p: look(p))
    assert sorted(os.listdir(tmp_path)) == ["model-0.safetensors", "model-1.safetensors"]


def test_a_checkpoint_of_the_last_epoch_becomes_the_model(tmp_path):
    arrays = {"x": np.array(0.5), "done": np.array(3)}
    epochs = evaluate(Walk(), task()).epochs
    checkpoint = artifacts.write(tmp_path / "checkpoint-0.safetensors", arrays, epochs)
    outcome = evaluate(Walk(), task(folder=tmp_path, resume=checkpoint))
    assert outcome.epochs == epochs
    assert outcome.artifact.path == str(tmp_path / "model-0.safetensors")
    assert os.listdir(tmp_path) == ["model-0.safetensors"]


def test_the_better_of_model_and_checkpoint_is_found(tmp_path):
    arrays = {"x": np.array(0.5), "done": np.array(1)}
    epochs = evaluate(Walk(), task()).epochs
    artifacts.write(tmp_path / "model-0.safetensors", arrays, epochs[:1])
    artifacts.write(tmp_path / "checkpoint-0.safetensors", arrays, epochs[:2])
    assert artifacts.find(tmp_path, 0).epoch == 2


def test_a_damaged_checkpoint_costs_the_time_not_the_trial(tmp_path):
    path = tmp_path / "checkpoint-0.safetensors"
    path.write_bytes(b"\x08")
    damaged = Artifact(str(path), 1)
    outcome = evaluate(Walk(), task(folder=tmp_path, resume=damaged, parents={3: damaged}))
    assert plain(outcome) == plain(evaluate(Walk(), task()))
    assert "trained from the start" in outcome.notes[0]


def test_parents_hand_down_their_weights(tmp_path):
    parent = artifacts.write(tmp_path / "model-0.safetensors", {"x": np.array(0.25)}, ())
    child = evaluate(Walk(), task({"x": 0.0}, parents={3: parent}))
    assert child.values == evaluate(Walk(), task({"x": 0.25})).values


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="file size limits are POSIX")
def test_a_full_disk_costs_the_artifact_not_the_trial(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        outcome = evaluate(Walk(), task(folder=tmp_path, checkpoint_seconds=0.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert outcome.state == "complete"
    assert outcome.artifact is None
    assert "cannot keep the model" in outcome.notes[-1]
    assert os.listdir(tmp_path) == []


def test_closing_the_generator_ends_the_training():
    stages = steps(Walk(), task({"seconds": 0.001}))
    assert next(stages).epoch.index == 1
    stages.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_training_that_refuses_to_end_is_left_alone():
    class Stubborn(Walk):
        def train(self, work, seed, resume, parents):
            for snapshot in super().train(work, seed, resume, parents):
                with contextlib.suppress(GeneratorExit):
                    yield snapshot

    outcome = evaluate(Stubborn(), task(), on_epoch=at(1, Verdict("stop", {"error": Value(1.0)})))
    assert outcome.state == "stopped"
