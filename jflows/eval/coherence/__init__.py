"""Coherence of a flow: whether probable regions of its base, and of embedded data, decode to coherent samples."""

from jflows.eval.coherence.class_gaussian import GaussianGamma, MapNormal, StudentT, gaussian_gamma

__all__ = ["GaussianGamma", "MapNormal", "StudentT", "gaussian_gamma"]
