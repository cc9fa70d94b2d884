"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vilfredo.units import between, duration, show


@pytest.mark.parametrize(
    ("value", "unit", "sd", "text"),
    [
        (0.0231, "fraction", 0, "2.31 %"),
        (0.0231, "fraction", 0.0024, "2.3 % ± 0.2"),
        (0.1, "fraction", 0, "10 %"),
        (0.00042, "fraction", 0, "0.0420 %"),
        (0.0012, "s", 0.0001, "1.20 ms ± 0.10"),
        (0.0012, "s", 0.0003, "1.2 ms ± 0.3"),
        (0.002, "s", 0, "2 ms"),
        (34_512, "count", 0, "34.5 k"),
        (999, "count", 0, "999"),
        (999_700, "count", 0, "1.00 M"),
        (1_234_567, "count", 0, "1.23 M"),
        (12_288, "B", 0, "12 KiB"),
        (1000, "B", 0, "1000 B"),
        (3.4e-6, "J", 0, "3.40 µJ"),
        (340.0, "s", 0, "5.67 min"),
        (90.0, "s", 0, "90 s"),
        (0, "s", 0, "0 s"),
        (0, "J", 0, "0 J"),
        (0.5, "", 0, "0.500"),
        (-12.345, "", 0, "-12.3"),
        (1.5e-7, "", 0, "1.50e-7"),
        (21.5, "mm", 0.5, "21.5 mm ± 0.5"),
        (4096, "count", 300, "4.1 k ± 0.3"),
        (None, "s", 0, "–"),
        (math.inf, "s", 0, "–"),
    ],
)
def test_show(value, unit, sd, text):
    assert show(value, unit, sd) == text


def test_between_and_duration():
    assert between(1.2e-6, 3.4e-6, "J") == "1.20–3.40 µJ"
    assert between(1.2e-8, 1.72e-6, "J") == "12 nJ – 1.72 µJ"
    assert between(None, 1.0, "J") == "–"
    assert [duration(x) for x in (0.0042, 4.2, 59.96, 192, 3840, 183600)] == [
        "4.20 ms",
        "4.2 s",
        "1 min 00 s",
        "3 min 12 s",
        "1 h 04 min",
        "2 d 03 h",
    ]


@given(st.floats(allow_nan=True), st.sampled_from(["s", "J", "B", "count", "fraction", "", "mm"]))
def test_every_float_is_shown(value, unit):
    text = show(value, unit, 0.1)
    assert text
    assert "nan" not in text
    assert "inf" not in text
