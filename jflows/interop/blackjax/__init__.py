"""Samplers of BlackJAX, helped by a flow: NUTS in its latent space, Metropolis-Hastings and SMC that start from it.

Each takes a density known up to a constant, and a flow trained towards it, for example by
`jflows.train.reverse_kl`. The samples are exact in the limit whatever the flow; a good flow makes them cheap.
"""

from jflows.interop.blackjax.target import pulled_back as pulled_back  # isort: skip  (tells whether there is BlackJAX)
from jflows.interop.blackjax.chains import Chains as Chains
from jflows.interop.blackjax.chains import independence_metropolis as independence_metropolis
from jflows.interop.blackjax.chains import nuts as nuts
from jflows.interop.blackjax.particles import Particles as Particles
from jflows.interop.blackjax.particles import smc as smc
