"""`vilfredo faults`: networks from anywhere, what it says and writes, one sentence for every mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

from vilfredo import inject, subject
from vilfredo.cli import main
from vilfredo.data import digits
from vilfredo.nn.quantize import Scheme

NET = '''
import torch
from torch import nn


def small(input_shape, outputs):
    """What a user may have."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, outputs),
    )


def wide(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, outputs))


class Forks(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        y = self.head(x.flatten(1))
        return y if y.sum() > 0 else y * 2


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.odd = nn.LocalResponseNorm(2)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.odd(x).flatten(1))


def ready(input_shape, outputs):
    torch.manual_seed(7)
    return small(input_shape, outputs)


def number():
    return 5


def broken():
    raise RuntimeError("no such luck")


def images(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, outputs))


module = ready((1, 8, 8), 10)
'''


def trained() -> dict[str, torch.Tensor]:
    """Weights of `small` after a few seconds on the digits."""
    data = digits.load()
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip
    mean, std = (torch.from_numpy(a).reshape(1, -1, 1, 1) for a in (data.mean, data.std))
    x, y = (torch.from_numpy(data.train.x.astype(np.float32)) - mean) / std, torch.from_numpy(data.train.y)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(3):
        for part in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            optimizer.step()
    return net.state_dict()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return trained()


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, torch.Tensor]
) -> Iterator[Path]:
    """A current folder with a user's net.py and its trained weights; modules are forgotten afterwards."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    save_file(weights, str(tmp_path / "small.safetensors"))
    before, path = set(sys.modules), list(sys.path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def run(*arguments: Any, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["faults", *map(str, arguments)])
    assert done.exit_code == code, (done.output, done.exception)
    return done


# -- networks and data ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net.py:small", "net:small"])
def test_a_network_of_a_function_gets_its_weights(folder: Path, weights, name: str) -> None:
    found = subject.of_module(name, digits.load(), "small.safetensors")
    assert not found.model.training
    for key, value in found.model.state_dict().items():
        assert torch.equal(value, weights[key])
    x = found.inputs(digits.load().test.x)
    right = (found.model(x).argmax(1).numpy() == digits.load().test.y).mean()
    assert right > 0.8


@pytest.mark.parametrize("name", ["net.py:module", "net.py:ready"])
def test_what_has_its_weights_needs_no_file(folder: Path, name: str) -> None:
    assert subject.of_module(name, digits.load()).title == name


def test_inputs_as_they_were_in_training(folder: Path) -> None:
    data = digits.load()
    x = data.test.x[:4]

    def given(**options: Any) -> np.ndarray:
        return subject.of_module("net.py:module", data, **options).inputs(x).numpy()

    assert np.allclose(given(), (x - data.mean[0]) / data.std[0])
    assert np.array_equal(given(inputs="raw"), x.astype(np.float32))
    assert np.allclose(given(inputs="unit"), x / 255)
    assert np.allclose(given(scale=((0.1,), (0.5,))), (x / 255 - 0.1) / 0.5, atol=1e-5)


def test_parts_are_drawn_by_the_seed(folder: Path) -> None:
    found = subject.of_module("net.py:module", digits.load())
    first, again, other = (found.part("test", 50, seed) for seed in (1, 1, 2))
    assert len(first) == 50
    assert np.array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)
    assert len(found.part("test", 10**6, 0)) == len(digits.load().test)


def test_data_by_name_by_file_and_with_options(folder: Path) -> None:
    assert subject.dataset("digits").name == "digits"
    assert len(subject.dataset("digits,train_size=300").train) == 300
    rng = np.random.default_rng(0)
    np.savez(folder / "mine.npz", x=rng.random((60, 12)).astype(np.float32), y=np.arange(60) % 3)
    assert subject.dataset("mine.npz").input_shape == (12,)
    assert subject.dataset("npz,path=mine.npz,test_size=0.5").input_shape == (12,)


def test_words_have_options() -> None:
    assert subject.words("burst") == ("burst", {})
    found = subject.words("stuck_bit,at=1,site=activations,bits=[6, 7],transient=true")
    assert found == ("stuck_bit", {"at": 1, "site": "activations", "bits": [6, 7], "transient": True})
    assert subject.words("a.b:C,x=0.5, y = 'a,b'") == ("a.b:C", {"x": 0.5, "y": "a,b"})
    with pytest.raises(ValueError, match=r"'length' .* NAME=VALUE"):
        subject.words("burst,length")


# -- mistakes -------------------------------------------------------------------------------------

SMALL = ("net.py:small", "--weights", "small.safetensors", "--data", "digits", "--budget", "0")
READY = ("net.py:ready", "--data", "digits", "--budget", "0")

MISTAKES = {
    "no data": (["net.py:ready"], "--data is missing"),
    "no network": (["17x", "--data", "digits"], "'17x' is no network"),
    "no file": (["nit.py:small", "--data", "digits"], "there is no file nit.py"),
    "no function": (["net.py:smal", "--data", "digits"], "has no 'smal'; did you mean 'small'?"),
    "no module": (["mylab.nets:small", "--data", "digits"], "there is no module 'mylab'"),
    "no torch module": (
        ["net.py:number", "--data", "digits"],
        "returned int; it must return a torch.nn.Module",
    ),
    "a broken function": (["net.py:broken", "--data", "digits"], "raised RuntimeError: no such luck"),
    "untrained": (["net.py:small", "--data", "digits"], "without its trained weights: those of '0.weight'"),
    "weights not there": ([*SMALL[:2], "none.safetensors", *SMALL[3:]], "there is no file none.safetensors"),
    "weights of another": (
        ["net.py:wide", *SMALL[1:]],
        "small.safetensors has no '3.weight' and 1 other that net.py:wide needs",
    ),
    "pickled weights": ([*SMALL[:2], "old.pt", *SMALL[3:]], "safetensors.torch.save_file"),
    "another shape": (
        ["net.py:images", "--data", "digits", "--weights", "images.safetensors"],
        "net.py:images cannot take inputs of shape (2, 1, 8, 8): layer 1 (Linear): RuntimeError",
    ),
    "nowhere to write": (
        [*READY, "--report", "pages/faults.html"],
        "--report is pages/faults.html, but there is no folder pages; make it first",
    ),
    "depends on data": (["net.py:Forks", "--weights", "forks.safetensors", *SMALL[3:]], "looks at its data"),
    "unsupported": (["net.py:Odd", "--weights", "odd.safetensors", *SMALL[3:]], "odd"),
    "no such data": (["net.py:ready", "--data", "digit"], "did you mean 'digits'?"),
    "data option": (["net.py:ready", "--data", "digits,trainsize=5"], "trainsize: unknown option"),
    "targets": (["net.py:ready", "--data", "lines.npz"], "has no classes but targets to regress"),
    "BER above": ([*READY, "--ber", "1.5"], "--ber is 1.5; give a probability from 0 to 1"),
    "BER below": ([*READY, "--ber", "1e-3,-1e-4"], "--ber is -1e-4; give a probability from 0 to 1"),
    "BER no number": ([*READY, "--ber", "often"], "--ber is 'often'; give a probability"),
    "no such layer": ([*READY, "--layers", "0,55"], "no layer with weights is called '55'"),
    "near layer": ([*READY, "--layers", "inputs", "--site", "inputs"], "did you mean 'input'?"),
    "no such fault": (
        [*READY, "--fault", "bitflip"],
        "there is no fault 'bitflip'; did you mean 'bit_flip'?",
    ),
    "fault option": ([*READY, "--fault", "burst,size=3"], "burst: size: unknown option"),
    "fault value": ([*READY, "--fault", "burst,length=0"], "length"),
    "no such site": ([*READY, "--site", "weight"], "--site is 'weight'; did you mean 'weights'?"),
    "fault twice": ([*READY, "--fault", "burst", "--fault", "burst,length=2"], "there twice; say each kind"),
    "a site among sites": ([*READY, "--site", "weights,wights"], "--site is 'wights'; did you mean"),
    "no bits": ([*READY, "--fault", "gaussian", "--critical", "5"], "gaussian is no fault of bits"),
    "site twice": ([*READY, "--fault", "bit_flip,site=inputs", "--site", "weights"], "say it once"),
    "no rate": ([*READY, "--fault", "gaussian", "--ber", "0.1"], "has no rate, so --ber means nothing"),
    "confidence": ([*READY, "--confidence", "1"], "--confidence is 1.0"),
    "margin": ([*READY, "--margin", "-0.1"], "--margin is -0.1"),
    "threshold": ([*READY, "--threshold", "2"], "--threshold is 2.0"),
    "both": ([*READY, "--exhaustive"], "say one of them"),
    "mean alone": ([*READY, "--mean", "0.1"], "--mean and --std go together"),
    "std of zero": ([*READY, "--mean", "0.1", "--std", "0"], "--std must be above 0"),
    "two channels": ([*READY, "--mean", "0.1,0.2", "--std", "1,1"], "--mean has 2 numbers, but digits has 1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(folder: Path, case: str) -> None:
    torch.save({}, folder / "old.pt")
    save_file({"1.weight": torch.zeros(10, 784), "1.bias": torch.zeros(10)}, "images.safetensors")
    head = {"head.weight": torch.ones(10, 64), "head.bias": torch.zeros(10)}
    save_file(head, "forks.safetensors")
    save_file(head, "odd.safetensors")
    np.savez("lines.npz", x=np.random.default_rng(0).random((60, 3)), y=np.linspace(0, 1, 60))
    arguments, said = MISTAKES[case]
    done = run(*arguments, code=2)
    told = done.output.strip()
    assert said in told
    assert told.startswith("vilfredo: ")
    assert "\n" not in told
    assert "Traceback" not in told


def test_the_layer_that_cannot_be_deployed_is_named(folder: Path) -> None:
    text = NET + "\n\ndef lstm():\n    torch.manual_seed(1)\n    return Recurrent()\n"
    text += "\n\nclass Recurrent(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    text += "        self.memory = nn.GRU(64, 10)\n\n"
    text += "    def forward(self, x):\n        return self.memory(x.flatten(1))[0]\n"
    (folder / "net.py").write_text(text, encoding="utf-8")
    told = run("net.py:lstm", "--data", "digits", "--budget", 0, code=2).output
    assert "memory" in told
    assert told.count("\n") == 1


# -- trials ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a small search of the digits."""
    import vilfredo

    store = tmp_path_factory.mktemp("searched") / "runs.db"
    changes = {"problem.data": {"use": "digits", "train_size": 400}}
    study = vilfredo.search(
        "digits",
        goals=["error", "parameters"],
        budget=3,
        epochs=1,
        workers=0,
        store=store,
        seed=1,
        changes=changes,
    )
    for _ in study:
        pass
    study.close()
    return store


def test_a_trial_is_taken_with_its_weights_and_data(searched: Path) -> None:
    from vilfredo.study import Study

    with Study.open(searched, readonly=True) as study:
        trial = next(t for t in study.trials() if t.artifact and t.state == "complete")
        found = subject.of_trial(study, trial.number)
        assert found.data.name == "digits"
        assert np.array_equal(found.mean, study.parts.problem.data.mean)
        part = found.data.validation
        wrong = float((found.model(found.inputs(part.x)).argmax(1).numpy() != part.y).mean())
        assert wrong == pytest.approx(trial.value("error").mean, abs=1e-6)
    told = run(trial.number, "--store", searched, "--budget", 0, "--ber", "0.01", "--copies", 2).output
    assert f"trial {trial.number} of " in told
    assert "0.01" in told


def test_a_trial_is_deployed_as_its_search_did() -> None:
    known = Scheme(5, 5, "real", "tensor", layers={"1": 7})
    options = {p.name: p.default for p in main.commands["faults"].params} | {"ber": ()}
    options = {name: None if repr(value) == "Sentinel.UNSET" else value for name, value in options.items()}
    assert inject.order(options, known).scheme == known
    assert inject.order(options).scheme == Scheme()
    asked = inject.order(options | {"bits": 6, "scales": "power-of-two"}, known).scheme
    assert asked == Scheme(6, 6, "power_of_two", "tensor")


def test_trials_that_cannot_be_hit(searched: Path, tmp_path: Path) -> None:
    from vilfredo.study import Study

    assert "there is no trial 99" in run(99, "--store", searched, code=2).output
    assert (
        "--weights is for networks of your own"
        in run(0, "--store", searched, "--weights", "a", code=2).output
    )
    with Study.open(searched, readonly=True) as study:
        number = next(t.number for t in study.trials() if t.artifact)
        file = Path(study.run.trial(number).artifact.path)
    moved = file.rename(file.with_suffix(".gone"))
    try:
        told = run(number, "--store", searched, code=2).output
    finally:
        moved.rename(file)
    assert f"trial {number} of run 1 has no stored weights" in told
    assert told.count("\n") == 1


# -- what it finds --------------------------------------------------------------------------------

WITH = ("net.py:small", "--weights", "small.safetensors", "--data", "digits", "--images", "40", "--plain")


def numbers(*arguments: Any, code: int = 0) -> dict[str, Any]:
    done = run(*arguments, "--json", "-", code=code)
    text = done.stdout
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def test_every_single_fault_is_what_the_plain_network_does(folder: Path) -> None:
    """All of a layer, against whole runs of the faulty network."""
    from vilfredo.campaign.injection import Injection
    from vilfredo.campaign.plain import plain
    from vilfredo.campaign.sites import one
    from vilfredo.nn.graph import trace
    from vilfredo.nn.quantize import quantize

    found = numbers(*WITH, "--layers", "0", "--exhaustive", "--worst", 576)
    single = found["faults"][0]["networks"][0]["single"]
    assert single["exhaustive"]
    assert single["tried"] == single["faults"] == 8 * 9 * 8
    share = single["total"]["critical"]
    assert share["low"] == share["value"] == share["high"]

    given = subject.of_module("net.py:small", digits.load(), "small.safetensors")
    part = given.part("test", 40, 0)
    samples = given.inputs(given.part("train", 512, 0).x)
    network = quantize(trace(given.model, (1, 8, 8)), samples)
    x = network.encode(given.inputs(part.x))
    clean = plain(network, x, Injection(())).argmax(1)
    assert found["faults"][0]["networks"][0]["accuracy"]["value"] == float((clean.numpy() == part.y).mean())
    weight = network.steps[0].weight.flatten()
    for row in single["worst"][:: max(1, len(single["worst"]) // 40)]:
        turned = plain(network, x, one(network, inject.fault("bit_flip"), row["fault"])).argmax(1)
        assert row["ccr"] == float((turned != clean).double().mean())
        assert row["accuracy"] == pytest.approx(float((turned.numpy() == part.y).mean()))
        before = int(weight[row["index"]])
        assert row["from"] == before
        assert (int(row["to"]) ^ before) & 255 == 1 << row["bit"]
    ccrs = [row["ccr"] for row in single["worst"]]
    assert ccrs == sorted(ccrs, reverse=True)


def test_what_is_printed(folder: Path) -> None:
    told = run(*WITH, "--budget", 600, "--ber", "1e-3,1e-2", "--ber", "0", "--copies", 3).stdout
    for words in (
        "net.py:small · digits, 40 test images",
        "8 bits, power-of-two scales, one per channel",
        "Faults: bit_flip of weights",
        "are critical",
        "layer",
        "sign",
        "The worst 3 single faults",
        "Many at once, 3 copies",
    ):
        assert words in told
    rows = [line.split() for line in told.splitlines() if line.strip().startswith(("0.001", "0.01", "0 "))]
    assert len([r for r in rows if r[0] in ("0", "0.001", "0.01")]) >= 3


def test_rate_zero_changes_nothing_and_seeds_repeat(folder: Path) -> None:
    arguments = (*WITH, "--budget", 300, "--ber", "0,1e-2", "--copies", 3)
    first, again = numbers(*arguments), numbers(*arguments)
    assert first == again
    nothing, some = first["faults"][0]["networks"][0]["rates"]
    assert nothing["ccrs"] == [0, 0, 0]
    assert max(some["ccrs"]) > 0
    assert numbers(*arguments, "--seed", 1) != first


@pytest.mark.parametrize("form", ["whole", "float32", "bfloat16"])
def test_clipping_is_compared_on_the_same_faults(folder: Path, form: str) -> None:
    arguments = (*WITH, "--form", form, "--budget", 400, "--ber", "1e-3", "--copies", 3, "--clip")
    found = numbers(*arguments)
    assert [arm["name"] for arm in found["faults"][0]["networks"]] == ["as it is", "clipped"]
    assert sum(found["faults"][0]["paired"]) > 100
    told = run(*arguments).stdout
    assert "Clipping takes the share of critical single faults from" in told
    assert "copy by copy" in told


@pytest.mark.parametrize(
    "options",
    [
        ("--site", "biases"),
        ("--site", "activations"),
        ("--site", "accumulators"),
        ("--site", "inputs"),
        ("--fault", "stuck_bit,at=1"),
        ("--fault", "burst,length=3"),
        ("--fault", "gaussian,sd=0.3"),
        ("--fault", "lognormal,sd=0.3"),
        ("--fault", "stuck,at=max"),
        ("--fault", "dead", "--site", "neurons"),
        ("--form", "float16", "--fault", "bit_flip,bits=exponent"),
        ("--bits", "5", "--scales", "real", "--per", "tensor"),
    ],
)
def test_other_faults_sites_and_forms(folder: Path, options: tuple[str, ...]) -> None:
    rates = () if "gaussian" in options[1] or "lognormal" in options[1] else ("--ber", "0.01")
    found = numbers(*WITH, "--budget", 200, "--copies", 2, *rates, *options)
    arm = found["faults"][0]["networks"][0]
    assert arm["single"]["tried"] >= 1
    assert len(arm["rates"]) == 1
    run(*WITH, "--budget", 100, "--copies", 2, *rates, *options, "--report", "page.html")
    assert (folder / "page.html").stat().st_size > 20_000


LONG = (
    *WITH, "--budget", 1500, "--margin", 0, "--hunt", 300, "--critical", 60, "--ber", "1e-3,1e-2",
    "--copies", 10, "--fault", "bit_flip", "--fault", "stuck_bit,at=1", "--clip",
)  # fmt: skip


def rows_of(log: Path) -> list[tuple[Any, ...]]:
    """Every row of a log with the campaign and table that it is of."""
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    counts = {"faults": 3, "numbers": 1, "copies": 2}
    return [
        (line["campaign"], line["table"], line["at"], *row[: -counts[line["table"]]])
        for line in lines
        if "rows" in line
        for row in line["rows"]
    ]


PARTS = ("single faults", "the worst faults", "critical bits by halving", "critical bits, a sample", "many")


def test_a_stopped_campaign_goes_on_and_ends_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of each part, one after the other; nothing that was known is run again."""
    whole = numbers(*LONG)
    arguments = (*LONG, "--log", "log.jsonl")
    work = inject.Injection.__iter__

    def halting(part: str) -> Any:
        def until(self: inject.Injection) -> Iterator[inject.News]:
            for news in work(self):
                if part in news.stage and "stuck_bit" in news.stage and news.done > 0:
                    raise KeyboardInterrupt
                yield news

        return until

    log, known = folder / "log.jsonl", 0
    for part in PARTS:
        monkeypatch.setattr(inject.Injection, "__iter__", halting(part))
        stopped = run(*arguments, "--report", "part.html", code=130)
        assert "go on with the same command" in stopped.output
        assert "are critical" in stopped.stdout
        assert "Stopped before its end" in (folder / "part.html").read_text("utf-8")
        assert log.stat().st_size > known, part
        known = log.stat().st_size
    monkeypatch.setattr(inject.Injection, "__iter__", work)
    assert numbers(*arguments) == whole
    known = log.stat().st_size
    rows = rows_of(log)
    assert len(rows) == len(set(rows))
    assert {row[1] for row in rows} == {"faults", "numbers", "copies"}
    assert numbers(*arguments) == whole
    assert log.stat().st_size == known
    told = run(*WITH, "--seed", 3, "--log", "log.jsonl", code=2).output
    assert "log.jsonl: this is the log of a campaign with another network" in told


HELD = """
import sys, time
from pathlib import Path
from vilfredo.campaign.log import Log
from vilfredo.cli import main

part, size = sys.argv.pop(1), int(sys.argv.pop(1))
write = Log.write

def held(log, lines):
    before = log.path.stat().st_size
    write(log, lines)
    if before > size and part in Path("errors.txt").read_text("utf-8"):
        Path("reached").touch()
        time.sleep(600)

Log.write = held
main(prog_name="vilfredo")
"""


def held(part: str, size: int, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """`vilfredo faults` in a process of its own, from the moment on that it adds to a log of more than `size`
    bytes in the part whose name stderr has told: there it waits for what comes."""
    reached = Path("reached")
    reached.unlink(missing_ok=True)
    command = [sys.executable, "-c", HELD, part, str(size), "faults", *map(str, arguments)]
    with open("errors.txt", "w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stderr=errors, text=True, **options)
    while not reached.exists():
        assert process.poll() is None, Path("errors.txt").read_text("utf-8")
        time.sleep(0.01)
    return process


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_each_part_it_ends_as_if_nobody_had_touched_it(folder: Path, workers: int) -> None:
    """Real processes, SIGKILL as soon as the log grows in a part that has not been killed yet."""
    arguments = [
        *WITH, "--budget", 4000, "--margin", 0, "--hunt", 1500, "--critical", 400, "--ber", "1e-3",
        "--copies", 120,
    ]  # fmt: skip
    whole = numbers(*arguments)
    log, out = folder / "log.jsonl", folder / "out.json"
    more = [*arguments, "--workers", workers, "--log", log, "--json", out]
    for part in ["single faults", "the worst faults", "critical bits by halving", "many at once"]:
        size = log.stat().st_size if log.exists() else 0
        process = held(part, size, *more, stdout=subprocess.DEVNULL)
        process.send_signal(signal.SIGKILL)
        process.wait()
    command = [sys.executable, "-m", "vilfredo", "faults", *map(str, more)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=600)
    assert json.loads(out.read_text("utf-8")) == whole
    rows = rows_of(log)
    assert len(rows) == len(set(rows))


@pytest.mark.long
def test_ctrl_c_ends_the_workers_too(folder: Path) -> None:
    """As a terminal does it: the signal goes to the command and to all of its processes."""
    arguments = (*WITH, "--exhaustive", "--workers", 2, "--log", "log.jsonl", "--report", "part.html")
    process = held("", 3000, *arguments, stdout=subprocess.PIPE, start_new_session=True)
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    told, _ = process.communicate(timeout=300)
    errors = (folder / "errors.txt").read_text("utf-8")
    assert process.returncode == 130, errors
    assert "Stopped; what is told was known by then; go on with the same command." in errors
    assert "Traceback" not in errors
    assert "are critical" in told
    assert (folder / "part.html").exists()
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=120)[1] == []


def test_several_faults_are_each_what_they_are_alone(folder: Path) -> None:
    """Every campaign, ranking and curve is that of a command with this fault only."""
    common = (*WITH, "--budget", 300, "--ber", "1e-2", "--copies", 3, "--critical", 20, "--clip")
    faults = ("bit_flip", "stuck_bit,at=1", "gaussian,sd=0.5")
    said = [word for fault in faults for word in ("--fault", fault)]
    together = numbers(*common, *said)
    assert [part["fault"] for part in together["faults"]] == [
        "bit_flip of weights", "stuck_bit (at 1) of weights", "gaussian (sd 0.5) of weights",
    ]  # fmt: skip
    for part, fault in zip(together["faults"], faults, strict=True):
        options = common if fault[0] != "g" else (*WITH, "--budget", 300, "--copies", 3, "--clip")
        (alone,) = numbers(*options, "--fault", fault)["faults"]
        assert part == alone
    told = run(*common, *said, "--report", "page.html").stdout
    assert "All together:" in told
    from test_report_faults import data_of

    page = data_of((folder / "page.html").read_text("utf-8"))
    assert [kind["name"] for kind in page["faults"]] == [part["fault"] for part in together["faults"]]
    assert [kind["strength"] for kind in page["faults"]] == ["BER", "BER", "sd"]
    assert page["faults"][0]["arms"][1]["critical"]["rows"]
    assert page["faults"][2]["arms"][0]["critical"] is None


def test_several_sites(folder: Path) -> None:
    found = numbers(*WITH, "--site", "weights,activations,inputs", "--budget", 100, "--hunt", 0)
    kinds = ["bit_flip of weights", "bit_flip of activations", "bit_flip of inputs"]
    assert [part["fault"] for part in found["faults"]] == kinds


@pytest.mark.parametrize("site", ["weights", "activations"])
def test_critical_bits_and_how_far_to_trust_them(folder: Path, site: str) -> None:
    arguments = (*WITH, "--budget", 0, "--site", site, "--critical", 150)
    bits = numbers(*arguments)["faults"][0]["networks"][0]["critical_bits"]
    assert bits["numbers"] == len(bits["bits"]) == 150
    assert bits["critical"] == sum(map(len, bits["bits"].values()))
    assert 0 < bits["injections"] < bits["faults"]
    assert bits["faults"] == 150 * 8 if site == "weights" else bits["faults"] > 150 * 8  # some have 16
    assert bits["saved"] == pytest.approx(1 - bits["injections"] / bits["faults"])
    assert bits["checked"] == 100
    assert 0.8 < bits["recall"] <= 1
    assert 0.8 < bits["precision"] <= 1
    assert 0.8 * bits["sides"] < bits["monotonic"] <= bits["sides"]
    assert all(("@" in name) == (site == "activations") for name in bits["bits"])
    told = run(*arguments).stdout
    assert "Critical bits: " in told
    assert "less than trying all" in told


def test_the_page_and_the_command_that_makes_it_again(folder: Path) -> None:
    from test_report_faults import data_of

    run(*WITH, "--budget", 600, "--ber", "1e-3", "--copies", 2, "--clip", "--report", "a page.html")
    data = data_of((folder / "a page.html").read_text("utf-8"))
    (kind,) = data["faults"]
    assert [arm["name"] for arm in kind["arms"]] == ["as it is", "clipped"]
    assert {layer["name"]: layer["bits"] for layer in kind["layers"]} == {"0": 8, "5": 8}
    assert data["commands"][0].startswith("vilfredo faults net.py:small --weights small.safetensors")
    assert "--report 'a page.html'" in data["commands"][0]
    cells = kind["arms"][0]["cells"]
    assert len(cells) == 16
    assert sum(c["tried"] for c in cells) == kind["arms"][0]["tried"]
    assert [row[0] for row in data["quantisation"]["rows"]] == ["0", "3", "5"]
    assert kind["arms"][0]["channels"]
    assert data["settings"]["seed"] == 0


def test_bad_weights_are_told_by_their_accuracy(folder: Path) -> None:
    told = run("net.py:ready", *WITH[3:], "--budget", 0).stdout
    assert "Note: that is hardly better than guessing among 10 classes" in told
    told = run(*WITH, "--bits", 4, "--per", "tensor", "--budget", 0).stdout
    assert "deployed" in told
