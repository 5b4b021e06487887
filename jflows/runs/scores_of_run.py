"""`ScoresOfRun`: the scores of single rows by a trained run, and how far rows are out of distribution.

Read next: `jflows/runs/scores.py` and `jflows/runs/evidence.py`, which compute; `jflows/eval/ood`, the measures.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data import Data
from jflows.data.base import check_is_data
from jflows.data.splits import ALL
from jflows.errors import InvalidValueError
from jflows.eval import Auroc, auroc
from jflows.eval.ood import Measure
from jflows.eval.roc import roc_figure
from jflows.options import Count, Seed, check_call
from jflows.runs import evidence, scores
from jflows.runs.data import as_read
from jflows.runs.reports import calibration, latent
from jflows.runs.reports.chosen import check_testable
from jflows.runs.reports.coherence import FILE as COHERENCE_FILE
from jflows.runs.reports.coherence import CoherenceReport, write_coherence
from jflows.runs.reports.coherence.report import check as check_coherence
from jflows.runs.reports.report import save_figure
from jflows.runs.rows_of_run import RowsOfRun
from jflows.runs.running import Progress


@dataclasses.dataclass(frozen=True)
class ScoresOfRun(RowsOfRun):
    """A trained flow with its recipe, which scores single rows; see `TrainedRun`."""

    def scores(
        self, data: Data, *, num_draws: Count = 1, batch_size: Count = 250, seed: Seed = 0, progress: Progress = None
    ) -> np.ndarray:
        """The score of every row in order, float64 [num]: log density in nats of rows, bits per dimension of images.

        Rows outside of the support of the density have a score of -inf nats, see `data(beyond_support=True)`. Weights
        play no part, and rows of weight 0 are scored like others. The mean of the scores is what `evaluate` gives.

        Raises:
          InvalidTypeError, InvalidValueError: if an argument is of the wrong type or out of range.
          DataError: if a score is NaN; the message names the rows.
        """
        check_is_data("score", "data", data)
        self.check_columns(data, "score")
        check_call("score", ScoresOfRun.scores, {"num_draws": num_draws, "batch_size": batch_size, "seed": seed})
        options: Any = {"num_draws": num_draws, "seed": seed, "progress": progress}
        return scores.scores_of(self.density, self.variables, data, batch_size, **options)

    def save_scores(self, found: np.ndarray, path: Path | None = None) -> Path:
        """Writes one score a line below its name, log_prob_nats or bits_per_dim, and returns the path.

        Args:
          path: the .csv file to write; None takes scores.csv in the run directory.
        """
        path = self.directory / scores.FILE if path is None else path
        scores.save_scores(found, self.density, path)
        return path

    def tell_apart(self, found: np.ndarray, others: np.ndarray, data: Data, other_data: Data) -> Auroc:
        """How well the scores of two data sets tell their rows apart, by `jflows.eval.auroc` with their weights.

        Its value is the probability that a row of `data` is the more likely one.
        """
        sign = -1 if self.density.unit.lower_is_better else 1
        return auroc(sign * found, sign * others, data.weight, other_data.weight)

    def log_densities(
        self, data: Data, *, num_draws: Count = 1, batch_size: Count = 250, seed: Seed = 0, progress: Progress = None
    ) -> np.ndarray:
        """The log density of every row in order, in nats for images too: float64 [num]; see `scores`."""
        found = self.scores(data, num_draws=num_draws, batch_size=batch_size, seed=seed, progress=progress)
        return self.density.unit.log_prob(found, self.density.num_dims)

    def ood_scores(
        self,
        measures: Sequence[Measure],
        data_sets: Sequence[Data],
        *,
        background: "ScoresOfRun | None" = None,
        ensemble: Sequence["ScoresOfRun"] = (),
        num_draws: Count = 1,
        batch_size: Count = 250,
        seed: Seed = 0,
        progress: Progress = None,
    ) -> list[dict[str, np.ndarray]]:
        """How far rows are out of distribution by each measure: larger numbers are further out.

        Args:
          measures: instances from `jflows.eval.ood`, such as `(Typicality(), Radius())`.
          data_sets: the data sets to judge, each by itself; log densities of training rows are computed once for all.
          background: a run whose density knows backgrounds only, for `LikelihoodRatio`.
          ensemble: runs of the same flow from other seeds, for `Waic`; this run is a member too.
          num_draws, batch_size, seed, progress: see `scores`.
        Returns:
          For each data set a dictionary: name of the measure -> float64 [num // rows_per_value].
        Raises:
          InvalidTypeError, InvalidValueError: if a run is missing, or its density is of other data, or a measure is not
            for this density; before anything is compiled.
          DataError: if a score is NaN.
        """
        evidence.check_measures(self, measures, background, ensemble)
        options: Any = {"num_draws": num_draws, "batch_size": batch_size, "seed": seed, "progress": progress}
        found = evidence.gather(self, data_sets, measures, background, ensemble, **options)
        return [{measure.name: measure(known) for measure in measures} for known in found]

    def latent_tests(self, data: Data, path: Path | None = None, **options: Any) -> tuple[Path, latent.Tested]:
        """Tests whether the latents of rows are draws of the base, by `jflows.eval.latent_tests`, and draws the result.

        A flow that is conditioned on contexts is tested with those of the rows, and in each class, or quarter of the
        contexts, too.

        Args:
          path: the .png file to write; None takes latent.png in the run directory.
          options: `num` of the rows that are chosen, `num_sets` from the base, `modes`, `seed` and `progress`, see
            `latent.draw_latent`.
        """
        check_is_data("latent", "data", data)
        self.check_columns(data, "latent")
        check_testable("latent", self.density, data)
        path = self.directory / latent.FILE if path is None else path
        title = f"{self.directory.resolve().name} on {data.name}"
        options |= {"names": tuple(self.stored.facts.get("class_names", ())), "title": title}
        return path, latent.draw_latent(self.density, self.variables, as_read(data, self.density), path, **options)

    def calibration(self, data: Data, path: Path | None = None, **options: Any) -> tuple[Path, calibration.Calibrated]:
        """Tests whether the density is as wide as it should be, by `jflows.eval.calibration`, and draws the result.

        Args:
          path: the .png file to write; None takes calibration.png in the run directory.
          options: `num` of the rows that are chosen, `num_draws` for each, `seed` and `progress`, see
            `calibration.draw_calibration`.
        """
        check_is_data("calibrate", "data", data)
        self.check_columns(data, "calibrate")
        calibration.check(self.density, data)
        path = self.directory / calibration.FILE if path is None else path
        options |= {"title": f"{self.directory.resolve().name} on {data.name}"}
        rows = as_read(data, self.density)
        return path, calibration.draw_calibration(self.density, self.variables, rows, path, **options)

    def coherence(self, train: Data, test: Data, path: Path | None = None, **options: Any) -> CoherenceReport:
        """Writes a page on whether probable regions of the latent space decode to coherent samples.

        Args:
          train, test: rows to fit planes and classes to, and rows to judge them by, such as `data(split="train")` and
            `data()`.
          path: the .html file to write; None takes coherence.html in the run directory.
          options: `attributes`, `num`, `num_sets`, `penalty` and `seed`, see `write_coherence`.
        """
        for rows in (train, test):
            check_is_data("coherence", "data", rows)
            self.check_columns(rows, "coherence")
        check_coherence(self.density, train, test)
        path = self.directory / COHERENCE_FILE if path is None else path
        title = f"{self.directory.resolve().name} on {test.name}"
        options |= {"names": tuple(self.stored.facts.get("class_names", ())), "title": title}
        fitted, judged = (as_read(rows, self.density) for rows in (train, test))
        return write_coherence(self.density, self.variables, fitted, judged, path, **options)

    def judged_by(self, split: str | None) -> str:
        """The split that `coherence` judges by: "test" unless another one is given.

        Raises:
          InvalidValueError: if it holds the training rows, to which planes and classes are fitted.
        """
        if split in ("train", ALL):
            rule = "must be validation or test, as planes and classes are fitted to training rows"
            raise InvalidValueError("coherence", "split", rule, repr(split), "Leave it out.")
        return split or "test"

    def unusual(
        self,
        found: np.ndarray,
        others: np.ndarray,
        weight: np.ndarray | None = None,
        other_weight: np.ndarray | None = None,
    ) -> Auroc:
        """How well a measure tells rows from other rows: the probability that one of the others is the further out."""
        return auroc(others, found, other_weight, weight)

    def save_roc(
        self,
        curves: Mapping[str, Sequence[np.ndarray]],
        data: Data,
        other_data: Data,
        path: Path,
        *,
        weighted: bool = True,
    ) -> Path:
        """Draws the ROC curves by which measures find rows of the second data set, and returns the path.

        Args:
          curves: name -> the numbers of the rows of `data`, and of `other_data`; larger ones are further out.
          path: the .png file to write.
          weighted: whether rows count by their weights; groups of rows have none.
        """
        weights = (other_data.weight, data.weight) if weighted else (None, None)
        first, second = data.name, other_data.name
        if first == second:  # two splits of one data set, or two folders of one name
            first, second = f"{first} (first)", f"{second} (second)"
        figure = roc_figure(
            {name: (others, found) for name, (found, others) in curves.items()},
            weight=weights[0],
            other_weight=weights[1],
            title=f"{second} against {first}, by a flow of {Path(self.stored.recipe.data.name).name}",
            found=f"share of {second} called unusual",
            false_alarms=f"share of {first} called unusual",
        )
        save_figure(figure, path)
        return path

    def save_ood_scores(
        self, found: dict[str, np.ndarray], measures: Sequence[Measure], path: Path | None = None
    ) -> Path:
        """Writes one line for each row, or group of rows, with one column for each measure; returns the path.

        Args:
          path: the .csv file to write; None takes measures.csv in the run directory.
        """
        path = self.directory / evidence.FILE if path is None else path
        columns = {measure.column: found[measure.name] for measure in measures}
        scores.save_columns(columns, path)
        return path
