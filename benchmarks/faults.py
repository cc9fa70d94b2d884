"""How fast faults are injected: the engine beside PyTorchFI, on the same network, faults and arithmetic.

The network: 16, 16 filters of 3 × 3, pooled 2 × 2, 32, 32 filters, pooled, dense layers of 80, 64 and 10:
147,722 parameters, three epochs on 12,000 images of Fashion-MNIST, whole numbers of 8 bits with
power-of-two scales. 256 test images, all in one batch. Everything runs in one thread; time is the processor
time of the process, so that what else the machine does weighs less; `cpu_share` is its part of the time on
the wall. `vnni` is 1 where the processor multiplies bytes four at a time, which the engine uses.

**PyTorchFI** 0.6.0 has a copy of the network made for each fault, as its documentation says, and runs it on
the images without gradients. It works on `nn.simulation`, which computes the same whole numbers in ordinary
layers in float32.

* `conv`: one flipped bit of one weight, uniform over all bits of all convolution weights; `all`: over all
  weights.
* `neuron`: one flipped bit of one accumulator in each of the 256 images, a neuron of any layer; PyTorchFI's
  batched mode, 256 faults in one run. Bits 0 to 22, which float32 holds exactly.

What a fault costs the engine depends on the fault: few are a hundred times as dear as most. What it costs
PyTorchFI does not: `ms.conv.pytorchfi.q05` to `.q95` are quantiles over single faults. So the engine's time
is that of as many faults as a campaign has (`--campaign`, drawn anew each round), in calls of as many as
`campaign.run` makes, and PyTorchFI's that of a random part of the same faults (`--faults`). `speedup_*` is
the ratio of the times per fault, the median of rounds. `speedup_small_*`: the engine's time is that of the
part alone, in one call, so both have exactly the same faults. Before the first round all have run once. The
outputs of the part are compared bit for bit (`identical`, `identical_faults`).

`speedup_plain_*`: beside a loop that copies nothing: the weight is changed in place, the network run, the
weight put back. It shows what the engine itself gives. `ber_*`: all weights with a bit error rate. `float32`:
flipped bits of the mantissas and signs of a float32 network's convolution weights.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import report
from vilfredo.campaign import bytewise
from vilfredo.campaign.engine import Engine
from vilfredo.campaign.hits import faulty
from vilfredo.campaign.injection import Hit, Injection
from vilfredo.campaign.run import Campaign
from vilfredo.data import fashion_mnist
from vilfredo.faults.bit_flip import BitFlip
from vilfredo.nn.deployed import Deployed, Step
from vilfredo.nn.floating import floating
from vilfredo.nn.quantize import Scheme, quantize
from vilfredo.nn.simulation import simulation

IMAGES = 256
WEIGHT = BitFlip(site="weights", count=1)
SUM = BitFlip(site="accumulators", count=1)
RATES = (1e-5, 1e-4, 1e-3)
BATCH = Campaign(WEIGHT).batch  # injections that a campaign runs together


def model() -> nn.Module:
    """The network, untrained."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1568, 80),
        nn.ReLU(),
        nn.Linear(80, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def trained(train_size: int, epochs: int) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """The network trained, images to calibrate with, test images and their classes."""
    torch.manual_seed(0)
    data = fashion_mnist.load(train_size=train_size)

    def images(x: Any) -> Tensor:
        return (torch.tensor(x, dtype=torch.float32) - float(data.mean[0])) / float(data.std[0])

    x, y = images(data.train.x), torch.tensor(data.train.y)
    made = model()
    optimizer = torch.optim.Adam(made.parameters(), 2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(made(x[batch]), y[batch]).backward()
            optimizer.step()
    return made.eval(), x[:IMAGES], images(data.test.x[:2000]), torch.tensor(data.test.y[:2000])


def layers(module: nn.Module) -> list[nn.Module]:
    """Those with weights, in PyTorchFI's order."""
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def weighted(network: Deployed, op: str = "") -> list[int]:
    return [i for i, step in enumerate(network.steps) if step.weight is not None and op in step.op]


def flips(network: Deployed, steps: list[int], bits: list[int], count: int, rng: Any) -> list[Injection]:
    """Single flipped bits, uniform over those `bits` of all weights of these steps."""
    sizes = np.array([_weight(network.steps[i]).numel() for i in steps])
    made = []
    for place in rng.choice(sizes.sum(), count, replace=False):
        layer = int(np.searchsorted(np.cumsum(sizes), place, "right"))
        index = place - int(sizes[:layer].sum())
        mask = np.array([1 << int(rng.choice(bits))])
        made.append(Injection((Hit(WEIGHT, steps[layer], "weights", np.array([index]), mask),)))
    return made


def neurons(network: Deployed, count: int, rng: Any) -> list[Injection]:
    """One flipped bit of one accumulator in each image."""
    steps = weighted(network)
    sizes = np.array([int(np.prod(network.steps[i].shape)) for i in steps])
    made = []
    for _ in range(count):
        place = rng.integers(sizes.sum(), size=IMAGES)
        layer = np.searchsorted(np.cumsum(sizes), place, "right")
        mask = np.int64(1) << rng.integers(0, 23, IMAGES)
        hits = []
        for k in np.unique(layer).tolist():
            image = np.flatnonzero(layer == k)
            index = place[image] - int(sizes[:k].sum())
            hits.append(Hit(SUM, steps[k], "accumulators", index, mask[image], image))
        made.append(Injection(tuple(hits)))
    return made


def masks(network: Deployed, rate: float, count: int, rng: Any) -> list[Injection]:
    """All weights with a bit error rate."""
    fault = BitFlip(rate)
    made = []
    for _ in range(count):
        hits = []
        for i in weighted(network):
            step = network.steps[i]
            assert step.weight_codes is not None
            drawn = fault.draw(tuple(_weight(step).shape), step.weight_codes, rng)
            hits.append(Hit(fault, i, "weights", drawn.index, drawn.detail))
        made.append(Injection(tuple(hits)))
    return made


def _weight(step: Step) -> Tensor:
    assert step.weight is not None
    return step.weight


def held(network: Deployed, hit: Hit) -> np.ndarray[Any, Any]:
    """What the weights that are hit hold then."""
    step = network.steps[hit.step]
    assert step.weight_codes is not None
    before = _weight(step).flatten().double().numpy()[hit.index]
    return faulty(hit.fault, before, step.weight_codes, hit.detail)


class PyTorchFI:
    """Its faults on a module of the network."""

    def __init__(self, network: Deployed, module: nn.Module, x: Tensor) -> None:
        from pytorchfi.core import fault_injection

        self.network, self.module, self.x = network, module, x
        self.number = {step: k for k, step in enumerate(weighted(network))}
        self.golden_sums: dict[int, Tensor] = {}
        for step, layer in zip(self.number, layers(module), strict=True):
            layer.register_forward_hook(
                lambda _, a, out, step=step: self.golden_sums.update({step: out.clone()})
            )
        with torch.no_grad():
            module(x)
        for layer in layers(module):
            layer._forward_hooks.clear()
        kinds = [nn.Conv2d, nn.Linear]
        self.tool = fault_injection(module, len(x), input_shape=list(x.shape[1:]), layer_types=kinds)

    def weight(self, injection: Injection) -> Tensor:
        (hit,) = injection.hits
        place = np.unravel_index(hit.index[0], tuple(_weight(self.network.steps[hit.step]).shape))
        k, c, *rest = (int(p) for p in place)
        row, column = rest or (None, None)
        value = float(held(self.network, hit)[0])
        faulty_model = self.tool.declare_weight_fi(
            layer_num=[self.number[hit.step]], k=[k], dim1=[c], dim2=[row], dim3=[column], value=[value]
        )
        with torch.no_grad():
            return faulty_model(self.x)  # type: ignore[no-any-return]

    def neuron(self, injection: Injection) -> Tensor:
        chosen: dict[str, list[Any]] = {
            n: [] for n in ("batch", "layer_num", "dim1", "dim2", "dim3", "value")
        }
        for hit in injection.hits:
            step = self.network.steps[hit.step]
            assert step.accumulator is not None
            assert hit.image is not None
            golden = self.golden_sums[hit.step].flatten(1)[hit.image, hit.index].double().numpy()
            place = np.unravel_index(hit.index, step.shape)
            chosen["batch"] += hit.image.tolist()
            chosen["layer_num"] += [self.number[hit.step]] * len(hit.index)
            for d in range(3):
                chosen[f"dim{d + 1}"] += place[d].tolist() if d < len(place) else [None] * len(hit.index)
            chosen["value"] += faulty(hit.fault, golden, step.accumulator, hit.detail).tolist()
        faulty_model = self.tool.declare_neuron_fi(**chosen)
        self.tool.reset_current_layer()
        with torch.no_grad():
            return faulty_model(self.x)  # type: ignore[no-any-return]


class Plain:
    """The weight changed in place, the network run, the weight put back."""

    def __init__(self, network: Deployed, module: nn.Module, x: Tensor) -> None:
        self.network, self.module, self.x = network, module, x
        self.layer = dict(zip(weighted(network), layers(module), strict=True))

    def __call__(self, injection: Injection) -> Tensor:
        before = []
        with torch.no_grad():
            for hit in injection.hits:
                weight: Tensor = self.layer[hit.step].weight  # type: ignore[assignment]
                flat = weight.view(-1)
                before.append((flat, flat[hit.index].clone(), hit.index))
                flat[hit.index] = torch.from_numpy(held(self.network, hit)).to(flat.dtype)
            out: Tensor = self.module(self.x)
            for flat, values, index in before:
                flat[index] = values
        return out


class Clock:
    """Processor time of what is done in `with` blocks, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        self.seconds[name] = time.process_time() - begin


@dataclass
class Seconds:
    """Per injection: by round, of the engine on all ("ours") and on the part that the others get ("small"),
    and of each peer; and of each peer for each single injection."""

    rounds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    single: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def compared(
    engine: Engine,
    injections: Callable[[], list[Injection]],
    peers: dict[str, tuple[Callable[[Injection], Tensor], int]],
    rounds: int,
    rng: np.random.Generator,
) -> tuple[Seconds, int, int]:
    """Times of the engine and of each peer, which gets so many of each round's injections; how many outputs
    were compared, and how many were equal bit for bit."""
    seconds = Seconds()
    compared_, equal = 0, 0
    warm = injections()[:BATCH]
    engine.classes_under(warm)
    list(engine.outputs(warm[:2]))
    for run, _ in peers.values():
        run(warm[0])
    clock = Clock()
    for _ in range(rounds):
        mine = injections()
        with clock("ours"):
            for start in range(0, len(mine), BATCH):
                engine.classes_under(mine[start : start + BATCH])
        part = [mine[i] for i in rng.permutation(len(mine))[: max(most for _, most in peers.values())]]
        with clock("small"):
            outputs = list(engine.outputs(part))
        seconds.rounds["ours"].append(clock.seconds["ours"] / len(mine))
        seconds.rounds["small"].append(clock.seconds["small"] / len(part))
        for name, (run, most) in peers.items():
            each = []
            for injection, ours in zip(part[:most], outputs, strict=False):
                with clock(name):
                    theirs = run(injection)
                each.append(clock.seconds[name])
                compared_ += 1
                equal += torch.equal(ours, theirs.to(ours.dtype))
            seconds.rounds[name].append(float(np.mean(each)))
            seconds.single[name] += each
    return seconds, compared_, equal


def figures(name: str, seconds: Seconds) -> dict[str, float]:
    found: dict[str, float] = {}
    for who, values in seconds.rounds.items():
        found |= report.summary(f"ms.{name}.{who}", [1000 * v for v in values])
        if who in ("ours", "small"):
            continue
        key = name if who == "pytorchfi" else f"{who}_{name}"
        for ours, prefix in (("ours", "speedup_"), ("small", "speedup_small_")):
            if ours in seconds.rounds:
                ratios = [v / o for v, o in zip(values, seconds.rounds[ours], strict=True)]
                found |= report.summary(prefix + key, ratios)
    for who, values in seconds.single.items():
        low, high = np.quantile(values, [0.05, 0.95])
        found |= {f"ms.{name}.{who}.q05": 1000 * low, f"ms.{name}.{who}.q95": 1000 * high}
    return found


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison")
    parser.add_argument("--campaign", type=int, default=2048, help="weights in a round, for the engine")
    parser.add_argument("--faults", type=int, default=100, help="of them for PyTorchFI")
    parser.add_argument("--train-size", type=int, default=12000)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), time.process_time()
    made, calibration, test_x, test_y = trained(options.train_size, options.epochs)
    network = quantize(made, calibration, Scheme(scales="power_of_two"))
    x = network.encode(test_x[:IMAGES])
    whole = Engine(network, network.encode(test_x))
    with torch.no_grad():
        right = made(test_x).argmax(1) == test_y
    found: dict[str, float | str] = {
        "parameters": sum(p.numel() for p in made.parameters()),
        "images": len(x),
        "accuracy.float": float(right.float().mean()),
        "accuracy.int8": float((whole.classes == test_y).float().mean()),
        "threads": torch.get_num_threads(),
    }
    del whole
    clock = Clock()
    with clock("engine"):
        engine = Engine(network, x)
    found["ms.engine"] = 1000 * clock.seconds["engine"]
    tool = PyTorchFI(network, simulation(network, torch.float32).eval(), x)
    plain = Plain(network, simulation(network, torch.float32).eval(), x)
    rng = np.random.default_rng(0)
    n, rounds, bits = options.faults, options.rounds, list(range(8))
    many, some = max(options.campaign, n), max(n // 10, 1)
    cases: dict[str, tuple[Callable[[], list[Injection]], dict[str, tuple[Callable[..., Tensor], int]]]] = {
        "conv": (
            lambda: flips(network, weighted(network, "conv"), bits, many, rng),
            {"pytorchfi": (tool.weight, n), "plain": (plain, some)},
        ),
        "all": (
            lambda: flips(network, weighted(network), bits, many, rng),
            {"pytorchfi": (tool.weight, n), "plain": (plain, some)},
        ),
        "neuron": (lambda: neurons(network, 16, rng), {"pytorchfi": (tool.neuron, 4)}),
    }
    for rate in RATES:
        cases[f"ber_{rate:g}"] = (lambda rate=rate: masks(network, rate, 16, rng), {"plain": (plain, 4)})
    total, equal = 0, 0
    for name, (injections, peers) in cases.items():
        seconds, these, those = compared(engine, injections, peers, rounds, rng)
        found |= figures(name, seconds)
        total, equal = total + these, equal + those
    found |= {"campaign": many, "part": n, "batch": BATCH, "vnni": float(bytewise.quick)}
    found |= {"identical_faults": equal, "compared_faults": total, "identical": float(equal == total)}
    found |= in_floats(made, test_x, min(n, 20), rounds, rng)
    found["cpu_share"] = (time.process_time() - cpu) / (time.perf_counter() - wall)
    report.write(options.json, found)


def in_floats(made: nn.Module, test_x: Tensor, n: int, rounds: int, rng: Any) -> dict[str, float]:
    """The same in float32, where outputs are close and classes equal."""
    network = floating(made, samples=test_x[:IMAGES])
    x = network.encode(test_x[:IMAGES])
    engine = Engine(network, x)
    module = simulation(network, torch.float32).eval()
    tool, plain = PyTorchFI(network, module, x), Plain(network, simulation(network, torch.float32).eval(), x)
    bits = [*range(10, 23), 31]
    found = Seconds()
    total, equal, close = 0, 0, 0
    for turn in range(rounds + 1):
        mine = flips(network, weighted(network, "conv"), bits, n, rng)
        clock = Clock()
        with clock("ours"):
            outputs = list(engine.outputs(mine))
        with clock("pytorchfi"):
            theirs = [tool.weight(injection) for injection in mine]
        with clock("plain"):
            for injection in mine[:4]:
                plain(injection)
        if not turn:
            continue
        for name, count in (("ours", n), ("pytorchfi", n), ("plain", 4)):
            found.rounds[name].append(clock.seconds[name] / count)
        for a, b in zip(outputs, theirs, strict=True):
            total += len(a)
            equal += int((a.argmax(1) == b.argmax(1)).sum())
            close += int(torch.isclose(a, b, 1e-3, 1e-4).all(1).sum())
    shares = {"float32.same_class": equal / total, "float32.close": close / total}
    return figures("float32", found) | shares


if __name__ == "__main__":
    main()
