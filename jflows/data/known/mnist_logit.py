"""MNIST in logit space, as rows of a table: how the MAF paper scores it."""

from jflows.data.known import mnist
from jflows.data.protocols.logit import LogitImages

DATA = LogitImages(
    name="mnist_logit",
    title="MNIST in logit space, 784 columns",
    licence=mnist.DATA.licence,
    credit=f"{mnist.DATA.credit} The protocol is that of Papamakarios et al. 2017, arXiv:1705.07057.",
    source=mnist.DATA,
    alpha=1e-6,
    num_validation=10000,
)
