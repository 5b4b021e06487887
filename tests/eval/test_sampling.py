"""Samples in chunks: the same bits for every size of chunks, in memory that does not grow with their number."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jflows
from jflows.eval import sample_in_chunks, sampling
from tests.presets import filled

KEY = jax.random.key(3)
ROWS = jflows.nsf_coupling((3,), num_layers=2, hidden_sizes=(8,))
LABELLED = jflows.realnvp((2,), num_layers=2, hidden_sizes=(8,), context_dim=1)
IMAGES = jflows.glow((4, 4, 1), num_levels=1, num_steps=1, width=4)
SMALL = functools.partial(jflows.realnvp, num_layers=1, hidden_sizes=(4,))
MIXTURE = jflows.vmonf((2,), num_components=2, component=SMALL, encoder_sizes=(4,))


def started(density):
    x = np.random.default_rng(0).uniform(0, 256, (16, *density.event_shape))
    context = None if density.context_shape is None else jnp.ones((16, *density.context_shape))
    return filled(jax.eval_shape(density.init, KEY, x if density.dequantize is None else x.astype(int), context), 0)


@pytest.mark.parametrize(
    ("density", "size", "context"),
    [(ROWS, 40, None), (LABELLED, 40, "own"), (IMAGES, 3, None), (MIXTURE, 40, None)],
    ids=["rows", "contexts", "images", "mixture"],
)
def test_chunks_of_every_size_hold_the_same_bits(density, size, context, monkeypatch):
    """And so does a smaller number of samples, on eight devices as on one."""
    monkeypatch.setattr(sampling, "ROWS", 16)
    variables = started(density)
    given = None if context is None else np.random.default_rng(0).normal(size=(size, 1))

    def drawn(num, chunk_size):
        own = None if given is None else given[:num]
        return list(sample_in_chunks(density, variables, KEY, num, own, chunk_size=chunk_size))

    with jax.default_device(jax.devices()[0]):
        whole = np.concatenate(drawn(size, size))
    assert len(np.unique(whole, axis=0)) > 1
    for num, chunk_size in ((size, 1), (size, 7), (size, None), (size, 10**9), (2, 2)):
        chunks = drawn(num, chunk_size)
        np.testing.assert_array_equal(np.concatenate(chunks), whole[:num])
        if chunk_size is not None:
            full, rest = divmod(num, chunk_size)
            assert [len(chunk) for chunk in chunks] == [chunk_size] * full + [rest] * bool(rest)


def test_the_planned_memory_is_that_of_one_block_however_many_are_drawn(monkeypatch):
    variables, traced, program = started(ROWS), [], sampling.draw_block
    monkeypatch.setattr(sampling, "ROWS", 16)
    monkeypatch.setattr(sampling, "draw_block", Seen(program, traced))
    for num in (20, 2000):
        assert sum(map(len, sample_in_chunks(ROWS, variables, KEY, num))) == num
    planned = [program.lower(*given).compile().memory_analysis().temp_size_in_bytes for given in traced]
    at_once = jax.jit(lambda variables: ROWS.sample(variables, KEY, (2000,))).lower(variables).compile()
    assert planned[0] == planned[1] < at_once.memory_analysis().temp_size_in_bytes / 50


class Seen:
    """A program that notes with what it is traced, before its first block."""

    def __init__(self, program, traced):
        self.program, self.traced = program, traced

    def trace(self, *given):
        self.traced.append(given)
        return self.program.trace(*given)

    def __call__(self, *given):
        return self.program(*given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 0}, "sample_in_chunks: `num` must be at least 1; got 0"),
        ({"chunk_size": 0}, "`chunk_size` must be at least 1; got 0"),
        ({"temperature": -1.0}, "`temperature` must be at least 0"),
        ({"component": 0}, "`component` is for mixtures; got 0"),
        ({"density": MIXTURE, "component": 2}, r"`component` must be an int in 0\.\.1; got 2"),
        ({"density": MIXTURE, "component": -1}, r"`component` must be an int in 0\.\.1; got -1"),
        ({"context": np.ones((5, 1))}, r"`context` must be None; got shape \(5, 1\)"),
        ({"density": LABELLED}, r"`context` must be of shape \(5, 1\), a row a sample; got None"),
        ({"density": LABELLED, "context": np.ones((6, 1))}, r"a row a sample; got shape \(6, 1\)"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_drawn(options, message):
    with pytest.raises(jflows.InvalidValueError, match=message):
        sample_in_chunks(**{"density": ROWS, "variables": {}, "key": KEY, "num": 5, **options})
