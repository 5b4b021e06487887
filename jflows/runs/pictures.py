"""`PicturesOfRun`: what a trained flow of images does with images, drawn: paths, levels, hidden pixels, ...

Read next: `jflows/runs/trained.py`, which adds scores and samples of any data; `jflows/eval/latent.py`, the functions.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jflows.data import KNOWN, Data, ImageData, load
from jflows.data.base import check_is_data
from jflows.errors import InvalidValueError, JflowsError, path_of
from jflows.eval.inpainting import MASKS
from jflows.runs.data import as_read
from jflows.runs.edits import EditsOfRun
from jflows.runs.images import ALL_MASKS, read_images, read_mask
from jflows.runs.reports import fidelity, inpainting, interpolation, levels, manifold, neighbours, reconstruction

PARTS = ("train", "test")
GivenPath = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class PicturesOfRun(EditsOfRun):
    """A trained flow with its recipe, which draws images; see `TrainedRun`."""

    def images(self, paths: Sequence[GivenPath], label: str | None = None) -> ImageData:
        """Image files that the user names, in this order, as data for pictures; see `read_images` for what is refused.

        Args:
          label: the class of all of them, by its name or number, for a class-conditional flow; else None.
        """
        return read_images(paths, self.density, None if label is None else self.label_of(label, "images"))

    def images_or_rows(
        self,
        data: str | None = None,
        split: str | None = None,
        image: Sequence[GivenPath] = (),
        label: str | None = None,
    ) -> tuple[Data, str]:
        """The images of a command: files that are named by `image`, or else rows of data; and what they are, in words.

        Raises:
          InvalidValueError: if both are named, or a class without files.
          DataError: see `images` and `data`.
        """
        if not image:
            if label is not None:
                rule, fix = "is the class of files named by {image}", "Leave it out: data have labels of their own."
                raise InvalidValueError("images", "label", rule, repr(label), fix)
            rows = self.data(data, split)
            return rows, f"{self.taken(data, split)} of {rows.name}"
        if data is not None or split is not None:
            other = "data" if data is not None else "split"
            fix = "Leave one out."
            raise InvalidValueError("images", "image", f"must be left out with {{{other}}}", None, fix)
        named = self.images(image, label)
        return named, named.name

    def interpolate(self, data: Data, path: GivenPath | None = None, **options: Any) -> Path:
        """Writes paths in latent space between pairs of images; see `interpolation.draw_paths` for the options."""
        self.check_pictures()
        path = self._path("interpolate", interpolation.FILE, path)
        interpolation.draw_paths(self.density, self.variables, self._read("interpolate", data), path, **options)
        return path

    def inpaint(
        self,
        data: Data,
        path: GivenPath | None = None,
        *,
        masks: Sequence[GivenPath],
        num: int | None = None,
        seed: int = 0,
        **options: Any,
    ) -> tuple[Path, dict[str, inpainting.Filled]]:
        """Writes images whose hidden pixels are filled in; returns the path, and scores before and after by the mask.

        Args:
          masks: names of `jflows.eval.hidden_pixels` or paths of mask images; "all" stands for all ten names.
          num: number of images, chosen by the seed; None takes all in their order.
          seed: seed of this choice, of random masks and of all noise.
          options: see `inpainting.draw_inpainted`.
        """
        self.check_images()
        names = [name for given in masks for name in (MASKS if given == ALL_MASKS else (given,))]
        found: dict[str, np.ndarray] = {}
        for name in dict.fromkeys(map(str, names)):
            short = Path(name).name
            found[name if short in found else short] = read_mask(name, self.density, seed)
        read = self._read("inpaint", data)
        read = read if num is None else read.take(interpolation.choose(read, num, seed, "inpaint"))
        path = self._path("inpaint", inpainting.FILE, path)
        options["seed"] = seed
        return path, inpainting.draw_inpainted(self.density, self.variables, read, found, path, **options)

    def manifold(self, data: Data, path: GivenPath | None = None, **options: Any) -> Path:
        """Writes images on the surface through four images in latent space; see `manifold.draw_manifold`."""
        self.check_pictures()
        path = self._path("manifold", manifold.FILE, path)
        manifold.draw_manifold(self.density, self.variables, self._read("manifold", data), path, **options)
        return path

    def neighbours(
        self, rows: Data, new: Data, path: GivenPath | None = None, **options: Any
    ) -> tuple[Path, neighbours.Nearness]:
        """Writes samples above their nearest training images, and says whether samples are nearer than new images are.

        Args:
          rows: the rows that the run was trained on, `data(split="train")`.
          new: rows that it was not trained on, such as `data()`.
          options: see `neighbours.draw_neighbours`.
        """
        self.check_images()
        path = self._path("neighbours", neighbours.FILE, path)
        rows, new = self._read("neighbours", rows, "rows"), self._read("neighbours", new, "new")
        return path, neighbours.draw_neighbours(self.density, self.variables, rows, new, path, **options)

    def fidelity(
        self, new: Data, path: GivenPath | None = None, *, network: str | None = None, **options: Any
    ) -> tuple[Path, fidelity.Fidelity]:
        """Says how far samples lie from images, in features of a small network; returns a JSON file and the numbers.

        Training images are compared too, as real images show what distances mean. Weights of images play no part.

        Args:
          new: images that the run was not trained on, such as `data()`.
          path: the .json file to write; None takes fidelity.json in the run directory.
          network: name or path of labelled images of the same shape, which train the network, once; None takes all
            images of the run's own data, whatever part of them the run was trained on.
          options: see `fidelity.measure_fidelity`.
        Raises:
          DataError: if there are no labels to train a network.
        """
        self.check_images()
        path = self._path("fidelity", fidelity.FILE, path)
        rows, read = self._read("fidelity", self.data(None, "train")), self._read("fidelity", new, "new")
        train, test = self._network_data(network)
        found = fidelity.network_of(train, test, self.density, "data" if network is None else "network")
        of = fidelity.measure_fidelity(
            self.density, self.variables, found, rows, read, network_data=train.name, **options
        )
        fidelity.save_fidelity(of, path, weights=self.weights, step=self.step)
        return path, of

    def _network_data(self, network: str | None) -> list[Data]:
        """The training and test images of a network: those that are named, or all of the run's own data."""
        own = self.stored.recipe.data.name
        if network is None:
            return [load(own, split) if own in KNOWN else self.data(None, split) for split in PARTS]
        try:
            return [load(network, split) for split in PARTS]
        except JflowsError as error:
            raise error.renamed(name_or_path="network", data="network").at("fidelity") from error

    def reconstruct(self, data: Data, path: GivenPath | None = None, **options: Any) -> tuple[Path, float]:
        """Writes images and decode(encode(images)); returns the path, and the largest error in pixel levels."""
        self.check_pictures()
        path = self._path("reconstruct", reconstruction.FILE, path)
        read = self._read("reconstruct", data)
        return path, reconstruction.draw_errors(self.density, self.variables, read, path, **options)

    def levels(self, data: Data, path: GivenPath | None = None, **options: Any) -> Path:
        """Writes images whose latent is drawn anew, a level at a time; see `levels.draw_levels` for the options."""
        self.check_levels()
        path = self._path("levels", levels.FILE, path)
        levels.draw_levels(self.density, self.variables, self._read("levels", data), path, **options)
        return path

    def _read(self, where: str, data: Data, argument: str = "data") -> Data:
        """Images with the bits that the flow models, each as often as it counts."""
        check_is_data(where, argument, data)
        return as_read(data.counted(), self.density)

    def _path(self, where: str, file: str, path: GivenPath | None) -> Path:
        """The path that is given, or that of a file in the run directory."""
        return self.directory / file if path is None else path_of(where, "path", path)

    def check_levels(self) -> None:
        """Raises `InvalidValueError` unless the run is a flow of images with several levels."""
        self.check_pictures()
        found = len(self.density.level_sizes)
        if found < 2:
            rule, fix = "must be that of a flow with at least two levels", "Train glow with {num_levels=2} or more."
            raise InvalidValueError("levels", "run", rule, f"{self.directory} with {found or 1}", fix)

    def check_images(self) -> None:
        """Raises `InvalidValueError` unless the run is one of images, with or without a latent space."""
        if not self.density.reading.kind.has_pixels:
            got = f"{self.directory}, of {self.density.reading.kind.noun}"
            raise InvalidValueError("pictures", "run", "must be that of images", got, "Try `jflows sample`.")
