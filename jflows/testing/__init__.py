"""The contract of bijectors as code: the suite that every bijector of jflows passes, to be run on your own as well."""

from jflows.testing.bijector_suite import PROPERTIES, check_bijector
from jflows.testing.common import CheckError
from jflows.testing.flow_suite import check_flow, integrate_density
from jflows.testing.non_finite import find_non_finite

__all__ = ["PROPERTIES", "CheckError", "check_bijector", "check_flow", "find_non_finite", "integrate_density"]
