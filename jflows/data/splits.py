"""Splits rows into "train", "validation" and "test" where a data set has no splits of its own."""

import numpy as np

from jflows.errors import DataError, InvalidTypeError, InvalidValueError

SPLITS = ("train", "validation", "test")
ALL = "all"  # of a user's own file: every row, in the order of the file
TEST_FRACTION = 0.1  # of data without a test part


def split_rows(split: str, num_train: int, num_validation: int) -> tuple[int, int]:
    """The range of training rows, first and one past the last, that make up "train" or "validation".

    Raises:
      InvalidValueError: unless 0 <= num_validation < num_train, and 0 < num_validation for "validation".
      InvalidTypeError: if num_validation is not a whole number.
    """
    if isinstance(num_validation, bool) or not isinstance(num_validation, int | np.integer):
        raise InvalidTypeError("load", "num_validation", "must be a whole number of rows", repr(num_validation))
    if not 0 <= num_validation < num_train:
        rule = f"must leave at least one of the {num_train} training rows and not be negative"
        raise InvalidValueError("load", "num_validation", rule, num_validation)
    if split == "train":
        return 0, num_train - num_validation
    if num_validation == 0:
        fix = "Set {num_validation}, or use split='test'."
        raise InvalidValueError("load", "num_validation", "must be positive for split='validation'", 0, fix)
    return num_train - num_validation, num_train


def hold_out(num: int, name: str, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of a fixed permutation of 0..num-1: the last tenth, at least `fewest`, is for testing."""
    if num < 2 * fewest:
        rule = f"must have at least {2 * fewest} rows, {fewest} to train on and {fewest} to test on"
        raise DataError("load", name, rule, num, "Add some, or give `train` and `test` parts of your own.")
    rows = np.random.RandomState(0).permutation(num)  # RandomState: its stream is frozen for all numpy versions
    num_test = max(fewest, int(num * TEST_FRACTION))
    return rows[:-num_test], rows[-num_test:]
