"""CIFAR-10 in logit space, as rows of a table: how the MAF paper scores it."""

from jflows.data.known import cifar10
from jflows.data.protocols.logit import LogitImages

DATA = LogitImages(
    name="cifar10_logit",
    title="CIFAR-10 in logit space, 3,072 columns",
    licence=cifar10.DATA.licence,
    credit=f"{cifar10.DATA.credit} The protocol is that of Papamakarios et al. 2017, arXiv:1705.07057.",
    source=cifar10.DATA,
    alpha=0.05,
    num_validation=5000,
    with_mirrored=True,
)
