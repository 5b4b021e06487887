"""The sentence that all errors share."""

import pickle

import pytest

from jflows import errors


def test_a_message_names_place_argument_rule_value_and_fix():
    error = errors.InvalidValueError("Coupling", "context", "must be given", "None", "Pass one.")
    assert str(error) == "Coupling: `context` must be given; got None. Pass one."
    assert str(errors.RunError("load", "run", "must exist")) == "load: `run` must exist."


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidValueError, ValueError),
        (errors.InvalidTypeError, TypeError),
        (errors.DataError, ValueError),
        (errors.RunError, RuntimeError),
        (errors.MissingPackageError, ImportError),
    ],
)
def test_errors_are_builtin_ones_too_and_cross_processes(cls, builtin):
    error = cls("where", "argument", "must be so", 3, "Fix it.")
    assert isinstance(error, builtin)
    assert isinstance(error, errors.JflowsError)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.fix) == (cls, str(error), "Fix it.")


def test_settings_can_be_called_by_other_names():
    error = errors.RunError("load", ("run", "checkpoint"), "must be there", "runs/a", "Train one.")
    assert str(error.renamed(run="start_from")) == str(error).replace("`run, ", "`start_from, ")


def test_did_you_mean():
    known = ["glow_mnist", "glow_digits", "nsf"]
    assert errors.did_you_mean("glow_mnits", known).startswith("Did you mean glow_mnist")
    assert errors.did_you_mean("nfs", known, "runs/") == "Did you mean runs/nsf? "
    assert errors.did_you_mean("absent", known) == ""


def test_checks():
    with pytest.raises(errors.InvalidValueError, match=r"^here: `kind` must be one of 'a', 'b'; got 'c'\.$"):
        errors.check_choice("here", "kind", "c", ("a", "b"))
    with pytest.raises(errors.InvalidValueError, match=r"; got 'linaer'\. Did you mean linear\?$"):
        errors.check_choice("here", "kind", "linaer", ("linear", "spherical", 3))
    with pytest.raises(errors.InvalidValueError, match=r"; got 4\.$"):
        errors.check_choice("here", "kind", 4, ("linear", 3))
    with pytest.raises(errors.InvalidValueError, match=r"^here: `size` must be positive; got nan\.$"):
        errors.check_positive("here", "size", float("nan"))
    message = r"^here: `x` must have event shape \(2, 3\); got shape \(3,\)\. Reshape\.$"
    with pytest.raises(errors.InvalidValueError, match=message):
        errors.check_event_shape("here", "x", (3,), (2, 3), "Reshape.")
    errors.check_event_shape("here", "x", (7, 2, 3), (2, 3))
