"""The loop: ask, evaluate, store, tell, yield.

A search is a fold over its log. Whatever happened before, the log says which works were asked for and
which trials were told; replaying it rebuilds the optimizer, and works that were asked for but never
told are run (or go on from their checkpoints) first. So resuming and starting are the same thing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from threadpoolctl import ThreadpoolController

from vilfredo import artifacts, pareto
from vilfredo.budget import Budget
from vilfredo.goal import Goal
from vilfredo.protocols import (
    GO,
    BatchProblem,
    Breeder,
    Died,
    Event,
    Executor,
    Finished,
    Optimizer,
    Outcome,
    Problem,
    Progress,
    Reviser,
    Started,
    Stopper,
    Store,
    Task,
    Verdict,
    Work,
)
from vilfredo.seeds import derive, generator
from vilfredo.trial import Attempt, Epoch, Failure, Halt, Key, Trial, Value

REJECTIONS_IN_A_ROW = 1_000  # after so many candidates beyond a limit, the limits are at fault
REVISED = 1.25  # times as many finished networks: then halted ones are forecast anew
QUICK = 0.1  # seconds; below this mean evaluation time one more task per slot waits at the workers
GRACE = 0.1  # of a time budget: how much longer the candidates in training may take to finish


class SearchError(ValueError):
    """The search cannot go on; one sentence that says why and what to do."""


@dataclass(slots=True)
class Running:
    """A work that has been handed to the executor: what a live view may want to know of it."""

    ticket: int
    number: int
    work: Work
    attempt: int = 1
    worker: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    engine: float = 0.0  # seconds that the stopper took for it
    halt: Halt | None = None  # the stopper's last word, if it was against it


class Search:
    """One search, iterated over: every trial is yielded as it is told (again, when it is confirmed).

    `budget` bounds new candidates; `confirm` is the number of training seeds with which each member of
    the final front is measured on the test set (0: not at all); `initial` works run first; a work whose
    worker is killed from outside is tried again up to `retries` times; `quota` bounds the bytes of
    artifacts; a checkpoint is written when more than `checkpoint_seconds` of training would be lost.
    Leaving the loop closes the executor.
    """

    def __init__(
        self,
        problem: Problem,
        optimizer: Optimizer,
        executor: Executor,
        store: Store,
        *,
        budget: Budget,
        seed: int = 0,
        stopper: Stopper | None = None,
        confirm: int = 1,
        initial: Sequence[Work] = (),
        retries: int = 2,
        quota: int | None = None,
        checkpoint_seconds: float = 30.0,
    ) -> None:
        self.problem = problem
        self.optimizer = optimizer
        self.executor = executor
        self.store = store
        self.budget = budget
        self.seed = seed
        self.stopper = stopper
        self.confirm = confirm
        self.initial = list(initial)
        self.retries = retries
        self.quota = quota
        self.checkpoint_seconds = checkpoint_seconds
        self.goals: Sequence[Goal] = problem.goals

        # An optimizer's matrices are small, and the cores belong to the workers: BLAS threads that wait for
        # one another there would cost ten times what they compute.
        self._blas = ThreadpoolController()
        self._batched = isinstance(problem, BatchProblem)
        self.trials: dict[int, Trial] = {}
        self.running: dict[int, Running] = {}
        self.phase: str = "search"
        self._stopping = False
        self._exhausted = False
        self._open: list[tuple[int, int, Work]] = []  # logged, but not told: run these first
        self._tried: dict[
            tuple[int, int, str], bool
        ] = {}  # (trial, repeat, split) of a confirmation: went well
        self._round: list[int] = []  # the trials that are being confirmed together
        self._revival: list[int] = []  # those that a synchronous search revives together
        self._beside: frozenset[int] = frozenset()  # all who were revived together with them
        self._generation: int | None = None  # the latest that was asked for
        self._notes: set[str] | None = None  # what stoppers have remarked
        self._complete: set[int] = set()
        self._tickets: dict[int, int] = {}  # of each trial, with which it was told last
        self._revised = 0  # how many were complete when halted ones were last forecast anew
        self._engine = 0.0  # seconds that the stopper took for nobody in particular
        self._next_ticket = 0
        self._next_number = 0
        self._counted = 0  # new candidates, told or running, that the budget counts
        self._rejections = 0
        self._look = 20  # at how many trials artifacts are trimmed next
        self._seconds = [0.0, 0]  # of evaluations, and how many: decides on prefetching
        self._base = 0.0
        self._started = time.monotonic()
        self._replay()

    # -- what a live view reads -------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Wall seconds of this run over all its sessions."""
        return self._base + time.monotonic() - self._started

    @property
    def counted(self) -> int:
        """New candidates that the budget counts and that have been told."""
        return self._counted - sum(r.work.trial is None for r in self.running.values())

    def stop(self) -> None:
        """End the iteration soon; what runs now is stopped and goes on when the search is resumed."""
        self._stopping = True

    # -- the loop ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Trial]:
        self._started = time.monotonic()
        try:
            while not self._asked_to_stop():
                self._fill()
                if not self.running:
                    if self.phase == "search":
                        self._revise_at_the_end()
                        self.phase = "confirm"
                        continue
                    break
                if self._overtime():
                    self._give_up_running()
                    continue
                for event in self.executor.events(timeout=0.2):
                    trial = self._on(event)
                    if trial is not None:
                        yield trial
                    if self._asked_to_stop():
                        break
        finally:
            self._base = self.elapsed
            self._started = time.monotonic()
            self.executor.close()
        self.phase = "stopped" if self._stopping else "finished"

    def _asked_to_stop(self) -> bool:
        return self._stopping

    def _give_up_running(self) -> None:
        """Time is over: what still trains is stopped, and goes on from its checkpoint if resumed."""
        for ticket, running in list(self.running.items()):
            self.executor.stop(ticket)
            self._counted -= running.work.trial is None
            del self.running[ticket]

    def _fill(self) -> None:
        """Hand works to the executor until it has enough."""
        while len(self.running) < self.executor.slots + self._ahead():
            found = self._next()
            if found is None:
                return
            ticket, number, work = found
            self.running[ticket] = Running(ticket, number, work)
            self.executor.submit(self._task(self.running[ticket]))

    def _ahead(self) -> int:
        """How many works may wait at the workers: none, but for evaluations so short that fetching the
        next one would cost a good part of them. With one slot nothing is fetched ahead, so that a
        search in one process is reproducible."""
        if self._batched:  # computed together: nobody waits for the next one
            return 0
        total, count = self._seconds
        return self.executor.slots if self.executor.slots > 1 and count > 4 and total / count < QUICK else 0

    def _next(self) -> tuple[int, int, Work] | None:
        if self._open:
            return self._open.pop(0)
        if self.phase == "search":
            return self._next_of_search()
        if self.phase == "confirm" and self.confirm > 0:
            return self._next_of_confirm()
        return None

    def _next_of_search(self) -> tuple[int, int, Work] | None:
        """The next candidate, or a paused one that the stopper revives.

        Where candidates come in generations, the stopper is asked between two of them, when all of the
        last one is told; whom it revives is logged and trained before the next generation is asked for. So
        it depends neither on who is quicker nor on where a search was cut. Elsewhere it is asked whenever
        there is room.
        """
        if self._revival and not self._late():
            return self._revive(self._revival.pop(0))
        synchronous = self._generation is not None
        if synchronous and any(r.work.operator == "revive" for r in self.running.values()):
            return None
        if self.stopper is not None and not synchronous and not self._late():
            revived = self._revivable(self.stopper)
            if revived:
                return self._revive(revived[0])
            if len(self._complete) >= REVISED * self._revised + 1:
                self._revise()
        work = None if self._spent() else self._asked()
        next_generation = work is None or (work.generation or 0) > (self._generation or 0)
        if (
            self.stopper is not None
            and synchronous
            and next_generation
            and not self.running
            and not self._late()
        ):
            self._revival = self._revivable(self.stopper)
            if self._revival:
                self._beside = frozenset(self._revival)
                self.store.append_event("revival", {"members": self._revival, "ticket": self._next_ticket})
                return self._revive(self._revival.pop(0))
            if work is not None and self._revise():
                work = self._asked()
        if work is None:
            return None
        if work.generation is not None:
            self._generation = work.generation
        if work.trial is not None:  # one that is known is to be measured again: no new candidate
            return self._log(work.trial, work)
        self._counted += 1
        return self._log(self._next_number, work)

    def _asked(self) -> Work | None:
        """The work of the next number; None where the optimizer waits, or has nothing more to ask for."""
        number = self._next_number
        if number < len(self.initial):
            return self.initial[number]
        pending = [
            r.work for r in self.running.values() if r.work.trial is None or r.work.operator == "renew"
        ]
        with self._blas.limit(limits=1, user_api="blas"):
            asked = self.optimizer.ask(1, generator(self.seed, "ask", number), pending)
        if not asked:
            self._exhausted = not pending and not self.running
            return None
        return asked[0]

    def _revivable(self, stopper: Stopper) -> list[int]:
        """The paused trials that the stopper wants to go on, those it wants most first."""
        began = time.perf_counter()
        wanted = stopper.revive(list(self.trials.values()))
        self._engine += time.perf_counter() - began
        busy = {r.number for r in self.running.values()}
        return [
            number
            for number in dict.fromkeys(wanted)
            if number not in busy and number in self.trials and self.trials[number].state == "paused"
        ]

    def _revise(self) -> bool:
        """Tell halted trials again with new forecasts, if the stopper has any; whether it had."""
        stopper: object = self.stopper
        if not isinstance(stopper, Reviser):
            return False
        began = time.perf_counter()
        revised = stopper.revise(list(self.trials.values()))
        self._engine += time.perf_counter() - began
        self._revised = len(self._complete)
        told = False
        busy = {r.number for r in self.running.values()}
        for number, forecast in revised.items():
            trial = self.trials[number]
            if number in busy or trial.state not in ("paused", "stopped"):
                continue
            new = {
                Key(name): replace(value, origin="forecast")
                for name, value in forecast.items()
                if value.is_finite() and _moved(trial.values.get(Key(name)), value)
            }
            if new:
                told = True
                trial = trial.with_values(new)
                self.store.append_trial(self._tickets[number], trial)
                self._know(Work(trial.genome), number, trial)
        return told

    def _revise_at_the_end(self) -> None:
        """Once for a search: a resumed confirmation goes by the forecasts with which it began."""
        stopper: object = self.stopper
        if isinstance(stopper, Reviser):
            ended = [data["candidates"] for _, _, data in self.store.events("revised")]
            if self._next_number not in ended:
                self._revise()
                self.store.append_event("revised", {"candidates": self._next_number})

    def _revive(self, number: int) -> tuple[int, int, Work]:
        trial = self.trials[number]
        work = Work(trial.genome, trial.parents, "revive", number, generation=self._generation)
        return self._log(number, work)

    def _next_of_confirm(self) -> tuple[int, int, Work] | None:
        """The front is confirmed in rounds, until all of it is: what confirmation makes worse may let
        others in. Who is in a round is decided when nothing runs, and logged; so it depends neither on
        who is quicker nor on where a search was cut."""
        while True:
            for number in self._round:
                work = self._confirmation(self.trials[number])
                if work is not None:
                    return self._log(number, work)
            if self.running:
                return None
            members = pareto.front(self.trials.values(), self.goals)
            # The user's present network is confirmed too: it is what the front is compared with.
            members += [t for t in self.trials.values() if t.operator == "baseline" and t not in members]
            members = [t for t in members if t.state in pareto.ALIVE]
            self._round = [t.number for t in members if self._confirmation(t) is not None]
            if not self._round:
                return None
            self.store.append_event("round", {"members": self._round})

    def _confirmation(self, trial: Trial) -> Work | None:
        """What is next to be done for the confirmation of this trial and does not run yet, if anything."""
        number = trial.number
        busy = {r.work.repeat for r in self.running.values() if r.number == number}
        if trial.state in ("stopped", "paused"):
            work = Work(trial.genome, trial.parents, "confirm", number, generation=trial.generation)
            return None if 0 in busy else work
        guessed = _guessed(trial)
        if guessed and (number, 0, "validation") not in self._tried:
            work = Work(trial.genome, trial.parents, "confirm", number, goals=guessed)
            return None if 0 in busy else work
        for repeat in range(self.confirm):
            if repeat in busy:
                continue
            work = Work(trial.genome, trial.parents, "confirm", number, repeat=repeat)
            trained = True if repeat == 0 else self._tried.get((number, repeat, "validation"))
            if trained is None:
                return work
            if trained and (number, repeat, "test") not in self._tried:
                return replace(work, split="test", goals=self._split_goals())
        return None

    def _split_goals(self) -> frozenset[str]:
        """The goals that may differ between validation and test set."""
        return frozenset(g.name for g in self.goals if g.stage == "measure") - self.problem.quiet

    def _log(self, number: int, work: Work) -> tuple[int, int, Work]:
        ticket = self._next_ticket
        self._next_ticket += 1
        self._next_number = max(self._next_number, number + 1)
        self.store.append_work(ticket, number, work)
        return ticket, number, work

    def _task(self, running: Running) -> Task:
        number, work = running.number, running.work
        folder = f"{self.store.artifacts()}/{number}"
        parents = {p: self.trials[p].artifact for p in work.parents if p in self.trials}
        return Task(
            ticket=running.ticket,
            work=work,
            seed=derive(self.seed, "trial", number, work.repeat),
            attempt=running.attempt,
            folder=folder,
            resume=artifacts.find(folder, work.repeat),
            parents={p: a for p, a in parents.items() if a is not None},
            judged=self.stopper is not None and work.repeat == 0 and work.operator != "confirm",
            checkpoint_seconds=self.checkpoint_seconds,
        )

    # -- what comes back --------------------------------------------------------------------------

    def _on(self, event: Event) -> Trial | None:
        running = self.running.get(event.ticket)
        if running is None:  # of a work that was stopped in the meantime
            return None
        match event:
            case Started(worker=worker):
                running.worker = worker
            case Progress():
                self._judge(running, event)
            case Finished(outcome=outcome, attempt=attempt):
                running.attempts.append(attempt)
                self._seconds[0] += attempt.seconds
                self._seconds[1] += 1
                return self._finish(running, outcome)
            case Died(failure=failure, attempt=attempt):
                running.attempts.append(attempt)
                self.store.append_event(
                    "died", {"trial": running.number, "kind": failure.kind, "message": failure.message}
                )
                if failure.kind == "signal" and running.attempt <= self.retries:
                    running.attempt += 1
                    running.epochs.clear()
                    self.executor.submit(self._task(running))
                else:
                    return self._finish(running, Outcome("failed", tuple(running.epochs), failure=failure))
        return None

    def _judge(self, running: Running, event: Progress) -> None:
        if event.earlier and not running.epochs:
            running.epochs.extend(event.earlier)
        running.epochs.append(event.epoch)
        if self.stopper is None or running.work.repeat > 0 or running.work.operator == "confirm":
            return
        began = time.perf_counter()
        verdict = self._verdict(running, event, self.stopper)
        running.engine += time.perf_counter() - began
        if verdict.action == "go":
            if verdict.reason:
                self._note(running.number, verdict.reason)
            spared = {name: verdict.forecast[name] for name in sorted(verdict.spared & set(verdict.forecast))}
            if spared:
                values = {name: [v.mean, v.sd] for name, v in spared.items()}
                self.store.append_event("spared", {"trial": running.number, "forecast": values})
        else:
            known = {name: value for name, value in verdict.forecast.items() if value.is_finite()}
            running.halt = Halt(event.epoch.index, verdict.action, verdict.reason, known)
            forecast = {name: [v.mean, v.sd] for name, v in known.items()}
            self.store.append_event(
                "verdict",
                {
                    "trial": running.number,
                    "epoch": event.epoch.index,
                    "action": verdict.action,
                    "reason": verdict.reason,
                    "forecast": forecast,
                },
            )
        self.executor.reply(running.ticket, verdict)

    def _note(self, number: int, text: str) -> None:
        """A remark of the stopper that is no verdict; each text once."""
        if self._notes is None:
            self._notes = {str(data["note"]) for _, _, data in self.store.events("note")}
        if text not in self._notes:
            self._notes.add(text)
            self.store.append_event("note", {"trial": number, "note": text})

    def _verdict(self, running: Running, event: Progress, stopper: Stopper) -> Verdict:
        """Synchronous optimizers number generations: there a stopper sees finished generations only, so
        that its verdicts do not depend on who happens to be quicker. A revived trial sees what the stopper
        saw when it revived it: the generation before it, too, but not those revived beside it."""
        work = running.work
        if work.fidelity is not None and event.epoch.index >= work.fidelity:
            return GO
        halts = self.trials[running.number].halts if running.number in self.trials else ()
        if halts and event.epoch.index <= halts[-1].epoch:
            return GO  # revived without a checkpoint: it has to come further than last time
        latest = work.generation
        if latest is not None and work.operator != "revive":
            latest -= 1
        beside = self._beside if latest is not None and work.operator == "revive" else ()
        peers = [
            t
            for t in self.trials.values()
            if t.number != running.number
            and t.number not in beside
            and (latest is None or (t.generation is not None and t.generation <= latest))
        ]
        trial = Trial(
            running.number,
            work.genome,
            "paused",
            work.parents,
            work.operator,
            generation=work.generation,
            epochs=tuple(running.epochs),
            values=event.values,
            halts=halts,
        )
        return stopper(trial, peers, self.problem.epochs)

    def _finish(self, running: Running, outcome: Outcome) -> Trial:
        trial = self._merge(running, outcome)
        for note in outcome.notes:
            self.store.append_event("note", {"trial": running.number, "note": note})
        self.store.append_trial(running.ticket, trial)
        del self.running[running.ticket]
        self._tickets[running.number] = running.ticket
        self._know(running.work, running.number, trial)
        if running.work.trial is None and trial.state == "rejected":
            self._counted -= 1
            self._rejections += 1
            if self._rejections >= REJECTIONS_IN_A_ROW:
                limits = ", ".join(
                    g.name
                    for g in self.goals
                    if g.stage == "preview" and (g.max is not None or g.min is not None)
                )
                raise SearchError(
                    f"{REJECTIONS_IN_A_ROW:,} candidates in a row were beyond the limits on {limits}; "
                    "loosen the limits or narrow the space"
                )
        else:
            self._rejections = 0
        if self._time_to_look():
            self._trim()
        return trial

    def _merge(self, running: Running, outcome: Outcome) -> Trial:
        work, number = running.work, running.number
        seconds = dict(outcome.seconds)
        if running.engine + self._engine > 0:
            seconds["engine"] = seconds.get("engine", 0.0) + running.engine + self._engine
            self._engine = 0.0
        halts = (running.halt,) if running.halt and outcome.state in ("stopped", "paused") else ()
        if work.trial is None:
            return Trial(
                number=number,
                genome=work.genome,
                state=outcome.state,
                parents=work.parents,
                operator=work.operator,
                seed=derive(self.seed, "trial", number, work.repeat),
                generation=work.generation,
                epochs=outcome.epochs,
                values=outcome.values,
                seconds=seconds,
                attempts=tuple(running.attempts),
                failure=outcome.failure,
                artifact=outcome.artifact,
                told_at=round(self.elapsed, 3),
                halts=halts,
            )
        known = self.trials[number]
        spent = {**known.seconds}
        confirming = work.operator == "confirm" and known.state == "complete"
        for stage, value in seconds.items():
            name = "confirm" if confirming and stage != "engine" else stage
            spent[name] = spent.get(name, 0.0) + value
        merged = replace(known, seconds=spent, attempts=known.attempts + tuple(running.attempts))
        if outcome.state == "failed":
            # What was known stays known: a confirmation that fails takes nothing away but trust.
            return (
                merged
                if known.state == "complete"
                else replace(merged, state="failed", failure=outcome.failure)
            )
        merged = merged.with_values(outcome.values)
        if confirming:
            tested = {k.repeat for k in merged.values if k.split == "test"}
            return replace(merged, confirmed=len(tested))
        return replace(
            merged,
            state=outcome.state,
            epochs=outcome.epochs,
            artifact=outcome.artifact,
            halts=known.halts + halts,
        )

    def _know(self, work: Work, number: int, trial: Trial) -> None:
        """Fold one told trial into what the search knows, now or when it is replayed."""
        if work.operator == "confirm" and (work.repeat > 0 or work.split == "test" or work.goals is not None):
            measured = any(k.repeat == work.repeat and k.split == work.split for k in trial.values)
            self._tried[number, work.repeat, work.split] = measured
        self.trials[number] = trial
        if trial.state == "complete":
            self._complete.add(number)
        self.optimizer.tell(trial)

    def _replay(self) -> None:
        works = self.store.works()
        by_ticket: Mapping[int, tuple[int, Work]] = {ticket: (number, work) for ticket, number, work in works}
        done: set[int] = set()
        looked_at = 0
        for ticket, trial in self.store.told():
            number, work = by_ticket[ticket]
            done.add(ticket)
            self._tickets[number] = ticket
            self._know(work, number, trial)
            if self._time_to_look():
                looked_at = len(self.trials)
            self._base = max(self._base, trial.told_at)
        self._open = [row for row in works if row[0] not in done]
        if looked_at and all(data["trials"] != looked_at for _, _, data in self.store.events("looked")):
            self._trim()
        rounds = self.store.events("round")
        self._round = list(rounds[-1][2]["members"]) if rounds else []
        revivals = self.store.events("revival")
        if revivals:
            begun = {number for ticket, number, _ in works if ticket >= revivals[-1][2]["ticket"]}
            self._beside = frozenset(revivals[-1][2]["members"])
            self._revival = [number for number in revivals[-1][2]["members"] if number not in begun]
        generations = [work.generation for _, _, work in works if work.generation is not None]
        self._generation = max(generations, default=None)
        self._next_ticket = 1 + max((t for t, _, _ in works), default=-1)
        self._next_number = 1 + max((n for _, n, _ in works), default=-1)
        new = [(ticket, number) for ticket, number, work in works if work.trial is None]
        self._counted = sum(
            1 for ticket, number in new if ticket not in done or self.trials[number].state != "rejected"
        )

    # -- bounds -----------------------------------------------------------------------------------

    def _spent(self) -> bool:
        trials, seconds = self.budget.trials, self.budget.seconds
        return (
            self._exhausted
            or (trials is not None and self._counted >= trials)
            or (seconds is not None and self.elapsed >= seconds)
        )

    def _late(self) -> bool:
        return self.budget.seconds is not None and self.elapsed >= self.budget.seconds

    def _overtime(self) -> bool:
        seconds = self.budget.seconds
        return self.phase == "search" and seconds is not None and self.elapsed > seconds * (1 + GRACE)

    def _time_to_look(self) -> bool:
        """Whether artifacts are to be trimmed now, after a trial was told: seldom where they are many."""
        if len(self.trials) < self._look:
            return False
        self._look = len(self.trials) + max(20, len(self.trials) // 10)
        return True

    def _trim(self) -> None:
        """Remove artifacts beyond the quota, but not of the front, of what runs, and of whom later works may
        need: those who may become parents, and the parents of what is to be confirmed or revived.

        When that happens, and which files go, follows from the log (but for checkpoints of what runs beside);
        that it has happened is logged, so that a resumed search does it neither twice nor not at all.
        """
        if self.quota is None:
            return
        front = pareto.front(self.trials.values(), self.goals)
        keep = {t.number for t in front} | {r.number for r in self.running.values()}
        if getattr(self.problem, "inherits", False):
            waiting = [t for t in self.trials.values() if t.state == "paused"]
            keep.update(number for t in (*front, *waiting) for number in t.parents)
            if isinstance(self.optimizer, Breeder):
                keep.update(self.optimizer.breeders())
        self.store.trim(self.quota, keep)
        self.store.append_event("looked", {"trials": len(self.trials)})


def _guessed(trial: Trial) -> frozenset[str]:
    """The goals of which a network that was trained in full has a forecast only."""
    return frozenset(
        key.goal
        for key, value in trial.values.items()
        if value.origin == "forecast" and key.split == "validation" and key.fidelity is None
    )


def _moved(known: Value | None, new: Value) -> bool:
    """Whether a forecast says something new: by a tenth of its sd."""
    if known is None or known.origin != "forecast":
        return known is None
    return abs(new.mean - known.mean) + abs(new.sd - known.sd) > 0.1 * new.sd


def failures(trials: Collection[Trial]) -> dict[str, list[tuple[int, Failure]]]:
    """The failed trials by the kind of their failure: kind -> [(trial number, failure), …]."""
    found: dict[str, list[tuple[int, Failure]]] = {}
    for trial in trials:
        if trial.failure is not None:
            found.setdefault(trial.failure.kind, []).append((trial.number, trial.failure))
    return found
