"""Quantities read, round and write back as the API reference says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hawser.api import quantity
from hawser.api.quantity import Format, Quantity


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("100", "100"),
        ("1500", "1500"),
        ("1000k", "1M"),
        ("12e4", "120e3"),
        ("1e3", "1e3"),
        ("1E", "1E"),
        ("1E3", "1e3"),
        ("0", "0"),
        ("0Gi", "0"),
        ("0.5Ki", "512"),
        ("-1.5", "-1500m"),
        ("+2", "2"),
        (".5", "500m"),
        ("5.", "5"),
        ("0.0000000001", "1n"),
        ("16Ei", "9223372036854775807"),
        (" 1 ", "1"),
        (3, "3"),
        (0.1, "100m"),
        (Decimal("2.5"), "2500m"),
    ],
)
def test_a_quantity_is_written_back_in_canonical_form(written: quantity.Number, canonical: str) -> None:
    assert quantity.canonical(written) == canonical


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("", quantity.WRONG_FORMAT),
        ("abc", quantity.WRONG_FORMAT),
        ("1.2.3", quantity.WRONG_FORMAT),
        ("1 Gi", quantity.WRONG_FORMAT),
        ("m", quantity.WRONG_NUMBER),
        (".", quantity.WRONG_NUMBER),
        ("1kk", quantity.WRONG_SUFFIX),
        ("1e", quantity.WRONG_SUFFIX),
        ("1e999999999", quantity.WRONG_SUFFIX),
        (True, quantity.WRONG_FORMAT),
        (float("inf"), quantity.WRONG_FORMAT),
    ],
)
def test_what_is_no_quantity_is_refused_in_kubernetes_words(written: quantity.Number, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        quantity.parse_quantity(written)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("written", "thousandths", "whole"),
    [("250m", 250, 1), ("1.5", 1500, 2), ("100u", 1, 1), ("64Mi", 67108864000, 67108864), ("2k", 2000000, 2000)],
)
def test_millicores_and_bytes_are_rounded_up(written: str, thousandths: int, whole: int) -> None:
    assert quantity.milli(written) == thousandths
    assert quantity.to_bytes(written) == whole


def test_sums_keep_the_suffix_family_of_the_left_operand() -> None:
    assert quantity.add("1Gi", "512Mi") == "1536Mi"
    assert quantity.add("1G", "1Gi") == "2073741824"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert quantity.subtract("1", "250m") == "750m"
    assert quantity.format_quantity(2**30, Format.BINARY) == "1Gi"
    assert quantity.format_quantity(1500) == "1500"


def test_quantities_compare_by_amount() -> None:
    assert quantity.compare("1", "1000m") == 0
    assert quantity.compare("1Gi", "1G") == 1
    assert quantity.compare("1m", "1") == -1


_SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3"]


@given(st.integers(-(10**9), 10**9), st.sampled_from(_SUFFIXES))
def test_the_canonical_form_is_a_fixed_point_of_equal_amount(number: int, suffix: str) -> None:
    read = Quantity.parse(f"{number}{suffix}")
    again = Quantity.parse(str(read))
    assert again.amount == read.amount
    assert str(again) == str(read)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(_SUFFIXES), st.sampled_from(_SUFFIXES))
def test_subtracting_undoes_adding(a: int, b: int, left: str, right: str) -> None:
    x, y = Quantity.parse(f"{a}{left}"), Quantity.parse(f"{b}{right}")
    assert (x + y - y).amount == x.amount
