"""Nats of scaled pixels and bits per dimension: exact both ways, with the numbers that NICE states."""

import numpy as np
import pytest

import jflows
from jflows.cli.results import scaled_in_words
from jflows.errors import InvalidValueError
from jflows.eval import Evaluation, bits_from_nats, nats_from_bits


@pytest.mark.parametrize(
    ("nats", "dims", "scale", "bits"), [(1980.50, 784, "[0, 1]", 4.36), (5371.78, 3072, "[-1, 1]", 4.48)]
)
def test_numbers_of_nice(nats, dims, scale, bits):
    found = bits_from_nats(nats, dims, scale)
    assert round(found, 2) == bits
    assert nats_from_bits(found, dims, scale) == pytest.approx(nats, rel=1e-13)


@pytest.mark.parametrize(("scale", "length"), [("[0, 1]", 1), ("[-1, 1]", 2)])
@pytest.mark.parametrize("num_bits", [1, 5, 8])
def test_a_uniform_density_has_the_log_of_its_height(scale, length, num_bits):
    """Pixels that are uniform on the interval take `num_bits` bits each, and have the density 1 / length."""
    assert nats_from_bits(float(num_bits), 10, scale, num_bits) == pytest.approx(-10 * np.log(length), abs=1e-12)


def test_the_two_scales_are_d_log_2_apart_and_arrays_are_mapped():
    bits = np.array([3.0, 4.5])
    gap = nats_from_bits(bits, 3072, "[0, 1]") - nats_from_bits(bits, 3072, "[-1, 1]")
    np.testing.assert_allclose(gap, 3072 * np.log(2))


def test_another_scale_is_refused():
    with pytest.raises(InvalidValueError, match=r"`scale` must be one of '\[0, 1\]', '\[-1, 1\]'; got '\[0, 255\]'"):
        nats_from_bits(1.0, 784, "[0, 255]")
    with pytest.raises(InvalidValueError, match="bits_from_nats: `num_dims` must be at least 1; got 0"):
        bits_from_nats(1.0, 0, "[0, 1]")


def test_scores_of_images_are_printed_in_both_scales():
    score = Evaluation(4.36, 0.01, -2369.4, 5.4, 100, 100.0)
    flow = jflows.nice_images((28, 28, 1), 2, (4,))
    (line,) = scaled_in_words(score, flow)
    assert line == (
        "this score amounts to 1978.08 ± 5.40 nats of pixels scaled to [0, 1], "
        "or to 1434.65 ± 5.40 nats of pixels scaled to [-1, 1]"
    )
    assert scaled_in_words(score, jflows.nice((784,), 2, (4,))) == []
