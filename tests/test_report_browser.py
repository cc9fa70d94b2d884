"""The report in a real browser, from a file: what it shows, what one can do, and that it asks for nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import synthetic_run as made
from vilfredo import pareto, units
from vilfredo.report.page import render
from vilfredo.savings import calibrations, checks, savings
from vilfredo.trial import Trial, Value

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium or chromedriver is not installed"),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,1000",
)

SIZES = (0, 3e-13, 1.234e-8, 4.2e-5, 0.00042, 0.0231, 0.1, 0.5, 0.9996, 1, 2.345, 12, 999.7, 1e3, 12288)
SIZES = (*SIZES, 34_512, 999_700, 7.5e6, 3.2e10, 4e13)


class Page:
    """A browser with one page open, and a few short words for what the tests do."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, fragment: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(path.as_uri() + fragment)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements("css selector", css)

    def one(self, css: str) -> Any:
        return self.driver.find_element("css selector", css)

    def text(self, css: str) -> str:
        return self.run("return document.querySelector(arguments[0]).innerText", css)

    def click(self, element: Any) -> None:
        """With the real mouse, at the middle of the element."""
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        webdriver.ActionChains(self.driver).move_to_element(element).click().perform()

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def emulate(self, width: int, theme: str = "light") -> None:
        command = self.driver.execute_cdp_cmd
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        command("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        command("Emulation.setEmulatedMedia", {"features": features})

    def requests(self) -> list[str]:
        """Addresses asked for since the page was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if url != "about:blank"]

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    from selenium.webdriver.chrome.service import Service

    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield Page(driver)
    driver.quit()


@pytest.fixture(scope="module")
def data():
    return made.data(300, stopped=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, data) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(data), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def wide(page: Page) -> None:
    page.emulate(1280)


def members(page: Page) -> list[int]:
    return [int(m.get_attribute("data-trial")) for m in page.all("#front-plot .member[data-trial]")]


def alone(page: Page) -> Any:
    """The member of the front that is farthest from its neighbours: a click on it can mean no other."""
    return page.run(
        """
        const marks = [...document.querySelectorAll('#front-plot .member[data-trial]')];
        const at = marks.map(m => m.querySelector('.hit').getBoundingClientRect());
        const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);
        const gap = i => Math.min(...at.map((b, j) => i === j ? 1e9 : apart(at[i], b)));
        return marks[marks.map((_, i) => i).sort((i, j) => gap(j) - gap(i))[0]].querySelector('.mark');
        """
    )


def test_a_click_shows_the_network(page, file, data):
    page.open(file)
    assert sorted(members(page)) == sorted(t.number for t in pareto.front(data.trials, data.goals))
    mark = alone(page)
    number = int(page.run("return arguments[0].closest('.member').dataset.trial", mark))
    page.click(mark)
    trial = data.trials[number]
    shown = page.text("#detail")
    assert f"Trial {number}" in shown
    for goal in data.goals:
        value = trial.value(goal.name)
        assert value is not None
        assert units.show(value.mean, goal.unit, value.sd) in shown, goal.name
        assert value.origin in shown
    test = trial.value("error", "test")
    if test is not None:
        assert units.show(test.mean, "fraction", test.sd) in shown
    assert page.one("#network svg.drawing").get_attribute("data-trial") == str(number)
    labels = page.text("#network .layers")
    assert "conv 16 filters 3×3" in labels
    assert "16×28×28" in labels
    assert len(page.all("#network .skip-edge")) == 4
    assert page.one("#front-plot .member.chosen[data-trial]").get_attribute("data-trial") == str(number)
    assert page.one("#table tr.chosen").get_attribute("data-trial") == str(number)
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []


def test_dominated_networks_can_be_chosen_too(page, file, data):
    page.open(file)
    front = set(members(page))
    spot = page.run(
        """
        const box = document.querySelector('#front-plot svg').getBoundingClientRect();
        const taken = [...document.querySelectorAll('#front-plot .member .hit')]
            .map(m => m.getBoundingClientRect());
        const dots = [...document.querySelector('#front-plot .dots:not(.bad)').getAttribute('d')
            .matchAll(/M([-\\d.]+) ([-\\d.]+)h0/g)].map(m => [Number(m[1]), Number(m[2])]);
        return dots.find(([x, y]) => taken.every(t =>
            Math.hypot(t.x + t.width / 2 - box.x - x, t.y + t.height / 2 - box.y - y) > 25));
        """
    )
    svg = page.one("#front-plot svg")
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", svg)
    box = svg.rect
    offset = (round(spot[0] - box["width"] / 2), round(spot[1] - box["height"] / 2))
    webdriver.ActionChains(page.driver).move_to_element_with_offset(svg, *offset).click().perform()
    number = int(page.text("#detail-title").split()[1])
    assert number not in front
    value = data.trials[number].value("latency")
    assert units.show(value.mean, "s") in page.text("#detail")


def test_the_keyboard_goes_along_the_front(page, file):
    page.open(file)
    order = members(page)
    stops = page.all("#front-plot .member[tabindex='0']")
    assert len(stops) == 1  # one stop for Tab; arrows go on
    page.run("arguments[0].focus()", stops[0])
    page.press("\ue011")  # Home
    assert page.text("#detail-title") == f"Trial {order[0]}"
    page.press("\ue014")  # right
    page.press("\ue014")
    assert page.text("#detail-title") == f"Trial {order[2]}"
    page.press("\ue012")  # left
    assert page.text("#detail-title") == f"Trial {order[1]}"
    page.press("\ue010")  # End
    assert page.text("#detail-title") == f"Trial {order[-1]}"
    focused = page.run("return document.activeElement.getAttribute('aria-label')")
    assert focused.startswith(f"trial {order[-1]}")
    assert page.complaints() == []


def test_axes_can_be_switched(page, file, data):
    page.open(file)
    before = page.one("#front-plot svg").get_attribute("aria-label")
    page.run(
        """
        const list = document.getElementById('x-goal');
        list.value = '2';
        list.dispatchEvent(new Event('change'));
        """
    )
    after = page.one("#front-plot svg").get_attribute("aria-label")
    assert "latency" in before
    assert "parameters" in after
    order = [data.trials[n].value("parameters").mean for n in members(page)]
    assert order == sorted(order)
    log = page.one("#x-log")
    checked = log.is_selected()
    places = """return [...document.querySelectorAll('#front-plot .member .hit')]
        .map(m => m.getAttribute('cx')).join()"""
    first = page.run(places)
    page.click(log)
    assert page.one("#x-log").is_selected() != checked
    assert page.run(places) != first
    for box in page.all("#front-controls input[type=checkbox]"):
        page.click(box)
    assert len(members(page)) == len(pareto.front(data.trials, data.goals))
    assert page.complaints() == []


def test_every_part_is_there(page, file, data):
    page.open(file)
    for section in (
        "front",
        "network",
        "table",
        "goals",
        "curves",
        "progress",
        "early",
        "failures",
        "again",
    ):
        assert page.one(f"#{section}").is_displayed(), section
        assert page.text(f"#{section}-title")
    failed = [t for t in data.trials if t.state == "failed"]
    counted = page.run(
        "return [...document.querySelectorAll('#failures tbody td.number')].map(c => Number(c.innerText))"
    )
    assert sum(counted) == len(failed)
    assert "vilfredo search board.toml" in page.text("#again")
    assert "2.13.0" in page.text("#again")
    assert "reference point" in page.text("#progress")
    assert page.run("return document.querySelectorAll('#goals path.line:not(.chosen)').length") > 1
    assert page.run("return document.querySelectorAll('#curves path.line').length") > 1
    assert page.text("#title").startswith("Fashion-MNIST on a small board </script><script>alert(1)")
    assert page.run("return document.images.length + document.scripts.length") == 2


def test_early_termination_is_shown(page, file, data):
    page.open(file)
    saved, trials = savings(data.trials, data.epochs), {t.number: t for t in data.trials}
    text = page.text("#early")
    assert f"{saved.saved:,} of {saved.saved + saved.trained:,}" in text
    assert units.duration(saved.net_seconds) in text
    assert units.duration(saved.engine_seconds) in text
    revived = [t for t in data.trials if t.halts and t.state == "complete"]
    (told,) = calibrations(checks(data.trials, data.goals), data.goals)
    assert f"{units.show(told.error, 'fraction')} off".replace(" ", "\u00a0") in text
    assert f"{told.within} of {told.spread}" in text
    marks = page.all("#early .check")
    assert {int(m.get_attribute("data-trial")) for m in marks} == {t.number for t in revived}
    rows = "#early tbody tr:not(.below)"
    numbers = f"return [...document.querySelectorAll('{rows}')].map(r => Number(r.dataset.trial))"
    listed = page.run(numbers)
    assert listed == sorted((t.number for t in data.trials if t.halts), reverse=True)[: len(listed)]
    nasty = next(n for n in listed if n % 9 == 0)
    row = page.text(f"#early tr.below[data-trial='{nasty}']")
    assert "chance to enter the front </script><script>alert(1)</script><img src=x" in row
    assert page.run("return document.images.length + document.scripts.length") == 2
    page.click(next(b for b in page.all("#early th button") if b.text.startswith("error forecast")))
    guesses = [trials[n].halts[-1].forecast["error"].mean for n in page.run(numbers)]
    assert guesses == sorted(guesses)
    # a click on a point selects the network; its sheet says when and why it was halted
    mark = page.one(f"#early .check[data-trial='{revived[0].number}'] .mark")
    page.run("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", mark)
    assert page.text("#detail-title") == f"Trial {revived[0].number}"
    assert page.one("#early .check.chosen").get_attribute("data-trial") == str(revived[0].number)
    assert page.complaints() == []


def test_forecasts_are_never_shown_as_measured(page, file, data):
    page.open(file)
    front = pareto.front(data.trials, data.goals)
    guessed = {t.number for t in front if t.value("error").origin == "forecast"}
    assert guessed
    assert guessed < {t.number for t in front}
    hollow = page.all("#front-plot .member.partial")
    assert {int(m.get_attribute("data-trial")) for m in hollow} == guessed
    assert all(m.find_elements("css selector", ".err") for m in hollow)
    for t in front:
        row = page.text(f"#table tr[data-trial='{t.number}']")
        assert ("forecast" in row) == (t.number in guessed)
    number = guessed.pop()
    page.open(file, f"#trial={number}")
    halt = data.trials[number].halts[-1]
    text = page.text("#detail")
    assert f"{'stopped' if halt.action == 'stop' else 'paused'} after {halt.epoch} epochs" in text
    guess = halt.forecast["error"]
    assert f"forecast error {units.show(guess.mean, 'fraction', guess.sd)}" in text
    assert page.all("#network .check .mark")  # in its learning curve, at the end


def test_forecasts_of_two_goals_are_compared_each_by_itself(page, tmp_path):
    data = made.data(120, stopped=True)

    def more(trial: Trial) -> Trial:
        latency = trial.value("latency")
        halts = [
            replace(h, forecast={**h.forecast, "latency": Value(latency.mean * 1.2, 0.0, 1, "forecast")})
            for h in trial.halts
        ]
        return replace(trial, halts=tuple(halts))

    data = replace(data, trials=[more(t) for t in data.trials])
    file = tmp_path / "two.html"
    file.write_text(render(data), encoding="utf-8")
    page.open(file)
    label = "#early .halves svg[role=img]"
    assert page.one(label).get_attribute("aria-label").startswith("Forecast error against measured")
    count = len(page.all("#early .check"))
    page.run(
        """
        const list = document.querySelector('#early .halves select');
        list.value = '1';
        list.dispatchEvent(new Event('change'));
        """
    )
    assert page.one(label).get_attribute("aria-label").startswith("Forecast latency against measured")
    assert len(page.all("#early .check")) == count > 5
    assert not page.all("#early .check .err")  # a forecast without a spread has no bar
    page.click(page.one("#calibration-log"))
    assert len(page.all("#early .check")) == count
    assert "latency forecast" in page.text("#early thead")
    assert "without a spread" in page.text("#early .tiles")
    assert page.complaints() == []


def test_the_table_sorts_and_chooses(page, file, data):
    page.open(file)
    rows = "return [...document.querySelectorAll('#table tbody tr')].map(r => Number(r.dataset.trial))"
    headers = page.all("#table th button")
    latency = next(i for i, header in enumerate(headers) if header.text.startswith("latency"))
    page.click(headers[latency])
    values = [data.trials[n].value("latency").mean for n in page.run(rows)]
    assert values in (sorted(values), sorted(values, reverse=True))
    page.click(headers[latency])
    assert [data.trials[n].value("latency").mean for n in page.run(rows)] == values[::-1]
    number = page.run(rows)[3]
    page.click(page.one(f"#table tr[data-trial='{number}'] button"))
    assert page.text("#detail-title") == f"Trial {number}"


def test_relatives_can_be_followed(page, file, data):
    child = next(t for t in reversed(pareto.front(data.trials, data.goals)) if t.parents)
    page.open(file, f"#trial={child.number}")
    assert page.text("#detail-title") == f"Trial {child.number}"
    names = page.run("return [...document.querySelectorAll('.tree .kin .name')].map(n => n.textContent)")
    assert f"#{child.number}" in names
    assert {f"#{p}" for p in child.parents} <= set(names)
    kin = next(
        k for k in page.all(".tree .kin") if f"trial {child.parents[0]}:" in k.get_attribute("aria-label")
    )
    page.run("arguments[0].focus()", kin)
    page.press("\ue007")
    assert page.text("#detail-title") == f"Trial {child.parents[0]}"


def test_a_range_on_an_axis_filters(page, file):
    page.open(file)
    grip = page.one("#goals .grip")
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", grip)
    half = grip.rect["height"] / 2
    drag = webdriver.ActionChains(page.driver).move_to_element_with_offset(grip, 0, int(-half + 3))
    drag.click_and_hold().move_by_offset(0, int(half)).release().perform()
    assert "within the ranges" in page.text("#goals .controls")
    faint = len(page.all("#goals path.line.off"))
    assert 0 < faint < len(members(page))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_every_screen(page, file, theme, width):
    page.emulate(width, theme)
    page.open(file)
    assert page.run("return document.documentElement.scrollWidth") <= width
    ground, ink = page.run(
        """
        const s = getComputedStyle(document.body);
        return [s.backgroundColor, s.color].map(c => Number(/\\d+/.exec(c)));
        """
    )
    assert (ground < ink) == (theme == "dark")
    assert page.one("#front-plot .member").is_displayed()
    assert page.complaints() == []


def test_numbers_read_the_same_as_in_python(page, file):
    cases = [
        (value * sign, unit, sd)
        for value in SIZES
        for unit in ("s", "J", "B", "count", "fraction", "", "mm")
        for sign, sd in ((1, 0), (1, value * 0.0301), (-1, value * 0.2503))
    ]
    source = (Path(render.__code__.co_filename).parent / "assets" / "units.js").read_text("utf-8")
    page.open(file)
    call = f"{source}; return arguments[0].map(c => show(...c))"
    assert page.run(call, cases) == [units.show(*case) for case in cases]
    seconds = [0.0042, 4.2, 59.96, 192, 3840, 183_600]
    assert page.run(f"{source}; return arguments[0].map(duration)", seconds) == [
        units.duration(s) for s in seconds
    ]
    for low in (1.2e-6, 1.2e-8, 0.0):
        shown = page.run(f"{source}; return between(arguments[0], 3.4e-6, 'J')", low)
        assert shown == units.between(low, 3.4e-6, "J")


@pytest.mark.parametrize("count", [1_000, 10_000])
def test_large_runs(page, tmp_path, count):
    data = made.data(count, stopped=True)
    file = tmp_path / "large.html"
    file.write_text(render(data), encoding="utf-8")
    page.open(file)
    assert len(members(page)) == len(pareto.front(data.trials, data.goals))
    page.click(alone(page))
    assert page.one("#network svg.drawing").is_displayed()
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_runs(page, tmp_path, count):
    file = tmp_path / "small.html"
    file.write_text(render(made.data(count)), encoding="utf-8")
    page.open(file)
    assert page.one("#summary").is_displayed()
    assert page.complaints() == []
