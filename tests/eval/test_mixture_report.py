"""The report about a mixture: means over ragged batches, agreement with the labels that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import bijectors as b
from jflows.data import ImageData, Reading, TableData, eval_batches, hide_labels
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.eval import cluster_scores, fit_gaussian_mixture, mixture_report
from jflows.flows import Flow, UniformDequantize, maf, mixture_of_flows, with_mixture_base
from jflows.nn import MLP
from tests.presets import filled

KEY = jax.random.key(0, impl="unsafe_rbg")
LABEL = np.arange(50) % 2
X = (np.random.RandomState(0).randn(50, 2) + 8 * LABEL[:, None] - 4).astype(np.float32)


def normals(encoder=None):
    component = Flow(b.ActNorm(), StandardNormal((2,)), (2,))
    mixture = mixture_of_flows(component, encoder, 2)
    return mixture, mixture.init(KEY, X, assignment=1 - LABEL)


def rows(label=LABEL, batch_size=50, data=None):
    data = TableData("rows", X, label) if data is None else data
    reading = Reading(data.kind, data.event_shape)
    return eval_batches(data, batch_size, reading if data.label is None else reading.with_labels())


def test_all_rows_count_once():
    mixture, variables = normals(MLP((4,)))
    report = mixture_report(mixture, variables, rows(batch_size=20))
    methods = (mixture.log_prob, mixture.elbo, mixture.responsibilities)
    log_prob, elbo, responsibilities = jax.jit(lambda v: [method(v, X) for method in methods])(variables)
    np.testing.assert_allclose(report.nats, np.mean(log_prob), rtol=1e-5)
    np.testing.assert_allclose(report.elbo, np.mean(elbo), rtol=1e-5)
    np.testing.assert_allclose(report.responsibilities, responsibilities, rtol=1e-5)
    wanted = 2 * 4 * np.log(50) - 2 * float(log_prob.sum())  # two normals
    assert report.num_parameters == 8 and report.bic == pytest.approx(wanted, rel=1e-5)
    assert report.use.effective_number == pytest.approx(2.0)  # the encoder starts undecided
    assert report.scores is not None and report.scores.accuracy == 0.5


def test_the_posterior_knows_the_clusters_it_started_from():
    mixture, variables = normals(MLP((4,)))
    report = mixture_report(mixture, variables, rows(), exact=True)
    assert report.scores.accuracy == 1.0
    np.testing.assert_array_equal(report.scores.matching, [1, 0])
    few = hide_labels(TableData("rows", X, LABEL), 3)
    np.testing.assert_array_equal(
        mixture_report(mixture, variables, rows(data=few), exact=True).scores.table, [[0, 3], [3, 0]]
    )
    assert mixture_report(mixture, variables, rows(None)).scores is None


def test_without_an_encoder_the_bound_is_tight():
    mixture, variables = normals()
    report = mixture_report(mixture, variables, rows())
    np.testing.assert_allclose(report.elbo, report.nats, rtol=1e-5)
    assert report.scores.accuracy == 1.0


@pytest.mark.slow
def test_integers_get_their_noise():
    pixels = np.random.RandomState(0).randint(0, 4, (6, 2, 2, 1)).astype(np.uint8)
    trunk = Flow(b.ActNorm(event_ndims=3), StandardNormal((2, 2, 1)), (2, 2, 1), UniformDequantize(2))
    mixture = with_mixture_base(trunk, 2)
    variables = filled(jax.eval_shape(mixture.init, KEY, jnp.asarray(pixels)), 0)
    data = ImageData("noise", pixels, num_bits=2)
    first = mixture_report(mixture, variables, eval_batches(data, 4))
    again = mixture_report(mixture, variables, eval_batches(data, 6))
    np.testing.assert_allclose(first.nats, again.nats, rtol=1e-5)
    assert mixture_report(mixture, variables, eval_batches(data, 6), jax.random.key(5)).nats != first.nats


@pytest.mark.parametrize(
    ("mixture", "error", "message"),
    [
        (maf((2,), 1, (4,)), InvalidTypeError, "`mixture` must be a MixtureOfFlows; got Flow"),
        (
            mixture_of_flows(maf((2,), 1, (4,), context_dim=1), None, 2),
            InvalidValueError,
            r"`mixture` must be without a context; got context_shape \(1,\)",
        ),
    ],
)
def test_bad_input(mixture, error, message):
    with pytest.raises(error, match=message):
        mixture_report(mixture, {}, rows())


def test_nothing_to_report_on():
    mixture, variables = normals()
    with pytest.raises(InvalidTypeError, match="`batches` must be batches; got TableData. Write jflows.data.eval_batc"):
        mixture_report(mixture, variables, TableData("rows", X))
    with pytest.raises(InvalidValueError, match="`batches` must hold at least one row; got none"):
        mixture_report(mixture, variables, [])


def test_a_gaussian_mixture_predicts_other_rows():
    found = fit_gaussian_mixture(X[:40], 2, num_starts=1)
    np.testing.assert_array_equal(found.predict(X[:40]), found.clusters)
    assert cluster_scores(LABEL[40:], found.predict(X[40:])).accuracy == 1.0
