"""The report as text: what it holds, how large it is, and that nothing in it can do harm."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synthetic_run as made
from vilfredo import pareto
from vilfredo.goal import goal
from vilfredo.report import early as halting
from vilfredo.report import payload
from vilfredo.report.page import ReportData, important, render
from vilfredo.savings import savings
from vilfredo.trial import Epoch, Failure, Halt, Key, Trial, Value


class Elements(HTMLParser):
    """Every tag with its attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside in self.texts:
            self.texts[self.inside][-1] += data


def content(page: str) -> dict:
    return json.loads(Elements(page).texts["script"][0])


@pytest.fixture(scope="module")
def page() -> str:
    return render(made.data(200, stopped=True))


def test_it_is_one_page_that_asks_for_nothing(page):
    tags = Elements(page).tags
    assert not [tag for tag, attributes in tags if "src" in attributes]
    assert {tag for tag, _ in tags if tag in ("link", "iframe", "object", "embed", "img", "base")} == set()
    assert all(a.get("href", "#").startswith("#") for _, a in tags)
    assert "@import" not in page
    assert "url(http" not in page
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", page) == []


def test_only_its_own_script_and_style_may_run(page):
    elements = Elements(page)
    policy = next(a["content"] for t, a in elements.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for text in (elements.texts["script"][1], elements.texts["style"][0]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not [name for _, a in elements.tags for name in a if name.startswith("on") or name == "style"]


def test_what_users_wrote_is_never_markup(page):
    elements = Elements(page)
    assert len(elements.texts["script"]) == 2  # the data and the page's own
    assert "alert(1)" not in elements.texts["script"][1]
    assert elements.texts["title"][0].startswith(made.data(0).title.strip()[:60])
    data = content(page)
    assert made.NASTY in data["title"]
    assert any(made.NASTY.strip() in row["message"] + made.NASTY for row in data["failures"]["rows"])
    assert all(d["genome"]["note"] == made.NASTY for d in data["detail"]["kept"].values())


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=40))
def test_any_text_survives(text):
    trial = Trial(0, {text: text}, "failed", operator=text, failure=Failure("exception", text, text))
    page = render(ReportData(text, (goal("error"),), [trial], spec=text, commands=[text], status=text))
    data = content(page)
    assert (data["title"], data["spec"], data["commands"]) == (text, text, [text])
    assert len(Elements(page).texts["script"]) == 2
    page.encode()


def test_text_that_no_file_can_hold_is_replaced():
    page = render(ReportData("half \ud800 of a pair", (goal("error"),), [], spec="\udfff"))
    assert "half ? of a pair" in page.encode().decode()


@pytest.mark.parametrize("stopped", [False, True])
def test_size_of_a_thousand_trials_with_twenty_epochs(stopped):
    data = made.data(1_000, epochs=20, stopped=stopped)
    page = render(data)
    assert len(page.encode()) < 1_000_000
    kept = content(page)["detail"]["kept"]
    front = pareto.front(data.trials, data.goals)
    assert {str(t.number) for t in front} <= kept.keys()
    best = kept[str(front[0].number)]
    assert len(best["epochs"]["curves"]["2"]) == len(front[0].epochs)
    assert len(best["layers"]) == len(made.layers())


def test_details_stop_where_the_room_ends(monkeypatch):
    monkeypatch.setattr(payload, "ROOM", 10_000)
    data = content(render(made.data(300)))
    assert 1 <= len(data["detail"]["kept"]) < data["detail"]["of"]
    assert str(data["trials"]["number"][data["knee"]]) in data["detail"]["kept"]


def test_ten_thousand_trials_with_a_large_front():
    rng = np.random.default_rng(1)
    goals = tuple(goal(f"g{i}") for i in range(4))
    trials = []
    for n, row in enumerate(rng.random((10_000, 4)).tolist()):
        values = {Key(g.name): Value(x) for g, x in zip(goals, row, strict=True)}
        trials.append(Trial(n, {"x": n}, "complete", (n - 1,) if n else (), "mutate", values=values))
    data = content(render(ReportData("large", goals, trials)))
    assert len(data["trials"]["number"]) == 10_000
    assert len(data["history"]["share"]) <= payload.STEPS
    assert len(payload.dump(data)) < 4_000_000


def test_hypervolume_grows_and_ends_at_that_of_the_front():
    data = made.data(150)
    history = payload.history(data.trials, data.goals)
    assert history["share"] == sorted(history["share"])
    assert history["count"][-1] == 150
    front = pareto.front(data.trials, data.goals)
    table, _, _ = pareto.points(front, data.goals)
    reference = [history["reference"][g.name] for g in data.goals if g.ranked]
    ideal = [history["ideal"][g.name] for g in data.goals if g.ranked]
    volume = pareto.hypervolume(table, reference)
    assert history["volume"] == pytest.approx(volume, rel=1e-3)
    box = np.prod(np.array(reference) - np.array(ideal))
    assert history["share"][-1] == pytest.approx(volume / box, rel=1e-3)
    assert history["wall"]


def test_hypervolume_of_maximised_goals_has_the_reference_below():
    goals = (goal("reward"), goal("latency"))
    trials = [
        Trial(n, {}, "complete", values={Key("reward"): Value(r), Key("latency"): Value(l)})
        for n, (r, l) in enumerate([(1.0, 1.0), (2.0, 3.0), (0.5, 4.0)])
    ]
    history = payload.history(trials, goals)
    assert history["reference"] == {"reward": pytest.approx(0.9), "latency": pytest.approx(3.2)}
    assert history["ideal"] == {"reward": 2, "latency": 1}


def test_early_termination_is_told_in_figures(page):
    told = content(page)["early"]
    trials = made.data(200, stopped=True).trials
    saved = savings(trials, 20)
    assert (told["stopped"], told["paused"], told["revived"]) == (saved.stopped, saved.paused, saved.revived)
    assert (told["epochs"], told["trained"]) == (saved.saved, saved.trained)
    assert told["seconds"] - told["engine"] == pytest.approx(saved.net_seconds, rel=1e-3)
    assert told["training"] == pytest.approx(saved.train_seconds, rel=1e-3)
    lengths = told["lengths"]["kinds"]
    assert told["lengths"]["width"] == 1
    assert {kind: sum(bars) for kind, bars in lengths.items()} == {
        "complete": sum(t.state == "complete" and not t.halts for t in trials),
        "revived": saved.revived,
        "stopped": saved.stopped,
        "paused": saved.paused,
    }
    assert lengths["stopped"][4] == saved.stopped
    assert lengths["paused"][1] == saved.paused


def test_a_run_without_stopper_says_nothing_of_it():
    assert content(render(made.data(50)))["early"] is None


def test_forecasts_are_compared_with_what_was_measured(page):
    data, trials = content(page), made.data(200, stopped=True).trials
    told, rows = data["early"], {n: row for row, n in enumerate(data["trials"]["number"])}
    revived = [t for t in trials if t.halts and t.state == "complete"]
    points = {point[0]: point[1:] for point in told["points"]}
    assert points.keys() == {rows[t.number] for t in revived}
    for t in revived:
        guess, real = t.halts[-1].forecast["error"], t.values[Key("error")]
        place, epoch, mean, sd, measured = points[rows[t.number]]
        assert (place, epoch) == (0, t.halts[-1].epoch)
        assert (mean, sd, measured) == pytest.approx((guess.mean, guess.sd, real.mean), rel=1e-2)
    ((place, count, off, spread, within),) = told["calibration"]
    assert (place, count, spread) == (0, len(revived), len(revived))
    assert off == pytest.approx(np.mean([abs(p[2] - p[4]) for p in points.values()]), rel=0.02)
    assert 0.4 < within / spread < 1


def test_who_was_halted_and_why(page):
    data = content(page)
    trials = {t.number: t for t in made.data(200, stopped=True).trials}
    rows = data["early"]["rows"]
    assert data["early"]["left"] == 0
    assert {data["trials"]["number"][row[0]] for row in rows} == {n for n, t in trials.items() if t.halts}
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    for place, times, epoch, good, reason, forecast in rows:
        trial = trials[data["trials"]["number"][place]]
        halt = trial.halts[-1]
        assert (times, epoch, good) == (len(trial.halts), halt.epoch, halt.action == "stop")
        assert reason == halt.reason.strip().splitlines()[0]
        assert forecast["0"][0] == pytest.approx(halt.forecast["error"].mean, rel=1e-4)
        assert (forecast["0"][2] is None) == (trial.state != "complete")
    assert any("<script>" in row[4] for row in rows)  # as data; what is made of it the browser test sees


def test_a_long_list_of_halted_networks_keeps_those_that_were_checked(monkeypatch):
    monkeypatch.setattr(halting, "ROWS", 30)
    monkeypatch.setattr(halting, "POINTS", 10)
    trials = made.trials(300, stopped=True)
    told = halting.early(trials, made.GOALS, 20)
    assert told is not None
    assert len(told["rows"]) == 30
    assert told["left"] == sum(bool(t.halts) for t in trials) - 30
    assert all(row[5]["0"][2] is not None for row in told["rows"])
    assert 1 <= len(told["points"]) <= 10
    assert told["calibration"][0][1] > 10


def test_long_trainings_are_shown_in_few_bars():
    epochs = tuple(Epoch(i, {"loss": 1.0}, 1.0) for i in range(1, 251))
    trials = [
        Trial(0, {}, "complete", epochs=epochs),
        Trial(1, {}, "stopped", epochs=epochs[:7]),
        Trial(2, {}, "stopped", epochs=epochs[:8]),
    ]
    told = halting.early(trials, (goal("error"),), 250)
    assert told is not None
    assert told["lengths"]["width"] == 7
    assert told["lengths"]["kinds"]["stopped"][:2] == [1, 1]
    assert told["lengths"]["kinds"]["complete"][-1] == 1
    assert len(told["lengths"]["kinds"]["complete"]) <= halting.BINS
    assert told["rows"] == [[2, 1, 8, 1, "", {}], [1, 1, 7, 1, "", {}]]  # of a run that kept no halts


def test_what_was_not_confirmed_is_marked():
    values = {Key("error"): Value(0.3, 0.05, origin="forecast"), Key("latency"): Value(0.1)}
    trials = [
        Trial(0, {}, "stopped", values=values),
        Trial(1, {}, "complete", values={Key("error", fidelity=2): Value(0.2), Key("latency"): Value(0.2)}),
        Trial(2, {}, "complete", values={Key("error"): Value(0.1), Key("latency"): Value(0.3)}),
    ]
    trials.append(replace(trials[0], number=3, state="paused"))
    columns = payload.columns(trials, (goal("error"), goal("latency")))
    assert columns["partial"] == [0, 1, 3]
    assert columns["forecast"] == [[0, 3], []]


def test_without_scripts_forecasts_are_marked_too():
    values = {Key("error"): Value(0.3, 0.05, origin="forecast")}
    halts = (Halt(2, "stop", made.NASTY, {"error": values[Key("error")]}),)
    page = render(ReportData("x", (goal("error"),), [Trial(0, {}, "stopped", values=values, halts=halts)]))
    assert "<td>30 % ± 5 (forecast)</td>" in page
    assert len(Elements(page).texts["script"]) == 2
    assert content(page)["detail"]["kept"]["0"]["halts"] == [
        [2, 1, payload.first_line(made.NASTY), {"0": [0.3, 0.05, None]}]
    ]


def test_networks_in_other_numbers_are_compared_with_what_was_trained():
    curve = (Epoch(1, {"val_error": 0.5}), Epoch(2, {"val_error": 0.25}))
    trials = [
        Trial(
            n, {}, "complete", values={Key("error"): Value(0.3 - n / 10), Key("macs"): Value(n)}, epochs=curve
        )
        for n in (0, 1)
    ]
    page = render(ReportData("x", (goal("macs"), goal("error")), trials, deployed={1: "8 bits"}))
    kept = content(page)["detail"]["kept"]
    assert "deployed" not in kept["0"]
    assert kept["1"]["deployed"] == ["8 bits", [[1, 0.25]]]


def test_failures_are_counted_by_kind_and_first_line():
    def failed(number, kind, message):
        return Trial(number, {}, "failed", failure=Failure(kind, message, f"trace {number}"))

    trials = [
        failed(0, "timeout", "60 s"),
        failed(1, "exception", "bad\nsecond line"),
        failed(2, "exception", "bad\nanother"),
    ]
    rows = payload.failures(trials)["rows"]
    assert [(r["count"], r["kind"], r["message"], r["trials"]) for r in rows] == [
        (2, "exception", "bad", [1, 2]),
        (1, "timeout", "60 s", [0]),
    ]
    assert rows[0]["traceback"] == "trace 1"


def test_limits_tell_how_many_are_beyond():
    trials = [Trial(n, {}, "complete", values={Key("latency"): Value(0.001 * n)}) for n in range(5)]
    assert payload.limits(trials, (goal("latency", max="2 ms"), goal("error"))) == [["latency", 2, 5]]


def test_important_has_the_front_first_and_all_ancestors():
    data = made.data(200)
    numbers = important(data.trials, data.goals)
    front = {t.number for t in pareto.front(data.trials, data.goals)}
    assert len(numbers) == len(set(numbers))
    assert numbers[0] == 0  # the baseline
    assert front <= set(numbers[: len(front) + 1])
    parents = {p for n in numbers for p in data.trials[n].parents}
    assert parents <= set(numbers)
    assert important(data.trials, data.goals, most=5) == numbers[:5]


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [Trial(0, {}, "failed", failure=Failure("timeout", "60 s"))],
        [Trial(0, {}, "rejected", values={Key("parameters"): Value(1e9)})],
        [Trial(3, {}, "complete", (1, 99), values={Key("error"): Value(0.0), Key("parameters"): Value(0)})],
    ],
)
def test_small_runs(trials):
    goals = (goal("error"), goal("parameters", max=1000))
    data = content(render(ReportData("small", goals, trials)))
    assert data["trials"]["number"] == [t.number for t in trials]


def test_a_trial_told_again_counts_once():
    first = Trial(0, {}, "complete", values={Key("error"): Value(0.5)})
    again = replace(first, confirmed=1)
    data = content(render(ReportData("again", (goal("error"),), [first, again])))
    assert data["trials"]["number"] == [0]
    assert data["detail"]["kept"]["0"]["confirmed"] == 1


def test_numbers_that_are_not_finite_and_unknown_things_become_text():
    cleaned = payload.clean(
        {"a": float("nan"), "b": {1}, 3: object, "c": np.float64(2.5), "d": (np.int64(4),)}
    )
    assert cleaned["a"] == "nan"
    assert (cleaned["b"], cleaned["c"], cleaned["d"]) == ([1], 2.5, [4])
    json.dumps(cleaned, allow_nan=False)


@pytest.mark.parametrize(
    ("op", "args", "words"),
    [
        ("conv", {"filters": 32, "kernel": [3, 5], "stride": [1, 1], "padding": [1, 2]}, "32 filters 3×5"),
        (
            "conv",
            {"filters": 8, "kernel": [3, 3], "stride": [2, 2], "groups": 8},
            "8 filters 3×3, stride 2, groups 8",
        ),
        ("max_pool", {"kernel": [2, 2], "stride": [2, 1], "padding": [0, 0]}, "2×2, stride 2×1"),
        ("dropout", {"rate": 0.25}, "rate 0.25"),
        ("dense", {"units": 10, "bias": True}, "10 units"),
        ("relu", {}, ""),
        (
            "Linear",
            {"name": "body.0", "settings": "in_features=4, out_features=2"},
            "in_features=4, out_features=2",
        ),
    ],
)
def test_layers_in_words(op, args, words):
    assert payload.describe(op, args) == words
