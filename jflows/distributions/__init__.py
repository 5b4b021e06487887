"""Base distributions: the densities that flows start from."""

from jflows.distributions.base import Base
from jflows.distributions.normal import DiagonalNormal, StandardNormal

__all__ = ["Base", "DiagonalNormal", "StandardNormal"]
