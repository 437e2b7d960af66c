"""Bands of neighbours: a fixed number of probes for any depth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from annealnet.compression.measuring.bands import bands, mended


@given(st.integers(0, 200))
def test_bands_are_six_at_most_hold_every_part_in_order_and_are_even(count):
    parts = [str(number) for number in range(count)]
    found = bands(parts)
    assert [part for band in found for part in band] == parts
    assert len(found) == min(count, 6)
    if count >= 6:
        assert found[0] == parts[:1]
        assert found[-1] == parts[-1:]
        sizes = [len(band) for band in found[1:-1]]
        assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.floats(0, 10), max_size=40), st.floats(0.1, 2))
def test_a_common_share_that_is_mended_is_found(values, share):
    first = {str(number): value for number, value in enumerate(values)}
    probed: list[list[str]] = []

    def probe(band: list[str]) -> float:
        probed.append(band)
        return share * sum(first[part] for part in band)

    found = mended(first, probe)
    assert set(found) == set(first)
    assert all(abs(found[part] - share * value) <= 1e-9 * max(1, value) for part, value in first.items())
    unknown = [part for part, value in first.items() if value == 0]
    assert all([part] in probed for part in unknown)
    assert len(probed) <= 6 + len(unknown)
