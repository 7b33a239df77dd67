"""The toy tasks, drawn once: for the process whose forks forked.py's commands are.

No test of its own. Imported from the checkout's root, as tests.drawn, and there alone.
"""

import functools

import data
import predict  # noqa: F401: with all other chapters, and torch
from toy import world

world.examples = functools.cache(world.examples)
for name in ("toy-cb", "toy-nli", "toy-rte", "toy-sst2", "toy-reviews", "toy-qnli"):
    data.load(name)
