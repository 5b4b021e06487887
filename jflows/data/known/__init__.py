"""`KNOWN`: every data set that `load` knows by name; all about one is in `jflows/data/known/<name>.py`.

To add a data set, write a file here that defines `DATA`, an instance of a protocol (`jflows/data/protocols/`), and one
line below. To add a toy, write a function in `jflows/data/toys.py`.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from jflows.data.protocols.base import KnownData
from jflows.data.toys import TOYS

_NAMES = (
    "digits",
    "mnist",
    "fashion_mnist",
    "cifar10",
    "orl_faces",
    "orl_faces_small",
    "cartoon_faces",
    "cartoon_faces_64",
    "celeb_a_128",
    "power",
    "gas",
    "hepmass",
    "miniboone",
    "bsds300",
    "red_wine",
    "ionosphere",
    "boston",
    "mnist_logit",
    "cifar10_logit",
    "speech_espeak",
)
_IN_FILES = (importlib.import_module(f"jflows.data.known.{name}").DATA for name in _NAMES)
KNOWN: Mapping[str, KnownData] = MappingProxyType({known.name: known for known in (*_IN_FILES, *TOYS.values())})
