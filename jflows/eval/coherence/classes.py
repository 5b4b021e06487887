"""`class_table`: latents under the normals of their classes, beside the base and the data, and who tells classes apart.

Read first: `class_gaussian.py`, which fits the normals.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jflows.errors import DataError, InvalidValueError
from jflows.eval.arrays import real_array
from jflows.eval.coherence.class_gaussian import GaussianGamma, MapNormal, gaussian_gamma

LEAST_FITTED, LEAST_HELD_OUT = 10, 5  # rows of each class
ROWS_PER_UPDATE = 256


class ClassTable(NamedTuple):
    """How likely held-out latents are, by their true class.

    Attributes:
      names: the classes.
      posterior: the posterior of mean and precision in each dimension and class, from the rows fitted to.
      label: the class of each held-out row, int [num].
      of_classes: ln p(u) of each row under the normal of each class, in nats, float64 [num, num_classes].
      mean: [num_classes, num_classes + 2] in nats: of the rows of each class (down), the mean ln p(u) under the normals
        of all classes, then under the base, and ln p(x) of the data; NaN where base or data were not given.
      confusion: held-out rows of each class (down) that are most likely under each class (across), int.
      num_fitted: rows of each class fitted to.
    """

    names: tuple[str, ...]
    posterior: GaussianGamma
    label: np.ndarray
    of_classes: np.ndarray
    mean: np.ndarray
    confusion: np.ndarray
    num_fitted: tuple[int, ...]

    @property
    def normals(self) -> MapNormal:
        """The normals of all classes, at the modes of their posteriors."""
        return self.posterior.map_normal

    @property
    def accuracy(self) -> float:
        """The share of held-out rows that are most likely under the normal of their own class."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def balanced_accuracy(self) -> float:
        """The mean of this share over classes; 1 / num_classes is chance."""
        return float(np.mean(np.diag(self.confusion) / self.confusion.sum(axis=1)))

    def draw(self, number: int, num: int, temperature: float = 1.0, seed: int = 0) -> np.ndarray:
        """Draws from the normal of a class, its deviation times a temperature: float32 [num, *latent_shape]."""
        mean, deviation = self.posterior.mean[number], self.normals.deviation[number]
        noise = np.random.default_rng(seed).standard_normal((num, *mean.shape), np.float32)
        return (mean + temperature * deviation * noise).astype(np.float32)


def class_table(
    latents: ArrayLike,
    label: ArrayLike,
    held_out: ArrayLike,
    held_out_label: ArrayLike,
    *,
    names: tuple[str, ...],
    base_log_prob: ArrayLike | None = None,
    log_prob: ArrayLike | None = None,
) -> ClassTable:
    """Fits one normal to each class, and scores held-out latents; the likeliest class is the guess.

    Args:
      latents, held_out: [num, *latent_shape], of any flow or any library.
      label, held_out_label: int [num], from 0; rows with a negative number are left out.
      names: the names of all classes.
      base_log_prob, log_prob: ln p(u) under the base and ln p(x) of all held-out rows in nats, [num].
    Raises:
      InvalidValueError: if shapes do not fit, or numbers are not finite.
      DataError: if there is one class alone, or there are fewer than 10 rows of a class to fit to, or 5 held out.
    """
    parts = {"latents": latents, "held_out": held_out}
    fitted, others = (real_array("class_table", name, part) for name, part in parts.items())
    number, true = np.asarray(label), np.asarray(held_out_label)
    if len(names) < 2:
        raise DataError("class_table", "label", "must be of two classes or more", f"{len(names)}")
    counts = [
        _counts(each, rows, len(names), names, least)
        for each, rows, least in ((number, fitted, LEAST_FITTED), (true, others, LEAST_HELD_OUT))
    ]
    posterior = gaussian_gamma(tuple(fitted.shape[1:]), len(names))
    for start in range(0, len(fitted), ROWS_PER_UPDATE):
        part = slice(start, start + ROWS_PER_UPDATE)
        posterior = posterior.update(fitted[part], number[part])
    kept = true >= 0
    of_classes = posterior.map_normal.log_prob(others[kept])
    columns = [of_classes]
    for name, given in (("base_log_prob", base_log_prob), ("log_prob", log_prob)):
        values = np.full(len(others), np.nan) if given is None else np.asarray(given, np.float64)
        if values.shape != true.shape:
            rule = f"must be numbers of shape ({len(true)},)"
            raise InvalidValueError("class_table", name, rule, f"shape {values.shape}")
        columns.append(values[kept][:, None])
    own, guess = true[kept], of_classes.argmax(axis=1)
    together = np.concatenate(columns, axis=1)
    classes = range(len(names))
    confusion = np.array([[int(np.sum((own == a) & (guess == b))) for b in classes] for a in classes])
    mean = np.stack([together[own == each].mean(axis=0) for each in classes])
    return ClassTable(tuple(names), posterior, own, of_classes, mean, confusion, tuple(counts[0].tolist()))


def _counts(label: np.ndarray, rows: np.ndarray, num: int, names: tuple[str, ...], least: int) -> np.ndarray:
    """The rows of each class; raises unless each has enough."""
    fits = label.shape == rows.shape[:1] and label.dtype.kind in "iu"
    if not fits or rows.ndim < 2 or (label.size and label.max() >= num):
        rule = f"must be integers [num] below {num}, for latents [num, *latent_shape]"
        raise InvalidValueError("class_table", "label", rule, f"{label.dtype} of shape {label.shape}")
    counts = np.bincount(label[label >= 0], minlength=num)
    if counts.min() < least:
        what = "to fit to" if least == LEAST_FITTED else "held out"
        rule, few = f"must have at least {least} rows of each class {what}", int(counts.argmin())
        raise DataError("class_table", "label", rule, f"{counts[few]} of {names[few]!r}", "Give more rows of it.")
    return counts
