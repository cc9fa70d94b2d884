"""The contracts, on one page. A plugin receives data, never the object that hosts it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vilfredo.codes import Codes
from vilfredo.goal import Goal
from vilfredo.trial import JSON, Artifact, Attempt, Epoch, Failure, Genome, Key, Split, State, Trial, Value

Model: TypeAlias = Any  # what `train` returns and `measure` takes; a torch.nn.Module for trained networks
Rng: TypeAlias = np.random.Generator
Weights: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked for; logged before it runs."""

    genome: Genome
    parents: tuple[int, ...] = ()  # trials; their artifacts reach `train`
    operator: str = ""  # lineage: what made it
    trial: int | None = None  # continue or re-measure this one
    fidelity: int | None = None  # train up to this epoch; None: in full
    goals: frozenset[str] | None = None  # measure only these; None: all
    noise: int = 0  # common random numbers: the same perturbations for all that share it
    split: Split = "validation"
    repeat: int = 0  # which training seed: 0 in the search, 1, 2, … when the front is confirmed
    generation: int | None = None  # synchronous optimizers: stoppers see earlier generations only


class Impossible(ValueError):
    """A genome that decodes to nothing that can be trained. The message says why, in one sentence."""


class Space(Protocol):
    """Genomes: how they are drawn, changed and compared. Nothing here may keep state."""

    def sample(self, rng: Rng) -> Genome: ...
    def mutate(self, genome: Genome, rng: Rng) -> Genome: ...
    def cross(self, first: Genome, second: Genome, rng: Rng) -> tuple[Genome, Genome]: ...
    def encode(self, genome: Genome) -> NDArray[np.float64]: ...  # fixed length, in [0, 1], for surrogates
    def canonical(self, genome: Genome) -> str: ...  # equal for genomes that mean the same
    def check(self, genome: Genome) -> None: ...  # raises Impossible if it is not of this space


@runtime_checkable
class Foreseeing(Protocol):
    """What a space may do beside: say what is known of a genome before it is evaluated, by goal."""

    def foresee(self, genome: Genome) -> Mapping[str, float]: ...


class Problem(Protocol):
    """What is searched: a space, goals, and how a candidate is trained and measured."""

    @property
    def space(self) -> Space: ...
    @property
    def goals(self) -> Sequence[Goal]: ...
    @property
    def epochs(self) -> int: ...  # of full training; 0 where nothing is trained
    @property
    def quiet(self) -> frozenset[str]: ...  # goals measured while no other candidate of the run computes
    def describe(self) -> Mapping[str, JSON]: ...  # for the report: data, space, settings
    def layers(self, genome: Genome) -> Sequence[Mapping[str, JSON]]: ...  # for the drawing; [] if none
    def preview(self, work: Work) -> Mapping[str, Value]: ...  # needs no training; raises Impossible
    def train(
        self, work: Work, seed: int, resume: Weights | None, parents: Mapping[int, Weights]
    ) -> Generator[Snapshot, None, Model]: ...
    def measure(self, work: Work, model: Model, seed: int) -> Mapping[str, Value]: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `train` yields after each epoch: the metrics, and how to get a checkpoint if one is wanted.

    `checkpoint()` returns arrays from which `train(..., resume=...)` goes on exactly as if it had not
    stopped; resumed at or beyond the epoch that is asked for, `train` yields nothing and returns the
    model. Called after the last epoch it may leave out what only training needs. `seconds` is set
    by `evaluation`, which holds the clock. `notes` say what went wrong without harm, for the run's log.
    """

    index: int  # from 1
    metrics: Mapping[str, float]
    checkpoint: Callable[[], Weights] | None = None
    notes: tuple[str, ...] = ()


class Optimizer(Protocol):
    """Its state is a fold of `tell` over the log; `ask` changes nothing.

    A work of the operator "renew" asks for a known trial (`Work.trial`) to be measured anew, with another
    noise; it is no new candidate. `pending` are the works of new candidates and of renewals that run.
    """

    def ask(self, count: int, rng: Rng, pending: Sequence[Work] = ()) -> list[Work]: ...
    def tell(self, trial: Trial) -> None: ...  # a trial told again replaces what was known of its number


@runtime_checkable
class Breeder(Protocol):
    """What an optimizer may do beside: say who may become a parent, whose artifact must stay."""

    def breeders(self) -> Collection[int]: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a stopper says after an epoch, with what it forecasts for the full training.

    A reason to go on is a remark for the user, such as that there is no metric to go by; it is kept once.
    After the last epoch `spared` names goals that need not be measured, since their forecasts will do: they
    are the candidate's values until it is confirmed.
    """

    action: Literal["go", "pause", "stop"] = "go"
    forecast: Mapping[str, Value] = field(default_factory=dict)  # by goal, origin "forecast"
    reason: str = ""
    spared: frozenset[str] = frozenset()


GO = Verdict()


class Stopper(Protocol):
    """The early-termination engine; built with the goals, it is asked after every epoch."""

    def __call__(self, trial: Trial, peers: Sequence[Trial], epochs: int) -> Verdict: ...
    def revive(self, trials: Sequence[Trial]) -> Sequence[int]: ...  # paused ones that deserve to go on


@runtime_checkable
class Reviser(Protocol):
    """What a stopper may do beside: forecast anew for the halted, now that others have finished."""

    def revise(
        self, trials: Sequence[Trial]
    ) -> Mapping[int, Mapping[str, Value]]: ...  # number -> goal -> value


@dataclass(frozen=True, slots=True)
class Task:
    """A work on its way to a worker: everything that `evaluation.evaluate` needs, all of it plain data."""

    ticket: int  # unique within a run: the work's number in the log
    work: Work
    seed: int
    attempt: int = 1
    folder: str = ""  # where artifacts of this trial go; "": keep none
    resume: Artifact | None = None
    parents: Mapping[int, Artifact] = field(default_factory=dict)
    judged: bool = False  # a stopper waits: every epoch asks for a verdict
    checkpoint_seconds: float = 30.0  # write a checkpoint when this much training would be lost


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation came to. `values` are complete with their keys."""

    state: State
    epochs: tuple[Epoch, ...] = ()
    values: Mapping[Key, Value] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    artifact: Artifact | None = None
    notes: tuple[str, ...] = ()  # what went wrong without harm to the values: a full disk, a damaged artifact


@dataclass(frozen=True, slots=True)
class Started:
    ticket: int
    worker: int  # process id


@dataclass(frozen=True, slots=True)
class Progress:
    """One epoch is over. If its task is judged, the worker waits for `Executor.reply`."""

    ticket: int
    epoch: Epoch
    earlier: tuple[Epoch, ...] = ()  # of an earlier attempt, read from the checkpoint it resumed from
    values: Mapping[Key, Value] = field(default_factory=dict)  # those of the preview


@dataclass(frozen=True, slots=True)
class Finished:
    """The work is done, well or badly; `attempt.failure` repeats the outcome's."""

    ticket: int
    outcome: Outcome
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Died:
    """The worker was lost or had to be killed; the work may be submitted again."""

    ticket: int
    failure: Failure
    attempt: Attempt


Event: TypeAlias = Started | Progress | Finished | Died


@runtime_checkable
class BatchProblem(Protocol):
    """What a problem may do beside: simulated candidates, many in one compiled call, in the order given."""

    def evaluate_many(
        self, works: Sequence[Work], seeds: Sequence[int]
    ) -> Sequence[Mapping[str, Value] | Failure]: ...


Site = Literal[
    "weights", "biases", "activations", "accumulators", "inputs", "thresholds", "delays", "neurons"
]
"""What a fault acts on: of any network its weights; of a network that multiplies and accumulates also its
`biases`, what its layers store (`activations`), what they sum up (`accumulators`) and what it is given
(`inputs`); of a spiking one `thresholds` and `delays`. `neurons` is an array of ones, where 0 comes to mean
dead."""


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Where a fault acts and how: flat positions (n,) int64, each once and ascending, and what the fault
    needs to know there (n,), such as a mask of bits or a normal number."""

    index: NDArray[np.int64]
    detail: NDArray[Any]


class Fault(Protocol):
    """A defect or variation. Pure: values in, faulty ones out, of the same shape; strength 0 is the identity.

    `faults(values, codes, rng)` is `draw`, then `apply` at what was drawn. They neither round nor saturate:
    whoever calls them knows what the hardware holds. Each single fault is made again from its position and
    its detail; `details` gives those of single faults at bits that somebody else has drawn among `places`,
    the numbers of the bits at which a single fault can be: (-1,) where it is not of a bit (`bitwise` false).
    A single fault takes `extent(shape)` adjacent flat positions, from a multiple of that: 1, but for dead
    channels. `transient` ones are drawn anew for each inference.
    """

    @property
    def site(self) -> Site: ...
    @property
    def transient(self) -> bool: ...
    @property
    def bitwise(self) -> bool: ...
    def __call__(self, values: NDArray[np.float64], codes: Codes, rng: Rng) -> NDArray[np.float64]: ...
    def draw(self, shape: tuple[int, ...], codes: Codes, rng: Rng) -> Hits: ...
    def places(self, codes: Codes) -> tuple[int, ...]: ...
    def extent(self, shape: tuple[int, ...]) -> int: ...
    def details(self, bits: NDArray[np.int64], codes: Codes, rng: Rng) -> NDArray[Any]: ...
    def apply(
        self, values: NDArray[np.float64], codes: Codes, detail: NDArray[Any]
    ) -> NDArray[np.float64]: ...


class Executor(Protocol):
    """Where evaluations run. One coordinator uses it, from one thread."""

    @property
    def slots(self) -> int: ...  # how many tasks compute at once
    def submit(self, task: Task) -> None: ...
    def events(self, timeout: float) -> list[Event]: ...  # waits until there is one, or `timeout` seconds
    def reply(self, ticket: int, verdict: Verdict) -> None: ...
    def stop(self, ticket: int) -> None: ...  # within a second; no further event of it comes
    def close(self) -> None: ...


class Store(Protocol):
    """Append-only log of one run. What `append_*` has returned from survives a kill of the process."""

    def append_work(self, ticket: int, number: int, work: Work) -> None: ...
    def append_trial(self, ticket: int, trial: Trial) -> None: ...  # again: replaces what was known of it
    def append_event(self, kind: str, data: Mapping[str, JSON]) -> None: ...
    def events(self, kind: str) -> Sequence[tuple[float, str, Mapping[str, JSON]]]: ...  # (time, kind, data)
    def works(self) -> list[tuple[int, int, Work]]: ...  # (ticket, trial number, work), as logged
    def told(self) -> list[tuple[int, Trial]]: ...  # (ticket, trial), in the order of append_trial
    def artifacts(self) -> str: ...  # the folder where this run's artifacts go
    def trim(self, limit: int, keep: Collection[int]) -> int: ...  # artifacts of others, to `limit` bytes
