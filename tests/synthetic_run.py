"""A made-up run with all that a report may meet: lineages, curves, failures, limits, confirmed values."""

from __future__ import annotations

import math

import numpy as np

from vilfredo.goal import Goal, goal
from vilfredo.report.page import ReportData, important
from vilfredo.trial import Attempt, Epoch, Failure, Halt, Key, Trial, Value

GOALS = (goal("error"), goal("latency", max="4 ms"), goal("parameters"), goal("energy", ranked=False))
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028"
CAUSES = (
    Failure(
        "exception", "Expected more than 1 value per channel when training", "Traceback:\n  File x, line 3"
    ),
    Failure("out of memory", "the worker needed more than 2 GiB"),
    Failure("timeout", "60 s passed"),
    Failure("not finite", "the loss is nan after epoch 3"),
    Failure("exception", NASTY, f"Traceback:\n{NASTY}"),
)


def trials(count: int, epochs: int = 20, seed: int = 0, stopped: bool = False) -> list[Trial]:
    """`count` trials of a made-up evolution: children are like their parents, and mostly a little better.
    With `stopped` some were stopped or paused early, with forecasts, and some went on later."""
    rng = np.random.default_rng(seed)
    made: list[Trial] = []
    skill: dict[int, tuple[float, float]] = {}
    score: dict[int, float] = {}
    clock = 0.0
    for number in range(count):
        alive = sorted(score, key=score.__getitem__)[:40]
        if number < 20 or not alive:
            parents, operator = (), "baseline" if number == 0 else "sample"
            size, gap = float(rng.uniform(0.2, 1)), float(rng.uniform(0.1, 0.5))
        else:
            picked = rng.choice(alive, size=2, replace=len(alive) < 2)
            parents = tuple(int(p) for p in dict.fromkeys(picked.tolist()))
            operator = "cross" if len(parents) > 1 else "mutate"
            size, gap = (float(np.mean([skill[p][i] for p in parents])) for i in (0, 1))
            size, gap = float(np.clip(size + rng.normal(0, 0.12), 0, 1)), abs(gap * rng.uniform(0.8, 1.12))
        error = float(np.clip(0.02 + gap * 0.4 + 0.12 * (1 - size) ** 2 + rng.normal(0, 0.002), 0.001, 0.9))
        clock += float(rng.exponential(2.0))
        made.append(_trial(number, parents, operator, size, error, epochs, clock, rng, stopped))
        if made[-1].state == "complete":
            skill[number] = (size, gap)
            score[number] = gap + 0.08 * size + 0.02 * ((number * 7919) % 13)
            if len(score) > 200:
                score = {n: score[n] for n in sorted(score, key=score.__getitem__)[:60]}
    return made


def _trial(
    number: int,
    parents: tuple[int, ...],
    operator: str,
    size: float,
    error: float,
    epochs: int,
    clock: float,
    rng: np.random.Generator,
    stopped: bool,
) -> Trial:
    parameters = int(10 ** (3 + 3 * size))
    latency = 0.0004 + 4.5e-3 * size**2 * float(rng.uniform(0.8, 1.2))
    genome = {
        "layers": [{"op": "conv", "filters": int(8 + 56 * size), "kernel": [3, 5]}] * 3,
        "lr": 0.01,
        "note": NASTY,
    }
    values = {Key("parameters"): Value(parameters)}
    energy = parameters * 9e-12
    values[Key("energy")] = Value(energy, origin="estimated", low=energy * 0.6, high=energy * 2.1)
    fate = rng.random()
    common = {
        "number": number,
        "genome": genome,
        "parents": parents,
        "operator": operator,
        "seed": number * 7,
    }
    if operator != "baseline" and fate < 0.06:
        cause = CAUSES[int(rng.integers(len(CAUSES)))]
        attempts = (Attempt(1, 4242, 1.5, cause),)
        return Trial(state="failed", failure=cause, attempts=attempts, told_at=clock, **common)
    if fate < 0.1:
        return Trial(state="rejected", values=values, told_at=clock, seconds={"preview": 0.01}, **common)
    ran = epochs
    state = "complete"
    halts: tuple[Halt, ...] = ()
    if stopped and operator != "baseline" and fate < 0.65:
        spread = 0.004 + 0.02 * error
        guess = {"error": Value(error + spread * float(rng.normal(0, 1.2)), spread, origin="forecast")}
        chance = f"{int(100 * rng.random() ** 3)} % chance to enter the front "
        chance += NASTY if number % 9 == 0 else f"(forecast {guess['error'].mean:.3f} ± {spread:.3f})"
        if fate < 0.25:
            halts = (Halt(max(1, epochs // 4), "stop", chance, guess),)
            state = "stopped"
        else:
            halts = (Halt(max(1, epochs // 10), "pause", chance, guess),)
            state = "paused" if fate < 0.5 else "complete"
        if fate > 0.6:  # paused twice before it was trained in full
            halts = (*halts, Halt(max(1, epochs // 2), "pause", chance, guess))
        if state != "complete":
            ran = halts[-1].epoch
            values |= {Key(name): value for name, value in guess.items()}
    if state == "complete":
        values[Key("error")] = Value(error)
        values[Key("error", repeat=1)] = Value(error + 0.002) if number % 50 == 1 else Value(error)
        values[Key("error", "test")] = Value(error * 1.06)
        values[Key("error", "test", repeat=1)] = Value(error * 1.1)
    values[Key("latency")] = Value(latency, latency * 0.06, 30)
    curve = tuple(
        Epoch(
            e,
            {
                "train_loss": 2.3 * math.exp(-e / 6) + error / 2,
                "validation_loss": 2.3 * math.exp(-e / 6) + error,
                "validation_error": error + 0.8 * math.exp(-e / 4) + 0.004 * math.sin(e + number),
                "train_error": error * 0.6 + 0.7 * math.exp(-e / 4),
            },
            0.2 + size,
        )
        for e in range(1, ran + 1)
    )
    lost = (Attempt(1, 77, 0.4, Failure("signal", "killed by signal 9")),) if number % 97 == 5 else ()
    return Trial(
        state=state,
        values=values,
        epochs=curve,
        seconds={"preview": 0.002, "train": (0.2 + size) * ran, "measure": 0.4, "engine": 0.01 * stopped},
        attempts=(*lost, Attempt(len(lost) + 1, 78, (0.2 + size) * ran)),
        confirmed=2 if state == "complete" else 0,
        halts=halts,
        told_at=clock,
        **common,
    )


def layers(size: int = 3) -> list[dict[str, object]]:
    """A small network with two skip connections, as `Problem.layers` gives it."""
    made: list[dict[str, object]] = []

    def add(op: str, shape: tuple[int, ...], inputs: list[int] | None = None, **args: object) -> int:
        row = {"op": op, "args": args, "inputs": inputs or [len(made) - 1], "shape": list(shape)}
        made.append({**row, "parameters": 9 * shape[0] if op == "conv" else 0, "macs": 1000})
        return len(made) - 1

    for block in range(size):
        shape = (16 * 2**block, 28 >> block, 28 >> block)
        first = add("conv", shape, filters=shape[0], kernel=[3, 3], stride=[1, 1], padding=[1, 1])
        add("batch_norm", shape)
        entry = add("relu", shape)
        add("conv", shape, filters=shape[0], kernel=[3, 5], stride=[1, 1], padding=[1, 2])
        add("batch_norm", shape)
        last = add("relu", shape)
        add("add", shape, [entry, last])
        if block == 1:
            add("concat", (shape[0] * 2, *shape[1:]), [first, len(made) - 1])
        add("max_pool", (shape[0], 14 >> block, 14 >> block), kernel=[2, 2], stride=[2, 2], padding=[0, 0])
    add("dropout", (64, 3, 3), rate=0.25)
    add("flatten", (576,))
    add("dense", (10,), units=10, bias=True)
    return made


def data(
    count: int, epochs: int = 20, seed: int = 0, stopped: bool = False, goals: tuple[Goal, ...] = GOALS
) -> ReportData:
    """A whole report's data about a made-up run."""
    made = trials(count, epochs, seed, stopped)
    return ReportData(
        title="Fashion-MNIST on a small board " + NASTY,
        goals=goals,
        trials=made,
        description={
            "kind": "supervised",
            "data": {"name": "fashion_mnist", "train": 10_000, "validation": 2_000, "input": [1, 28, 28]},
            "space": {"use": "Chain", "max_layers": 16},
            "note": NASTY,
        },
        layers={n: layers() for n in important(made, goals)},
        environment={"vilfredo": "0.1.0", "torch": "2.13.0", "machine": "2 cores, 8 GiB", "git": "abc1234"},
        spec='[problem]\nuse = "supervised"\ndata = "fashion_mnist"\n',
        commands=["vilfredo search board.toml --budget 5min --seed 7"],
        seed=7,
        finished="2026-01-31T12:00:00",
        status="finished",
        epochs=epochs,
    )
