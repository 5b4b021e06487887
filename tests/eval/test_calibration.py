"""Calibration: exact posteriors pass, narrow and wide ones do not, coverage by hand, ranks of a conditional flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jflows
from jflows import bijectors as b
from jflows.data import TableData, eval_batches
from jflows.distributions import ClassConditionalNormal, StandardNormal
from jflows.errors import InvalidValueError
from jflows.eval import Ranks, calibration, calibration_figure, ranks_of
from jflows.flows import UniformDequantize


def cases(seed, dim=2, width=1.0, shift=0.0, num=500, num_draws=99):
    """Ranks of draws of N(0, I) among those of a normal of another width and mean."""
    random = np.random.default_rng(seed)
    x, drawn = random.standard_normal((num, dim)), random.standard_normal((num_draws, num, dim)) * width + shift
    further = ((drawn - shift) ** 2).sum(axis=-1) > ((x - shift) ** 2).sum(axis=-1)
    return Ranks((drawn < x).sum(axis=0), further.sum(axis=0), num_draws)


def share_rejected(num, **settings):
    return np.mean(
        [calibration(cases(seed, **settings), num_sets=399, seed=seed).p_value <= 0.05 for seed in range(num)]
    )


def test_an_exact_posterior_passes_and_one_that_is_a_tenth_off_does_not():
    assert share_rejected(100) <= stats.binom(100, 0.05).isf(1e-4) / 100
    assert share_rejected(40, width=0.9) >= 0.9
    assert share_rejected(40, width=1 / 0.9) >= 0.9
    assert share_rejected(20, shift=0.25) >= 0.9


def test_width_place_and_coverage_say_in_which_way_a_density_is_wrong():
    narrow = calibration(cases(0, dim=3, width=0.8, num=20_000, num_draws=399))
    *dimensions, coverage = narrow.tests
    assert [test.name for test in narrow.tests] == ["0", "1", "2", "coverage"] and narrow.p_value == 4 / 2000
    for test in dimensions:
        assert test.width == pytest.approx(-2 * np.log(0.8), abs=0.08) and abs(test.place) < 0.05
    inside = stats.chi2(3).cdf(stats.chi2(3).ppf(narrow.levels) * 0.8**2)  # of the region that should hold `levels`
    np.testing.assert_allclose(narrow.coverage, inside, atol=0.015)
    assert coverage.width > 0.1 and coverage.ks > 0.1
    shifted = calibration(cases(1, shift=-0.3, num=5000)).tests[0]
    assert shifted.place == pytest.approx(0.3, abs=0.05) and shifted.ks == pytest.approx(0.12, abs=0.03)


def test_ranks_of_a_flow_have_the_contexts_of_their_rows(tmp_path):
    embed, label = jflows.nn.ClassEmbed(3), np.arange(200, dtype=np.int32) % 3
    flow = jflows.Flow(b.Identity(), ClassConditionalNormal((2,)), (2,), embed=embed, context_shape=())
    variables = jax.jit(flow.init)(jax.random.key(0), jnp.zeros((3, 2)), label[:3])
    leaves, tree = jax.tree.flatten(variables)
    moved = [leaf + 0.5 * (1 + np.arange(leaf.size).reshape(leaf.shape)) for leaf in leaves]
    variables = jax.tree.unflatten(tree, moved)
    x = np.asarray(jax.jit(flow.sample, static_argnums=2)(variables, jax.random.key(1), (), label))
    found = {}
    for name, own in (("right", label), ("wrong", label[::-1].copy())):
        data = TableData(name, x, label=own, num_classes=3)
        batches = eval_batches(data, 128, flow.reading)  # the last of which is padded
        found[name] = ranks_of(flow, variables, batches, jax.random.key(2), 49)
    assert found["right"].values.shape == (200, 2) and found["right"].density.shape == (200,)
    right, wrong = (calibration(ranks, num_sets=399) for ranks in found.values())
    assert right.p_value > 0.05 >= wrong.p_value and wrong.tests[-1].width > 0.2
    calibration_figure(right, found["right"], "right").savefig(tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (
            Ranks(np.zeros((1, 2), int), np.zeros(1, int), 9),
            r"shapes \[num, dim\] and \[num\], num >= 20; got .*\(1, 2\)",
        ),
        (Ranks(np.zeros((30, 2), int), np.zeros(29, int), 9), r"got shapes \(30, 2\) and \(29,\)"),
        (
            Ranks(np.full((30, 2), 10), np.zeros(30, int), 9),
            r"`ranks` must be integers in 0..9; got int64 from 0 to 10",
        ),
        (Ranks(np.full((30, 2), np.nan), np.zeros(30, int), 9), r"must be integers in 0..9; got float64 from nan"),
    ],
)
def test_what_is_no_rank_is_refused(ranks, message):
    with pytest.raises(InvalidValueError, match=message):
        calibration(ranks)


def test_integers_have_no_ranks():
    shape = (2, 2, 1)
    flow = jflows.Flow(b.Identity(event_ndims=3), StandardNormal(shape), shape, UniformDequantize(1))
    with pytest.raises(InvalidValueError, match="`flow` must be of data that are floats; got a flow of integers"):
        ranks_of(flow, {}, [], jax.random.key(0))
    with pytest.raises(InvalidValueError, match="`num_draws` must be at least 2; got 1"):
        ranks_of(flow, {}, [], jax.random.key(0), 1)
