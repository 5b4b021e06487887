"""Coherence of a flow: whether probable regions of its base, and of embedded data, decode to coherent samples."""

from jflows.eval.coherence.attributes import AttributePlane, along, attribute_plane
from jflows.eval.coherence.base import LatentBase, base_of, deviation_points, normal_base, student_t_base
from jflows.eval.coherence.checks import Check, entropy_check, nearest_check, reconstruction_check
from jflows.eval.coherence.class_gaussian import GaussianGamma, MapNormal, StudentT, gaussian_gamma
from jflows.eval.coherence.classes import ClassTable, class_table
from jflows.eval.coherence.embedding import Decoded, Embedded, decoded, embedded
from jflows.eval.coherence.regions import Region, drawn_regions, normal_regions, regions_of
from jflows.eval.coherence.shells import Shell, shell, shells_by_radius

__all__ = [
    "AttributePlane",
    "Check",
    "ClassTable",
    "Decoded",
    "Embedded",
    "GaussianGamma",
    "LatentBase",
    "MapNormal",
    "Region",
    "Shell",
    "StudentT",
    "along",
    "attribute_plane",
    "base_of",
    "class_table",
    "decoded",
    "deviation_points",
    "drawn_regions",
    "embedded",
    "entropy_check",
    "gaussian_gamma",
    "nearest_check",
    "normal_base",
    "normal_regions",
    "reconstruction_check",
    "regions_of",
    "shell",
    "shells_by_radius",
    "student_t_base",
]
