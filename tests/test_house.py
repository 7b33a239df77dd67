"""The house itself: which file reads which, and how long they are.

    python -m pytest tests/test_house.py

Oracle: the source files, parsed. The six are the chapters that the paper is read beside;
plumbing/ is what no paper mentions, and knows none of them.
"""

import ast
import doctest
import io
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SIX = ("model", "data", "prompt", "transferability", "distill", "train")
READS = {"model": set(), "data": {"model"}, "prompt": {"model"},
         "transferability": {"model", "prompt"}, "distill": {"model", "prompt"},
         "train": {"model", "data", "prompt", "transferability", "distill"},
         "predict": {"model", "data", "prompt"}}


def name_of(path):
    """As it is imported: "plumbing.flags".

    >>> name_of(ROOT / "plumbing" / "flags.py"), name_of(ROOT / "plumbing" / "__init__.py")
    ('plumbing.flags', 'plumbing')
    """
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(path): path for folder in ("", "plumbing", "toy", "benchmarks", "docs", "tests")
         for path in sorted((ROOT / folder).glob("*.py"))}
PROJECT = {name: path for name, path in FILES.items() if not name.startswith("tests.")}
READ_FIRST = {name: path for name, path in FILES.items()
              if name in READS or name.startswith("plumbing")}


def imports(source, names):
    """Those of the names that a file's imports, wherever they stand, are of.

    >>> sorted(imports("import torch, model as m\\ndef f():\\n  from a import b, c", {
    ...     "model", "a", "a.b"}))
    ['a.b', 'model']
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & names or {node.module}
    return found & names


GRAPH = {name: imports(path.read_text(encoding="utf-8"), set(FILES)) - {"plumbing", "toy"}
         for name, path in FILES.items()}


def functions(source):
    """(name, lines) of each function and method, decorators and docstring counted."""
    return [(node.name, node.end_lineno + 1 - min(
        [node.lineno, *(d.lineno for d in node.decorator_list)]))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def explained(source):
    r"""(lines with a comment or of a docstring, all lines), blank ones not counted.

    >>> explained('\n'.join(['"Two lines', 'say it."', '', 'x = 1  # beside', 'y = 2'])
    ...           .replace('"', '"' * 3))
    (3, 4)
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    said = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    for node in ast.walk(ast.parse(source)):
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        if isinstance(node, kinds) and ast.get_docstring(node):
            said |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    full = {n for n, line in enumerate(source.splitlines(), 1) if line.strip()}
    return len(said & full), len(full)


# ---------------------------------------------------------------------- who reads whom


@pytest.mark.parametrize("name", READS)
def test_chapters_read_only_the_ones_before_them(name):
    assert GRAPH[name] & set(READS) == READS[name]
    assert not {read for read in GRAPH[name] if read.startswith(("tests", "benchmarks"))}


def test_plumbing_knows_no_chapter():
    for name in (name for name in FILES if name.startswith("plumbing")):
        others = {read for read in GRAPH[name] if not read.startswith("plumbing.")}
        assert not others, f"{name} imports {others}"


def test_no_import_hides_in_a_function_or_class():
    for name, path in PROJECT.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
                hidden = [inner.lineno for inner in ast.walk(node)
                          if isinstance(inner, (ast.Import, ast.ImportFrom))]
                assert not hidden, f"{name}, lines {hidden}"


def circle(graph):
    """The names that cannot be put after all that they read; none if there is no circle.

    >>> circle({"a": {"b"}, "b": {"c"}, "c": set()}), sorted(circle({"a": {"b"}, "b": {"a"}}))
    (set(), ['a', 'b'])
    """
    left = dict(graph)
    while free := [name for name, reads in left.items() if not reads & set(left)]:
        for name in free:
            del left[name]
    return set(left)


def test_no_imports_go_round_in_a_circle():
    assert circle(GRAPH) == set()
    assert GRAPH["train"] >= {"distill", "plumbing.states"}  # the graph is not empty


# ------------------------------------------------------------------------- how long


def test_the_six_can_be_read_in_an_evening():
    lines = {name: len(FILES[name].read_text(encoding="utf-8").splitlines()) for name in SIX}
    assert sum(lines.values()) <= 2200 and max(lines.values()) <= 480, lines


@pytest.mark.parametrize("name", READ_FIRST)
def test_a_function_fits_on_a_page(name):
    found = functions(READ_FIRST[name].read_text(encoding="utf-8"))
    assert not [(function, lines) for function, lines in found if lines > 60]


@pytest.mark.parametrize("name", FILES)
def test_no_line_is_wider_than_100_columns(name):
    lines = FILES[name].read_text(encoding="utf-8").splitlines()
    assert not [number for number, line in enumerate(lines, 1) if len(line) > 100]


@pytest.mark.parametrize("name", SIX)
def test_a_quarter_of_each_chapter_explains(name):
    said, full = explained(FILES[name].read_text(encoding="utf-8"))
    assert said >= full / 4, f"{said} of {full} lines"


@pytest.mark.parametrize("file, most", [("README.md", 150), ("RESULTS.md", 200)])
def test_pages_are_short(file, most):
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= most


def test_every_test_file_says_how_it_is_run():
    for name, path in FILES.items():
        if name.startswith("tests.test_"):
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert f"pytest tests/{path.name}" in said, name


def test_examples_in_the_docstrings():
    result = doctest.testmod(sys.modules[__name__])
    assert result.attempted > 0 and result.failed == 0
