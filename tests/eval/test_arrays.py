"""What is handed over as latents: arrays of anything but real numbers are refused in words of our own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.distributions import DiagonalNormal
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import (
    LaplacePosterior,
    Ranks,
    calibration,
    embedding_uncertainty,
    fit_base,
    joint_normal,
    laplace,
    pit_of,
    ranks_of,
    recalibrate,
    remove,
)
from jflows.eval import coherence as c
from jflows.eval.arrays import bad_rows, real_array, real_numbers, spread_of
from jflows.eval.latent_tests import latent_null, latent_tests, latents_of
from jflows.eval.modes import dip, fit_student_t, mixture_gain, modality, modality_null
from jflows.flows import with_base
from tests.presets import filled

Z = np.random.default_rng(0).standard_normal((60, 2))
HALF = Z[:, 0] > 0
RANKS = np.tile(np.arange(60)[:, None] % 10, (1, 2))
WRONG = {
    "complex": Z + 1j,
    "text": np.full(Z.shape, "a"),
    "objects": np.full(Z.shape, {}),
    "dates": np.full(Z.shape, np.datetime64("2020-01-01")),
    "durations": np.full(Z.shape, np.timedelta64(1, "s")),
    "ragged": [[1.0, 2.0], [3.0]] * 30,
}


@pytest.fixture(scope="module")
def nulls():
    return latent_null(60, 2, num_sets=19), modality_null(60, 2, num_sets=19)


@pytest.fixture(scope="module")
def flow():
    flow = jflows.realnvp((2,), num_layers=1, hidden_sizes=(4,))
    return flow, filled(jax.eval_shape(flow.init, jax.random.key(0), Z[:4]), 0)


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_real_number_is_refused_everywhere(kind, nulls, flow):
    wrong, base = WRONG[kind], c.normal_base((2,))
    calls = (
        lambda: latent_tests(wrong, nulls[0]),
        lambda: modality(wrong, nulls[1]),
        lambda: modality_null(60, 2, None, wrong),
        lambda: latent_null(60, 2, lambda key: wrong, num_sets=19),
        lambda: recalibrate(*flow, wrong, Z),
        lambda: recalibrate(*flow, Z, wrong),
        lambda: joint_normal(wrong, Z),
        lambda: joint_normal(Z, Z[::-1]).second_given_first(wrong),
        lambda: remove(lambda u: np.full(len(u), 0.5), wrong),
        lambda: remove(lambda u: wrong, np.tile(Z, (2, 1))),
        lambda: calibration(Ranks(wrong, RANKS[:, 0], 9), num_sets=19),
        lambda: calibration(Ranks(RANKS, RANKS[:, 0], 9), wrong, num_sets=19),
        lambda: fit_student_t(wrong),
        lambda: mixture_gain(wrong),
        lambda: dip(wrong),
        lambda: c.gaussian_gamma((2,)).update(wrong),
        lambda: c.attribute_plane(wrong, HALF, Z, HALF),
        lambda: c.class_table(wrong, HALF.astype(int), Z, HALF.astype(int), names=("a", "b")),
        lambda: base.radius(wrong),
        lambda: base.log_prob(wrong, None),
        lambda: c.deviation_points(base, wrong),
        lambda: c.along(wrong, np.ones(2)),
        lambda: c.along(Z, wrong),
    )
    for call in calls:
        with pytest.raises((InvalidValueError, DataError), match=r": `\w+` must "):
            call()


def test_all_floats_and_integers_are_real_numbers():
    for dtype in (np.float16, jnp.bfloat16, np.int8, np.uint16, bool, object):
        found = real_numbers("f", "x", Z.astype(dtype))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, Z.astype(dtype).astype(np.float64))
    assert real_array("f", "x", Z.astype(np.float16)).dtype == np.float16
    assert bad_rows(np.ones((3, 2), np.uint8)) == bad_rows(Z.astype(np.float16)) == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.inf, "NaN or infinite entries in 1 of 60 rows"), (1e16, r"entries beyond 1e\+15 in 1 of")],
)
def test_latents_that_float32_cannot_square_have_no_p_value(value, message, nulls):
    z = Z.copy()
    z[3, 1] = value
    for call in (lambda: latent_tests(z, nulls[0]), lambda: modality(z, nulls[1])):
        with pytest.raises(InvalidValueError, match=message + ".*first of which is row 3"):
            call()
    with pytest.raises(InvalidValueError, match=r"`draw` must draw finite latents of at most 1e\+15 in size"):
        latent_null(60, 2, lambda key: z, num_sets=19)


def test_constant_dimensions_have_p_values_and_no_modes(nulls):
    z = np.stack([Z[:, 0], np.full(60, 0.1)], axis=1)
    assert z[:, 1].std() > 0  # by rounding
    np.testing.assert_array_equal(spread_of(z) > 0, [True, False])
    for latents in (z, 0 * z):
        report = modality(latents, nulls[1])
        assert min(report.p_value, *(test.p_value for test in report.tests)) >= 0.05
        assert np.isfinite([test.value for test in report.tests]).all()
    assert mixture_gain(np.ones(40)) == 0


def test_constant_dimensions_are_refused_though_rounding_makes_them_vary(flow):
    z = np.stack([Z[:, 0], np.full(60, 0.1)], axis=1)
    for kind in ("diagonal", "student_t", "classes"):
        with pytest.raises(DataError, match="`latents` must vary in each dimension; got 1 dimensions .*, first 1"):
            fit_base(*flow, z, kind, HALF.astype(int))
    with pytest.raises(DataError, match="`first` must vary in each dimension"):
        joint_normal(z, Z)


def test_the_gain_does_not_depend_on_shift_and_scale():
    values = np.where(HALF, 4, 0) + Z[:, 1]
    np.testing.assert_allclose(mixture_gain(1e6 + 0.01 * values), mixture_gain(values), rtol=1e-4)


def test_wrong_latents_of_other_shapes_are_refused(flow):
    base, gone = c.normal_base((2,)), remove(lambda u: np.full(len(u), 0.5), np.tile(Z, (2, 1)))
    calls = (
        (lambda: base.radius(Z[:, 0]), r"LatentBase.radius: `latents` must be numbers of the shape \[num, 2\]; got"),
        (
            lambda: base.log_prob(Z[0], None),
            r"`latents` must be numbers of shape \[num, 2\]; got float64 of shape \(2,\)",
        ),
        (lambda: c.deviation_points(base, Z), r"`deviations` must be finite numbers \[num\]; got shape \(60, 2\)"),
        (lambda: joint_normal(Z[:, :0], Z), r"`first` must be numbers of the shape \[num, dim\]; got \(60, 0\)"),
        (
            lambda: gone.log_prob(Z, np.ones((60, 1))),
            r"`base_log_prob` must be numbers \[num\], .*; got \(60, 1\) for 60",
        ),
        (lambda: gone.accepts(Z[:0]), r"Removed.acceptance: `latents` must be numbers \[num, \*latent_shape\]; got"),
        (lambda: remove(lambda u: u[:, 0], 0 * Z + np.nan), "remove: `draws` must be"),
        (
            lambda: fit_base(*flow, Z, "classes", -HALF.astype(int)),
            "must be integers from 0 .* got .* stands for no class",
        ),
    )
    for call, message in calls:
        with pytest.raises((InvalidValueError, DataError), match=message):
            call()
    with pytest.raises(InvalidTypeError, match="remove: `probability` must be a function of latents; got float"):
        remove(0.5, Z)


def test_what_is_no_flow_and_no_rows_are_refused(flow):
    key = jax.random.key(0)
    mixture = jflows.vmonf((2,), num_components=2)
    posterior = LaplacePosterior(flow[1], flow[1]["params"], 1.0, 1, 1.0)
    calls = (
        ("latents_of", lambda own: latents_of(own, flow[1], [], key)),
        ("ranks_of", lambda own: ranks_of(own, flow[1], [], key)),
        ("pit_of", lambda own: pit_of(own, flow[1], [], key)),
        ("embedding_uncertainty", lambda own: embedding_uncertainty(own, posterior, [], key)),
        ("laplace", lambda own: laplace(own, flow[1], [], key)),
    )
    for where, call in calls:
        for wrong in (None, mixture):
            with pytest.raises(InvalidTypeError, match=f"{where}: `flow` must be a Flow, which has one latent space"):
                call(wrong)
        with pytest.raises(InvalidValueError, match=f"{where}: `batches` must hold rows"):
            call(flow[0])
    with pytest.raises(InvalidTypeError, match="recalibrate: `flow` must be a Flow"):
        recalibrate(mixture, {}, Z, Z)
    with pytest.raises(InvalidTypeError, match="`posterior` must be a LaplacePosterior; got dict"):
        embedding_uncertainty(flow[0], flow[1], [], key)
    with pytest.raises(InvalidTypeError, match="ranks_of: `key` must be a typed key; got int"):
        ranks_of(*flow, [], 0)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({}, InvalidValueError, r"must be the parameters of DiagonalNormal: log_std \(2,\), mean \(2,\); got none"),
        ({"mean": np.ones(3), "log_std": np.ones(2)}, InvalidValueError, r"got log_std \(2,\), mean \(3,\)"),
        ({"mean": np.ones(2), "log_std": np.ones(2), "df": 1.0}, InvalidValueError, r"got df \(\), log_std"),
        (None, InvalidTypeError, "with_base: `params` must be a mapping of names to arrays; got NoneType"),
    ],
)
def test_a_base_takes_just_its_own_parameters(params, error, message, flow):
    with pytest.raises(error, match=message):
        with_base(*flow, DiagonalNormal((2,)), params)
