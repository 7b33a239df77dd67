"""The house itself: who imports whom, how long a function is, how dense the chapters are; examples.

    python -m pytest tests/plumbing/test_house.py

Oracle: the source files, parsed. The order of the chapters, an arrow for an import:

    train, predict -> {transferability, distill, data} -> prompt -> model -> plumbing/

The measures of density, with the bounds below, are those of code that is known as pleasant to read:
nanoGPT's model.py has 6.0 expressions in a line of code and 7.7 in a statement.
"""

import ast
import doctest
import importlib
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {"model": set(), "prompt": {"model"}}
for name in ("data", "distill", "transferability"):
    MAY_IMPORT[name] = {"model", "prompt"}
for name in ("train", "predict"):
    MAY_IMPORT[name] = {"model", "prompt", "data", "distill", "transferability"}
SIX = set(MAY_IMPORT) - {"predict"}
TABLES = {"TASKS", "Recipe"}  # of data: a row is read as a row of a table, and not as code
FOLDERS = (".", "plumbing", "toy", "tests", "tests/plumbing", "experiments", "benchmarks", "docs")
FILES = {path.relative_to(ROOT): path.read_text(encoding="utf-8")
         for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.py"))}
TREES = {path: ast.parse(source) for path, source in FILES.items()}


def imports(tree):
    """The modules that a file imports, wherever it does: "plumbing.files", "model"."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            if node.module in ("plumbing", "toy"):
                modules |= {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                modules.add(node.module)
    return modules


# ------------------------------------------------------------------ imports


def test_a_chapter_imports_only_those_below_it():
    for name, below in MAY_IMPORT.items():
        assert imports(TREES[Path(f"{name}.py")]) & set(MAY_IMPORT) <= below, name


def test_model_reads_files_and_words_and_nothing_else():
    """No engine: what makes it fast or restartable is put around it, and not into it."""
    modules = imports(TREES[Path("model.py")])
    assert {module for module in modules if module.startswith(("plumbing", "toy"))} == {
        "plumbing.checkpoint", "plumbing.tokenizer"}


def test_plumbing_imports_no_chapter():
    above = {*MAY_IMPORT, "toy", "tests"}
    for path, tree in TREES.items():
        if path.parts[0] == "plumbing":
            assert not above & {name.split(".")[0] for name in imports(tree)}, path


def test_no_import_hides_in_a_function_or_class():
    """But for the peers of a benchmark, which are not installed with the project."""
    hidden = set()
    for path, tree in TREES.items():
        for block in ast.walk(tree):
            if isinstance(block, (ast.FunctionDef, ast.ClassDef)):
                hidden |= {f"{path} {name}" for name in imports(block)}
    assert hidden == {"benchmarks/peers.py peft", "benchmarks/peers.py transformers"}


# ------------------------------------------------------------------ examples


@pytest.mark.parametrize("path", [
    path for path in FILES if ">>> " in FILES[path] and path.stem not in SIX
    and path.parts[0] not in ("tests", "benchmarks")], ids=str)
def test_examples_in_the_docstrings(path, monkeypatch):
    """Those of the chapters are run by tests/test_docs.py."""
    monkeypatch.chdir(ROOT)
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    assert doctest.testmod(module).failed == 0 < doctest.testmod(module).attempted


# ------------------------------------------------------------------- lengths


@pytest.mark.parametrize("path", FILES, ids=str)
def test_lines_and_functions_are_short_and_a_test_says_how_it_is_run(path):
    lines = FILES[path].splitlines()
    assert not [number for number, line in enumerate(lines, 1) if len(line) > 100]
    functions = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.FunctionDef)]
    assert not [node.name for node in functions if node.end_lineno - node.lineno >= 60]
    if path.name.startswith("test_"):
        assert f"python -m pytest {path}" in ast.get_docstring(TREES[path])


# ------------------------------------------------------------------- density


def without_tables(source):
    """The syntax tree of a file without its tables, and its lines without theirs."""
    tree = ast.parse(source)
    lines = source.splitlines()
    for node in list(tree.body):
        targets = [target.id for target in getattr(node, "targets", ()) if hasattr(target, "id")]
        if TABLES & {getattr(node, "name", ""), *targets}:
            tree.body.remove(node)
            lines[node.lineno - 1:node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return tree, "\n".join(lines) + "\n"


def count_lines(tree, source):
    """How many lines have code, and how many are only comment or docstring."""
    docstrings = set()
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        if documented and ast.get_docstring(node):
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    code = prose = 0
    for number, line in enumerate(source.splitlines(), start=1):
        if number in docstrings or line.lstrip().startswith("#"):
            prose += 1
        elif line.strip():
            code += 1
    return code, prose


def expressions(node):
    """How many there are in a node: of x = f(y) x, f, y and f(y)."""
    return sum(isinstance(inner, ast.expr) for inner in ast.walk(node))


def is_simple(node):
    """Whether it is a statement that holds no other, and no docstring."""
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return isinstance(node, ast.stmt) and not hasattr(node, "body") and not is_docstring


def density(sources):
    """Expressions in a line, in a mean statement; % of large statements, % of prose."""
    code = prose = total = 0
    sizes = []
    for source in sources:
        tree, rest = without_tables(source)
        code_lines, prose_lines = count_lines(tree, rest)
        code += code_lines
        prose += prose_lines
        total += expressions(tree)
        sizes += [expressions(node) for node in ast.walk(tree) if is_simple(node)]
    large = sum(size > 25 for size in sizes)
    return (total / code, statistics.mean(sizes), 100 * large / len(sizes),
            100 * prose / (prose + code))


def test_density_by_hand():
    source = """'Prose, the docstring.'
TASKS = {1: f(2)}
# A comment.
x = y  # why
if x:
    f(x)
"""
    # Without the table the docstring; x, y; x; f, x, f(x): 7. Three lines of code, two of prose.
    assert density([source]) == (7 / 3, (2 + 3) / 2, 0, 100 * 2 / 5)


def test_the_six_chapters_stay_light():
    of_line, of_statement, large, prose = density(
        FILES[Path(f"{name}.py")] for name in sorted(SIX))
    assert of_line <= 6.0 and of_statement <= 8.0 and large <= 1.5 and prose >= 30
