"""The examples in the chapters and in docs/, and the grading commands of docs/exercises.md.

    python -m pytest tests/test_docs.py

Oracle: what the examples show; and for a grading command our function, with which its tests must
pass, and an empty one, with which they must fail.
"""

import doctest
import importlib
import inspect
import pydoc
import re
import shlex
from pathlib import Path

import pytest

from toy import world

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "exercises.md").read_text(encoding="utf-8")
EXERCISES = re.findall(
    r"^## \d+\. [^\n]*: `([\w.]+)`\n.*?"
    r"^Grade it: `python -m pytest tests/(\w+)\.py -k (\w+)`\n\n<details>", PAGE, re.M | re.S)


@pytest.mark.parametrize("chapter", [
    "model", "prompt", "distill", "transferability", "data", "train"])
def test_examples_in_the_docstrings(chapter):
    assert doctest.testmod(importlib.import_module(chapter)).failed == 0


@pytest.mark.parametrize("page", ["one-step.md", "exercises.md"])
def test_examples_in_the_documents(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert result.attempted > 20 and result.failed == 0


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_lines_of_python_train_a_prompt(page, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(world.SIZES, "cb", (240, 20))
    text = (ROOT / page).read_text(encoding="utf-8").replace("runs/by-hand", str(tmp_path / "made"))
    lines = re.search(r"```python\n(.*?)```", text, re.S)[1]
    names = {}
    exec(lines, names)
    assert names["loss"] < 1  # it begins at 8
    assert page == "README.md" or (tmp_path / "made" / "adapter_config.json").exists()


QUICK = []
for page in ("README.md", "docs/api.md"):
    QUICK += re.findall(r"^python ((?:data|model|predict|transferability)\.py .*)$",
                        (ROOT / page).read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("command", QUICK)
def test_the_quick_commands_print_something(command, few, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(command)
    monkeypatch.setattr("sys.argv", [program, *arguments])
    importlib.import_module(program.removesuffix(".py")).main()
    assert capsys.readouterr().out.strip()


def test_there_are_quick_commands():
    assert len(QUICK) >= 6


def empty(*args, **kwargs):
    """What is left of a function whose body is deleted."""


def passes(tests):
    """Whether all of these test functions pass."""
    try:
        for test in tests:
            test()
    except BaseException:  # pytest's own failures are no Exceptions
        return False
    return True


def test_every_exercise_has_a_command():
    assert len(EXERCISES) == len(re.findall("^## ", PAGE, re.M)) > 0


@pytest.mark.parametrize("name, file, selected", EXERCISES)
def test_a_grading_command_passes_with_our_function_and_fails_with_an_empty_one(
        name, file, selected, monkeypatch):
    # The graded tests take no fixtures, so they can be called here.
    functions = inspect.getmembers(importlib.import_module(file), inspect.isfunction)
    tests = [test for test_name, test in functions if selected in test_name]
    assert tests and passes(tests)
    # Tables and imports hold the function itself, so its code is what is replaced.
    monkeypatch.setattr(pydoc.locate(name), "__code__", empty.__code__)
    assert not passes(tests)
