"""Times of bijectors and flows, alone and beside other libraries, as shares of what this machine can do.

    print(jflows.bench.time(my_bijector, (1024, 64)))      # one map, in one line
    jflows bench --only realnvp --library distrax          # the suite, see docs/benchmarks.md

Read next: `suite.py` (what is timed), `measure.py` (how), `beside.py` (other libraries), `running.py` (a whole run).
"""

from jflows.bench.measure import time as time
from jflows.bench.results import Results as Results
from jflows.bench.results import Row as Row
from jflows.bench.results import Rows as Rows
from jflows.bench.running import Plan as Plan
from jflows.bench.running import run as run
from jflows.bench.suite import SUBJECTS as SUBJECTS
from jflows.bench.suite import Subject as Subject

__all__ = ["SUBJECTS", "Plan", "Results", "Row", "Rows", "Subject", "run", "time"]
