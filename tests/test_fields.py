"""Every field of every module refuses what its annotation does not allow, by name, where the module is made."""

import jax
import jax.numpy as jnp
import pytest

from jflows.bijectors import Affine, Coupling
from jflows.errors import InvalidTypeError, InvalidValueError, JflowsError
from jflows.flows import UniformDequantize, realnvp
from jflows.modules import Module, held_modules
from jflows.nn import MLP
from jflows.options import Checked, settings_of
from tests.cases import CASES
from tests.distributions.cases import CASES as BASES

ANYTHING = (2.5, True, "x", None, -1, 0, -(10**30), (), (0,), (2.5,), ("x",), int, b"x")


def modules() -> list[Module]:
    """One module of each class that the registered cases hold."""
    found = {}

    def walk(module):
        found.setdefault(type(module), module)
        for _, part in held_modules(module):
            walk(part)

    for module in (*(case.make() for case in CASES), *(case.make(case.event_shape) for case in BASES)):
        walk(module)
    walk(UniformDequantize())
    return [module for module in found.values() if isinstance(module, Module)]


def fields_of(module: Module) -> dict:
    return {setting.name: getattr(module, setting.name) for setting in settings_of(type(module))}


MODULES = modules()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_a_field_takes_a_value_or_refuses_it_in_our_words(module):
    for name, own in fields_of(module).items():
        with pytest.raises(InvalidTypeError, match=f"^{type(module).__name__}: `{name}` must be "):
            type(module)(**(fields_of(module) | {name: object()}))
        for value in ANYTHING:
            try:
                made = type(module)(**(fields_of(module) | {name: value}))
            except JflowsError as error:
                assert isinstance(error, InvalidTypeError | InvalidValueError) and error.settings
            else:
                assert getattr(made, name) == value, own


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_numbers_are_what_they_say(module):
    wrong = {int: (2.5, True, "3"), float: (True, "3", float("inf"), float("nan")), bool: (1, 0.0), str: (1, "", None)}
    for setting in settings_of(type(module)):
        for value in wrong.get(setting.type, ()):
            with pytest.raises(JflowsError, match=f"^{type(module).__name__}: `{setting.name}` must be"):
                type(module)(**(fields_of(module) | {setting.name: value}))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
def test_a_copy_with_other_settings_is_checked(module):
    for name in fields_of(module):
        for copy in (module.clone, module.copy, module.clone().clone):
            with pytest.raises(InvalidTypeError, match=f"^{type(module).__name__}: `{name}` must be "):
                copy(**{name: object()})


def test_a_field_set_anew_is_checked_where_linen_copies_the_module():
    network = MLP((8,))
    coupling = Coupling(network, Affine())
    network.hidden_sizes = (0,)
    for module, inputs in ((network, (3,)), (coupling, ())):
        with pytest.raises(InvalidValueError, match=r"^MLP: `hidden_sizes` must have entries that are at least 1"):
            module.init(jax.random.key(0), jnp.zeros((2, 4)), *inputs)


def test_modules_are_checked_once(monkeypatch):
    """Linen copies each module of a flow for every run, and prepares it where it is taken in."""
    flow = realnvp((6,), num_layers=3)
    checked = []
    check = Checked.__post_init__
    monkeypatch.setattr(Checked, "__post_init__", lambda self: (checked.append(self), check(self)))
    variables = flow.init(jax.random.key(0), jnp.zeros((2, 6)))
    jax.jit(flow.log_prob).trace(variables, jnp.zeros((2, 6)))
    assert [module for module in checked if isinstance(module, Module)] == []
    assert realnvp((6,), num_layers=3) == flow and checked
