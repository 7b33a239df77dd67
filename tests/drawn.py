"""The toy tasks, drawn once: for the process whose forks forked.py's commands are.

No test of its own (tests/test_command.py asks a fork what it has).
"""

import functools
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import data
import predict  # noqa: F401: with all other chapters, and torch
from toy import world

world.examples = functools.cache(world.examples)
for name in ("toy-cb", "toy-nli", "toy-rte", "toy-sst2", "toy-reviews", "toy-qnli"):
    data.load(name)
