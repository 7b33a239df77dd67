"""python -m pytest tests/test_exercises.py: every exercise of docs/exercises.md is graded.

Oracle: its own grading command, which must pass with our function and fail with an empty one. All
in one other process: an empty function is ours with the code of one that raises, so that tables
and imports that hold it hold the empty one, too.
"""

import doctest
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside
ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
EXERCISES = re.findall(r"^## (\d+)\. [^\n]*`([\w.]+)`\n.*?"
                       r"^Grade it: `python -m (pytest [^\n]*)`$", PAGE, re.M | re.S)

GRADER = """
import gc, json, pydoc, sys
sys.path[:0] = [".", "tests"]
import pytest

def empty(*args, **kwargs):
    raise NotImplementedError

grades = []
for name, command in json.loads(sys.argv[1]):
    function = pydoc.locate(name)
    function = getattr(function, "__wrapped__", function)
    options = [*command, "-q", "-p", "no:cacheprovider", "-x"]
    gc.freeze()  # what pytest collects as garbage, five times at its end, need not hold torch
    ours, code = pytest.main(options), function.__code__
    function.__code__ = empty.__code__
    grades.append([int(ours), int(pytest.main(options))])
    function.__code__ = code
print("grades", json.dumps(grades))
"""


@pytest.fixture(scope="module")
def grades():
    wanted = [[name, shlex.split(command)[1:]] for _, name, command in EXERCISES]
    done = subprocess.run([sys.executable, "-c", GRADER, json.dumps(wanted)], cwd=ROOT,
                          capture_output=True, text=True, timeout=300)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("grades ")]
    return json.loads(line.removeprefix("grades "))


def test_there_are_twelve_each_with_a_hint():
    assert [int(number) for number, *_ in EXERCISES] == list(range(1, 13))
    assert PAGE.count("<details>") == PAGE.count("</details>") == 12


@pytest.mark.parametrize("place", range(12))
def test_its_command_passes_with_ours_and_fails_without(place, grades):
    passed, failed = 0, 1  # pytest's own: 5 would be "no test was run"
    assert grades[place] == [passed, failed], EXERCISES[place][1]


def test_what_must_come_out_does():
    found = doctest.testfile(str(ROOT / "docs" / "exercises.md"), module_relative=False)
    assert found.attempted > 20 and found.failed == 0
