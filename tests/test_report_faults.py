"""The page of a fault campaign: what it says, in a real browser, on light and dark, wide and narrow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import synthetic_faults as made
from vilfredo.report.faults import Arm, FaultReport, Kind, Range, Worst, render


def data_of(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_the_page_needs_nothing_and_escapes_what_comes_from_outside() -> None:
    hostile = "</script><script>alert(1)</script>"
    kind = made.report().faults[0]
    layers = [replace(layer, name=hostile) for layer in kind.layers]
    kinds = [replace(kind, name=hostile, layers=layers)]
    html = render(replace(made.report(), title=hostile, faults=kinds, commands=[hostile]))
    assert "<script>alert" not in html
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert data_of(html)["faults"][0]["layers"][0]["name"] == hostile


def test_numbers_that_are_not_finite_are_shown_as_text() -> None:
    worst = Worst(0, "a", 3, "[3]", 30, 0.5, float("inf"), 1.0)
    kind = made.report(clip=False).faults[0]
    several = [worst, replace(worst, after=float("nan")), replace(worst, after=None)]
    kind = replace(kind, arms=[replace(kind.arms[0], worst=several)])
    shown = data_of(render(replace(made.report(), faults=[kind])))["faults"][0]["arms"][0]["worst"]
    assert [w["after"] for w in shown] == ["inf", "nan", None]


def test_readers_without_scripts_get_the_main_numbers() -> None:
    html = render(made.report())
    fallback = html.split("<noscript>")[1].split("</noscript>")[0]
    assert "clipped: single faults that are critical" in fallback
    assert "accuracy at BER 0.01" in fallback


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    browser = pytest.importorskip("test_report_browser", reason="selenium is not installed")
    if not (browser.BROWSER and browser.DRIVER):
        pytest.skip("chromium or chromedriver is not installed")
    yield from browser.page.__wrapped__(tmp_path_factory)


def opened(page, folder: Path, report: FaultReport, width: int = 1280, theme: str = "light") -> Path:
    file = folder / "faults.html"
    file.write_text(render(report), encoding="utf-8")
    page.emulate(width, theme)
    page.open(file)
    return file


@pytest.mark.long
def test_every_part_is_there(page, tmp_path: Path) -> None:
    report = made.report()
    file = opened(page, tmp_path, report)
    for section in ("worst", "map", "ranking", "critical", "rates", "clip", "layers", "again"):
        assert page.one(f"#{section}").is_displayed(), section
    assert len(page.all("#contents a")) == 8
    layers = report.faults[0].layers
    cells = len(layers) * 8
    totals = len(layers) + 8 + 1
    assert len(page.all("#map .cell")) == cells + totals
    summary = page.text("#summary")
    assert "90.2 %" in summary
    assert "BER 0.01" in summary
    assert "bit 7, sign" in page.text("#worst")
    assert len(page.all("#rates .band")) == 4
    assert "1e-5" in page.text("#rates table")
    assert "critical only clipped" in page.text("#clip")
    assert report.commands[0] in page.text("#again")
    assert page.requests() == [file.as_uri()]
    assert page.complaints() == []


@pytest.mark.long
def test_the_map_says_what_a_cell_is(page, tmp_path: Path) -> None:
    report = made.report()
    kind = report.faults[0]
    opened(page, tmp_path, report)
    assert page.text("#map-said").startswith("the whole network:")
    cell = next(c for c in kind.arms[0].cells if (c.layer, c.bit) == (2, 7))
    mark = page.run(
        "return [...document.querySelectorAll('#map .cell')]"
        f".find(c => c.querySelector('title').textContent.startsWith('{kind.layers[2].name}, bit 7'))"
    )
    page.click(mark)
    said = page.text("#map-said")
    assert f"{cell.tried} of {cell.size:,} tried" in said
    page.run("document.querySelector('#map svg.heat').focus()")
    page.press("\ue014")  # right: the next lower bit
    assert f"{kind.layers[2].name}, bit 6" in page.text("#map-said")
    page.press("\ue015")  # down
    assert f"{kind.layers[3].name}, bit 6" in page.text("#map-said")
    page.click(page.one("#map-order"))
    page.run(
        "const s = document.querySelector('#map select'); s.value = '1'; s.dispatchEvent(new Event('change'))"
    )
    arm = kind.arms[1]
    page.click(page.one("#map .cell"))
    assert f"{kind.layers[0].name}" not in page.text("#map-said")
    assert arm.name in page.one("#map svg.heat").get_attribute("aria-label")
    assert page.complaints() == []


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(("layers", "bits"), [(6, 8), (60, 32), (60, 16)])
def test_large_networks_and_small_screens(page, tmp_path: Path, layers, bits, width, theme) -> None:
    opened(page, tmp_path, made.report(layers, bits), width, theme)
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    if width == 1280:  # the map fits without scrolling aside
        assert page.run(
            "const m = document.querySelector('#map-plot'); return m.scrollWidth <= m.clientWidth"
        )
    outside = page.run(
        """
        const svg = document.querySelector('#map svg.heat'), box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()])
            .filter(([, r]) => r.left < box.left - 1 || r.right > box.right + 1).map(([t]) => t);
        """
    )
    assert outside == []
    assert page.complaints() == []


@pytest.mark.long
def test_what_was_not_measured_is_not_shown(page, tmp_path: Path) -> None:
    bare = Arm("as it is", Range(0.9, 0.86, 0.93))
    kinds = [Kind("bit_flip of weights", [bare], [])]
    opened(page, tmp_path, replace(made.report(), faults=kinds, quantisation=made.Rows()))
    for section in ("worst", "map", "ranking", "critical", "rates", "clip", "layers"):
        assert not page.one(f"#{section}").is_displayed(), section
    assert page.one("#again").is_displayed()
    assert page.complaints() == []


@pytest.mark.long
def test_faults_that_are_not_of_bits_have_no_bits(page, tmp_path: Path) -> None:
    opened(page, tmp_path, made.report(5, 0, clip=False, rates=1))
    assert len(page.all("#map .cell")) == 0 or page.all("#map .cell")
    assert "bit" not in page.text("#ranking").replace("bits", "").lower() or page.all("#ranking table")
    assert page.complaints() == []


@pytest.mark.long
def test_several_kinds_of_faults_have_a_part_each(page, tmp_path: Path) -> None:
    first, second = made.report().faults[0], made.report(4, 16, clip=False, seed=2, rates=1).faults[0]
    second = replace(second, name="dead of neurons", strength="rate")
    report = replace(made.report(), faults=[first, second])
    opened(page, tmp_path, report, 390)
    compared = page.text("#compared")
    assert "bit_flip of weights" in compared
    assert "dead of neurons" in compared
    assert page.text("#f2-kind-title") == "dead of neurons"
    for section in ("worst", "map", "ranking", "critical", "rates"):
        assert page.one(f"#{section}").is_displayed(), section
        assert page.one(f"#f2-{section}").is_displayed(), section
    assert not page.one("#f2-clip").is_displayed()
    assert second.layers[3].name in page.text("#f2-worst") + page.text("#f2-ranking")
    marks = "[...document.querySelectorAll('#f2-map .cell')]"
    page.click(page.run(f"return {marks}[{marks}.length - 1]"))
    assert "all together" in page.text("#f2-map-said")
    assert page.text("#map-said").startswith("the whole network:")
    assert page.run("return new Set([...document.querySelectorAll('[id]')].map(n => n.id)).size") == page.run(
        "return document.querySelectorAll('[id]').length"
    )
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    assert page.complaints() == []
