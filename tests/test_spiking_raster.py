"""Rasters: every spike is seen, in text of the asked width and in a picture of its own."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.spiking import SpikingNetwork
from vilfredo.spiking.raster import lines, raster, svg, text, tick


def network(size: int = 5, inputs=(3, 0), outputs=(4,), **rest) -> SpikingNetwork:
    return SpikingNetwork.build([(i, {"Threshold": 1}) for i in range(size)], [], inputs, outputs, **rest)


def test_inputs_then_hidden_then_outputs():
    names = {3: "left", 1: "middle of the road here"}
    shown = raster(network(names=names), {3: [0, 4], 1: [2], 4: [1.0, 9.0, 10.0]}, 10)
    assert [(row.number, row.role, row.times) for row in shown.rows] == [
        (3, "input", (0, 4)),
        (0, "input", ()),
        (1, "hidden", (2,)),
        (2, "hidden", ()),
        (4, "output", (1, 9)),
    ]
    assert text(shown, 60).splitlines() == [
        "in  3 left              │···│····· 2",
        "in  0                   ·········· 0",
        "    1 middle of the r…  ··│······· 1",
        "    2                   ·········· 0",
        "out 4                   ·│·······│ 2",
        "                        '    '",
        "                        0    5",
    ]
    assert text(shown, 60, plain=True).isascii()


def test_an_output_that_is_an_input_too_is_shown_once():
    shown = raster(network(inputs=(0, 4), outputs=(4, 2)), {}, 3)
    assert [(row.number, row.role) for row in shown.rows] == [
        (0, "input"), (1, "hidden"), (3, "hidden"), (4, "output"), (2, "output"),
    ]  # fmt: skip


def test_hidden_neurons_that_fired_least_are_left_out():
    shown = raster(network(8, (0,), (1,)), {2: [1], 5: [1, 2], 7: [3]}, 9, most=4)
    assert [row.number for row in shown.rows] == [0, 2, 5, 1]
    assert shown.left_out == 4
    assert "… and 4 hidden neurons that fired less" in text(shown)
    assert "and 4 hidden neurons that fired less" in svg(shown)
    assert len(raster(network(8, (0,), (1,)), {}, 9, most=1).rows) == 2


def test_many_timesteps_share_cells():
    shown = raster(network(2, (0,), (1,)), {0: range(0, 200, 2), 1: [199]}, 200)
    first, last, *axis = (line for _, line in lines(shown, 40))
    assert first == "in  0  ▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄▄ 100"
    assert last == "out 1  ···················▁   1"
    assert axis[-1].strip() == "10 timesteps in each cell"
    assert axis[1].split() == ["0", "100"]
    assert text(shown, 40, plain=True).startswith("in  0  44444444444444444444 100")


@given(
    st.integers(1, 2000),
    st.integers(30, 200),
    st.lists(st.integers(0, 1999), max_size=40),
    st.booleans(),
)
def test_text_fits_and_shows_every_spike(steps, width, times, plain):
    shown = raster(network(3, (0,), (1,), names={0: "a name"}), {0: times, 2: []}, steps)
    found = lines(shown, width, plain)
    assert max(len(line) for _, line in found) <= max(width, 40)
    row = found[0][1]
    cells = row.split("  ")[-1].rsplit(" ", 1)[0].strip()
    seen = sum(c not in ".·" for c in cells)
    within = {t for t in times if t < steps}
    assert bool(seen) == bool(within)
    assert seen <= len(within)
    assert row.split()[-1] == str(sum(t < steps for t in times))


@given(st.integers(1, 10**6), st.integers(1, 500))
def test_ticks_are_round_and_few(length, parts):
    step = tick(length, parts)
    assert str(step).rstrip("0") in ("1", "2", "5")
    assert length / step <= parts


def test_a_picture_of_its_own():
    shown = raster(network(names={3: "a<b>&\"c'"}), {3: [0, 4], 4: [1]}, 10)
    picture = svg(shown, 600, title="net <1>")
    root = ElementTree.fromstring(picture)
    assert root.get("width") == "600"
    assert root.get("role") == "img"
    assert "net <1>: 3 spikes of 5 neurons in 10 timesteps" in root.get("aria-label", "")
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme:dark" in picture
    space = "{http://www.w3.org/2000/svg}"
    marks = [path for path in root.iter(f"{space}path") if "spikes" in path.get("class", "")]
    assert [path.get("d", "").count("M") for path in marks] == [2, 1]
    titles = [title.text for title in root.iter(f"{space}title")]
    assert titles[0] == "input neuron 3 a<b>&\"c': 2 spikes"
    assert titles[-1] == "output neuron 4: 1 spike"
    words = {element.text for element in root.iter(f"{space}text")}
    assert {"input", "hidden", "output", "timestep", "net <1>", "0", "10"} <= words


@pytest.mark.parametrize("size", [2, 60, 300])
def test_pictures_of_all_sizes_stay_within_their_frame(size):
    rng = np.random.default_rng(size)
    spikes = {i: rng.integers(0, 5000, 100).tolist() for i in range(size)}
    root = ElementTree.fromstring(svg(raster(network(size, (0,), (1,)), spikes, 5000), 800))
    height = float(root.get("height", "0"))
    for element in root.iter():
        if element.get("y"):
            assert 0 <= float(element.get("y", "0")) <= height
        if element.get("x"):
            assert 0 <= float(element.get("x", "0")) <= 800


def test_nothing_to_show():
    empty = SpikingNetwork.build([], [], [], [])
    shown = raster(empty, {}, 0)
    assert text(shown).split() == ["'", "0"]
    ElementTree.fromstring(svg(shown))
