"""The section on classes: normals of latents by class, who tells classes by them, and what they decode to."""

from typing import NamedTuple

import numpy as np

from jflows.errors import DataError
from jflows.eval.coherence import ClassTable, class_table
from jflows.eval.coherence.base import Context
from jflows.eval.coherence.figures import classes_figure
from jflows.runs.reports import html
from jflows.runs.reports.coherence.attributes import Grouped
from jflows.runs.reports.coherence.material import TEMPERATURE, Material, Section, nats

NUM_DRAWN = 5  # tempered samples of each class
MOST_CLASSES = 20
OPEN = 2  # ways to divide into classes that are not folded
LABELS = "labels"
SEE = (
    "See whether rows are most likely under the normal of their own class, and whether the means and samples of a "
    "class look like it."
)


class Classes(NamedTuple):
    """A way to divide rows into classes: class of each training and test row, int [num], -1 for none, and the names."""

    title: str
    names: tuple[str, ...]
    train: np.ndarray
    test: np.ndarray


def classes_section(material: Material, groups: list[Grouped]) -> Section:
    """Normals of the classes of labels, and of rows with and without each attribute; classes too small are named."""
    parts, numbers, left_out = [_prior()], {}, []
    for classes in [*_of_labels(material, left_out), *map(_of_attribute, groups)]:
        try:
            table = _table(material, classes)
        except DataError as error:
            left_out.append(f"Classes by {classes.title} are left out: they {error.rule}; got {error.got}.")
            continue
        title = f"Classes by {classes.title}"
        parts.append(html.folded(title, _shown(material, classes, table), is_open=len(numbers) < OPEN))
        numbers[classes.title] = {
            "names": table.names,
            "mean_log_prob": table.mean,
            "confusion": table.confusion,
            "accuracy": table.accuracy,
            "balanced_accuracy": table.balanced_accuracy,
            "num_fitted": table.num_fitted,
        }
    return Section("Classes", SEE, parts if numbers else [], numbers, tuple(left_out))


def _prior() -> str:
    return html.paragraph(
        "Each class has a normal in every dimension of the latent, at the mode of the posterior of mean and precision, "
        "whose prior is normal-gamma with mu0 = 0, lambda0 = 1, a0 = b0 = 0.001. A row is taken for the class under "
        "which it is most likely. Training rows are fitted to; all numbers are of test rows."
    )


def _of_labels(m: Material, left_out: list[str]) -> list[Classes]:
    if m.train.label is None or m.test.label is None:
        left_out.append("Classes of labels are left out: the data have none.")
        return []
    num = int(m.train.num_classes or 0)
    if not 2 <= num <= MOST_CLASSES:
        left_out.append(f"Classes of labels are left out: there are {num}, and the page shows 2 to {MOST_CLASSES}.")
        return []
    return [Classes(LABELS, m.class_names, np.asarray(m.train.label, int), np.asarray(m.test.label, int))]


def _of_attribute(group: Grouped) -> Classes:
    return Classes(group.name, (f"without {group.name}", f"with {group.name}"), group.train, group.test)


def _table(m: Material, classes: Classes) -> ClassTable:
    return class_table(
        m.of_train.latents,
        classes.train,
        m.of_test.latents,
        classes.test,
        names=classes.names,
        base_log_prob=m.of_test.base_log_prob,
        log_prob=m.of_test.log_prob,
    )


def _shown(m: Material, classes: Classes, table: ClassTable) -> list[str]:
    names = classes.names
    likely = [[f"{names[i]} ({n:,})", *map(nats, table.mean[i])] for i, n in enumerate(table.confusion.sum(axis=1))]
    guesses = [[names[i], *map(str, row)] for i, row in enumerate(table.confusion)]
    chance, kept = 1 / len(names), classes.test >= 0
    return [
        html.paragraph(
            "Mean ln p(u) of the test rows of each class (down) under the normal of each class (across) and under the "
            "base, and mean ln p(x), in nats:",
            "note",
        ),
        html.table(["rows of", *names, "base", "ln p(x)"], likely),
        html.figure(
            classes_figure(table, m.of_test.base_log_prob[kept], m.of_test.log_prob[kept]),
            "Log densities of test rows, and how far ahead a class is, by the true class of the row.",
        ),
        html.paragraph(
            f"Test rows by their class (down) and the class under which they are most likely (across): accuracy "
            f"{table.accuracy:.3f}, balanced {table.balanced_accuracy:.3f}, where chance is {chance:.3f}.",
            "note",
        ),
        html.table(["", *names], guesses),
        *_means(m, classes, table),
        *_drawn(m, classes, table),
    ]


def _means(m: Material, classes: Classes, table: ClassTable) -> list[str]:
    context = _contexts(m, classes, 1)
    latents = table.posterior.mean.astype(np.float32)
    found = m.decode(latents, context)
    own = np.diagonal(table.normals.log_prob(latents))
    extra = [f"ln p(c) {nats(value)}" for value in own]
    caption = "What the mean of each class decodes to; ln p(c) is that of the latent under the normal of the class."
    return m.shown(found, caption, headings=classes.names, extra=extra)


def _drawn(m: Material, classes: Classes, table: ClassTable) -> list[str]:
    numbers = np.repeat(np.arange(len(classes.names)), NUM_DRAWN)
    each = [table.draw(number, NUM_DRAWN, TEMPERATURE, m.seed + number) for number in range(len(classes.names))]
    latents = np.concatenate(each)
    found = m.decode(latents, _contexts(m, classes, NUM_DRAWN))
    own = table.normals.log_prob(latents)[np.arange(len(latents)), numbers]
    extra = [f"ln p(c) {nats(value)}" for value in own]
    caption = f"Samples of the normal of each class at temperature {TEMPERATURE}."
    return m.shown(found, caption, headings=[classes.names[number] for number in numbers], extra=extra)


def _contexts(m: Material, classes: Classes, each: int) -> Context:
    """Contexts of latents of classes: those of the first test rows of each class, `each` of them, or None."""
    if m.of_test.context is None:
        return None
    rows = [np.resize(np.flatnonzero(classes.test == number), each) for number in range(len(classes.names))]
    return m.of_test.context[np.concatenate(rows)]
