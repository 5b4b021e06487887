"""Calibration: exact posteriors pass, wrong ones do not, coverage by hand, ranks and latents of a conditional flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jflows
from jflows import bijectors as b
from jflows.data import TableData, eval_batches
from jflows.distributions import ClassConditionalNormal, NormalMixture, StandardNormal, Uniform
from jflows.errors import InvalidValueError
from jflows.eval import Ranks, calibration, calibration_figure, pit_of, ranks_of
from jflows.flows import UniformDequantize


def cases(seed, dim=2, width=1.0, shift=0.0, num=500, num_draws=99):
    """Ranks of draws of N(0, I) among those of a normal of another width and mean."""
    random = np.random.default_rng(seed)
    x, drawn = random.standard_normal((num, dim)), random.standard_normal((num_draws, num, dim)) * width + shift
    further = ((drawn - shift) ** 2).sum(axis=-1) > ((x - shift) ** 2).sum(axis=-1)
    return Ranks((drawn < x).sum(axis=0), further.sum(axis=0), num_draws), stats.norm.cdf(x, shift, width)


def shares_rejected(num, **settings):
    """By ranks alone, by the transform alone, and together."""
    found = [calibration(*cases(seed, **settings), num_sets=399, seed=seed // 20) for seed in range(num)]
    p_values = np.array([(each.ranks_p_value, each.pit_p_value, each.p_value) for each in found])
    return (p_values <= 0.05).mean(axis=0)


def test_an_exact_posterior_passes_and_one_that_is_a_tenth_off_does_not():
    assert (shares_rejected(100) <= stats.binom(100, 0.05).isf(1e-4) / 100).all()
    assert (shares_rejected(40, width=0.9) >= 0.9).all()
    assert (shares_rejected(40, width=1 / 0.9) >= 0.9).all()
    assert (shares_rejected(20, shift=0.25) >= 0.9).all()


def test_the_transform_finds_in_one_dimension_what_ranks_alone_miss():
    ranks, transform, both = shares_rejected(200, dim=1, width=0.9)  # 0.869, 0.926 and 0.917 over 1,000 seeds
    assert both >= 0.87 and transform >= ranks + 0.01


def test_the_p_value_of_the_transform_is_a_rank_among_uniform_sets():
    u = np.random.default_rng(0).random((200, 3))
    ranks = cases(0, dim=3, num=200)[0]
    assert calibration(ranks, u, num_sets=59).pit_p_value > 0.05
    u[:, 1] = np.sqrt(u[:, 1])
    found = calibration(ranks, u, num_sets=59)
    assert found.pit_p_value == 1 / 60 and found.p_value == pytest.approx(1 / 60 / 0.85)
    assert [test.name for test in found.pit] == ["0", "1", "2", "all"]
    assert found.pit[1].p_value == 1 / (1 + 59 * 3) and found.pit[0].p_value > 0.02 < found.pit[2].p_value
    g = stats.norm.ppf(u)
    assert found.pit[1][1:4] == pytest.approx(
        (np.log(np.mean(g[:, 1] ** 2)), g[:, 1].mean(), stats.kstest(u[:, 1], "uniform").statistic)
    )
    assert found.pit[3].ks == pytest.approx(stats.kstest(u.ravel(), "uniform").statistic)


def test_width_place_and_coverage_say_in_which_way_a_density_is_wrong():
    narrow = calibration(cases(0, dim=3, width=0.8, num=8000, num_draws=399)[0], num_sets=399)
    *dimensions, coverage = narrow.tests
    assert [test.name for test in narrow.tests] == ["0", "1", "2", "coverage"] and narrow.p_value == 4 / (1 + 4 * 399)
    assert narrow.pit == () and narrow.pit_p_value is None
    for test in dimensions:
        assert test.width == pytest.approx(-2 * np.log(0.8), abs=0.08) and abs(test.place) < 0.05
    inside = stats.chi2(3).cdf(stats.chi2(3).ppf(narrow.levels) * 0.8**2)  # of the region that should hold `levels`
    np.testing.assert_allclose(narrow.coverage, inside, atol=0.02)
    assert coverage.width > 0.1 and coverage.ks > 0.1
    shifted = calibration(cases(1, shift=-0.3, num=5000)[0]).tests[0]
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
        u = pit_of(flow, variables, eval_batches(data, 128, flow.reading), jax.random.key(3))
        found[name] = ranks_of(flow, variables, batches, jax.random.key(2), 49), u
    (ranks, u), params = found["right"], variables["params"]["base"]
    assert ranks.values.shape == (200, 2) and ranks.density.shape == (200,)
    np.testing.assert_allclose(u, stats.norm.cdf(x, params["mean"][label], np.exp(params["log_std"][label])), rtol=1e-5)
    np.testing.assert_allclose(ranks.values / 49, u, atol=0.35)  # ranks are the transform, with the noise of draws
    right, wrong = (calibration(*each, num_sets=399) for each in found.values())
    assert right.p_value > 0.05 >= max(wrong.ranks_p_value, wrong.pit_p_value) and wrong.tests[-1].width > 0.2
    sizes = []
    for name, own in (("ranks", None), ("both", u)):
        calibration_figure(right, ranks, name, own).savefig(tmp_path / f"{name}.png")
        sizes.append((tmp_path / f"{name}.png").stat().st_size)
    assert 10_000 < sizes[0] < sizes[1]


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


@pytest.mark.parametrize(
    ("pit", "message"),
    [
        (np.zeros((29, 2)), r"`pit` must be of the shape \[30, dim\], as ranks; got \(29, 2\)"),
        (np.zeros(30), r"got \(30,\)"),
        (np.where(np.eye(30, 2) > 0, np.nan, 0.5), r"must lie in \[0, 1\]; got NaN or other numbers in 2 of 30 rows"),
        (np.where(np.eye(30, 2) > 0, 1.5, 0.5), r"in 2 of 30 rows. Leave these rows out, of ranks too"),
    ],
)
def test_what_is_no_transform_is_refused(pit, message):
    with pytest.raises(InvalidValueError, match=message):
        calibration(Ranks(np.zeros((30, 2), int), np.zeros(30, int), 9), pit)


def test_the_transform_needs_a_base_whose_distribution_functions_are_known():
    flow = jflows.Flow(b.Identity(), NormalMixture((2,), 3), (2,))
    with pytest.raises(
        InvalidValueError, match="pit_of: `flow` must have a base that is a product .* of NormalMixture"
    ):
        pit_of(flow, {}, [], jax.random.key(0))
    uniform = jflows.Flow(b.Identity(), Uniform((2,), -1.0, 1.0), (2,))
    x = np.random.default_rng(0).uniform(-1, 1, (9, 2))
    batches = list(eval_batches(TableData("u", x), 9, uniform.reading))
    u = pit_of(uniform, uniform.init(jax.random.key(0), x), batches, jax.random.key(0))
    np.testing.assert_allclose(u, (np.asarray(batches[0].x) + 1) / 2, rtol=1e-6)


def test_integers_have_no_ranks():
    shape = (2, 2, 1)
    flow = jflows.Flow(b.Identity(event_ndims=3), StandardNormal(shape), shape, UniformDequantize(1))
    with pytest.raises(InvalidValueError, match="`flow` must be of data that are floats; got a flow of integers"):
        ranks_of(flow, {}, [], jax.random.key(0))
    with pytest.raises(InvalidValueError, match="pit_of: `flow` must be of data that are floats"):
        pit_of(flow, {}, [], jax.random.key(0))
    with pytest.raises(InvalidValueError, match="`num_draws` must be at least 2; got 1"):
        ranks_of(flow, {}, [], jax.random.key(0), 1)
