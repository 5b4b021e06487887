"""The contract of bijectors as code: the suite that every bijector of jflows passes, to be run on your own as well."""

from jflows.testing.bijector_suite import PROPERTIES, check_bijector
from jflows.testing.common import CheckError
from jflows.testing.flow_suite import check_flow, integrate_density
from jflows.testing.non_finite import find_non_finite
from jflows.testing.on_device import Float32Errors, float32_errors

__all__ = [
    "PROPERTIES",
    "CheckError",
    "Float32Errors",
    "check_bijector",
    "check_flow",
    "find_non_finite",
    "float32_errors",
    "integrate_density",
]
