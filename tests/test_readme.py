"""Every command of the pages, run; every example of theirs, tried.

    python -m pytest tests/test_readme.py

Oracle: the pages. Commands in the README's ```bash blocks run on the toy world, train.py's with
fewer steps and a tiny T5, predict.py's scores on fewer examples; those in ```sh blocks need real
weights and data, or hours, so only their options are read.
"""

import doctest
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

import data
import distill
import forked
import model
import train
import transferability
from plumbing import flags
from workbench import SMALL

pytestmark = pytest.mark.beside
ROOT = Path(train.__file__).parent
PAGES = ["README.md", "RESULTS.md", "toy/README.md",
         *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
FEW = "--steps 2 --source-steps 2 --seeds 1 --evals 1 --max-dev 10 --batch 2"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page, language):
    """The python commands of a page's blocks in this language, without their set-up."""
    blocks = re.findall(rf"```{language}\n(.*?)```", text_of(page), flags=re.S)
    return re.findall(r"(?:^|&& |=\S+ )(python .*)$", "\n".join(blocks), flags=re.M)


def test_there_are_commands():
    assert {"python train.py", "python -m pytest"} <= set(commands("README.md", "bash"))
    assert len(commands("README.md", "sh")) >= 2 and len(commands("docs/real.md", "sh")) >= 6


@pytest.mark.parametrize("command", [c for c in commands("README.md", "bash") if "pytest" not in c])
def test_command_runs(command, tmp_path):
    few = (f" {FEW} --model {SMALL} --out {tmp_path}" if "train.py" in command else
           " --held-out 0.1" if " score " in command else "")
    done = forked.run(shlex.split(command + few)[1:])
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip()  # nothing, or the rate of answering
    assert re.fullmatch(r"(1 answered, 0 bad lines, \d+ a second)?", said)
    assert done.stdout.strip()


@pytest.mark.parametrize("command", [c for page in ("README.md", "docs/real.md")
                                     for c in commands(page, "sh") if "train.py" in c])
def test_options_of_the_real_commands_exist(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("FOLDER", "FOLDER32"):
        Path(folder).mkdir()
    words = shlex.split(command)
    arguments = train.parse_arguments(words[words.index("train.py") + 1:])
    assert arguments.recipe.lr == 0.3 and arguments.recipe.length == 100  # the paper's recipe
    assert arguments.recipe.steps == arguments.recipe.source_steps


def test_the_reading_order_counts_the_lines_of_its_files():
    counted = re.findall(r"^\| \[[^]]+\]\(([^)]+)\) \| (\d+) \|", text_of("README.md"), flags=re.M)
    assert [name for name, _ in counted] == [
        "model.py", "prompt.py", "distill.py", "transferability.py", "data.py", "train.py",
        "docs/one-step.md"]
    for name, lines in counted:
        assert len(text_of(name).splitlines()) == int(lines), name


def test_one_step_comes_out_as_its_page_says(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "docs" / "one-step.md"), module_relative=False)
    assert result.attempted > 20 and result.failed == 0


def test_its_example_of_a_new_task_is_one(tmp_path, monkeypatch):
    entry, _ = re.findall(r"```python\n(.*?)```", text_of("docs/extend.md"), flags=re.S)
    monkeypatch.setattr(data, "TASKS", data.TASKS | eval("{" + entry + "}", vars(data)))
    folder = tmp_path / "scitail"
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text(
            "premise\thypothesis\tlabel\nIt rains.\tIt is wet.\tentails\n")
    [example], _ = data.load("scitail", tmp_path)
    assert example == data.Example("hypothesis: It is wet. premise: It rains.", "entails")


def test_its_example_of_a_new_measure_is_one(monkeypatch):
    _, function = re.findall(r"```python\n(.*?)```", text_of("docs/extend.md"), flags=re.S)
    names = dict(vars(transferability))
    exec(function, names)
    monkeypatch.setitem(transferability.MEASURES, "largest", names["largest"])
    t5 = model.initialise(model.Config(40, 2, 4, 16, 2, 2, 2), seed=1)
    probe = transferability.Probe(t5, torch.tensor([[5, 1]]), 39, torch.tensor([[8, 1]]))
    # The longest vectors are (3, 0) and (0, -4): a right angle.
    found = transferability.all_measures(torch.tensor([[3.0, 0], [1.0, 1.0]]),
                                         torch.tensor([[1.0, 0], [0, -4.0]]), probe)
    assert set(found) == {"panda", "on", "e_avg", "e_tok", "zero_shot", "largest"}
    assert found["largest"] == pytest.approx(0)


def test_its_example_of_a_new_form_is_one(monkeypatch):
    [block] = re.findall(r"```py\n(.*?)```", text_of("docs/extend.md"), flags=re.S)
    monkeypatch.setattr(distill, "FORMS", dict(distill.FORMS))
    exec(block, vars(distill) | {"FORMS": distill.FORMS})
    assert flags.names(train.parse_arguments(["--kd", "kl,angle"]).recipe.kd) == ["kl", "angle"]
    student, teacher = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 4.0]]])
    assert distill.FORMS["angle"].distance(student, teacher, 1.0).item() == 1  # a right angle


@pytest.mark.parametrize("page", PAGES)
def test_files_it_names_are_there(page):
    for name in re.findall(r"\]\(([^)#]+)\)", text_of(page)):
        assert ((ROOT / page).parent / name).exists(), name


def test_the_commands_of_the_results_page_are_ones(tmp_path, monkeypatch):
    # Its blocks are run by a shell to which python is a function that prints its arguments.
    blocks = re.findall(r"```sh\n(.*?)```", text_of("RESULTS.md"), flags=re.S)
    shell = subprocess.run(
        ["bash", "-c", 'python() { printf "%q " "$@"; echo; }\n' + "\n".join(blocks)],
        capture_output=True, text=True, check=True, cwd=tmp_path)
    called = [shlex.split(line) for line in shell.stdout.splitlines()]
    monkeypatch.chdir(ROOT)
    folders = {train.parse_arguments(options).out for script, *options in called
               if script == "train.py"}
    assert len(folders) > 8
    for script, *options in called:
        if script == "-m":
            script = options.pop(0).replace(".", "/") + ".py"
        assert (ROOT / script).exists()
        for word in options if script != "train.py" else ():
            if word.startswith("runs/"):  # a run that the page has made, or something in it
                assert "/".join(word.split("/")[:2]) in folders, word
