"""Every command of the README, run.

    python -m pytest tests/test_readme.py

Oracle: the README. Commands in its ```bash blocks run on the toy world, with fewer
steps; those in ```sh blocks need real weights and data, so only their options are read.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import data
import train

ROOT = Path(train.HERE)
README = (ROOT / "README.md").read_text(encoding="utf-8")
FEW = "--steps 2 --source-steps 2 --seeds 1 --evals 1 --max-dev 10 --batch 2"


def commands(language):
    """The python commands of the README's blocks in this language, without their set-up."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)
    return re.findall(r"(?:^|&& )(python .*)$", "\n".join(blocks), flags=re.M)


def test_there_are_commands():
    assert {"python train.py", "python -m pytest"} <= set(commands("bash"))
    assert len(commands("sh")) >= 3


@pytest.mark.parametrize("command", [c for c in commands("bash") if "pytest" not in c])
def test_command_runs(command, tmp_path):
    few = f" {FEW} --out {tmp_path}" if "train.py" in command else ""
    if "--ensemble" in command:  # which says how many seeds
        few = few.replace("--seeds 1 ", "")
    done = subprocess.run([sys.executable, *shlex.split(command + few)[1:]], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stderr.strip()  # nothing, or the rate of a prediction
    assert done.stdout.strip() and (not said or re.fullmatch(r"1 answered, 0 bad lines, \d+ a second", said))


@pytest.mark.parametrize("command", [c for c in commands("sh") if "train.py" in c])
def test_options_of_the_real_commands_exist(command):
    arguments = train.parse_arguments(shlex.split(command)[2:])
    assert arguments.lr == 0.3 and arguments.length == 100  # the paper's recipe


def test_its_example_of_a_new_task_is_one(tmp_path, monkeypatch):
    [entry] = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    monkeypatch.setattr(data, "TASKS", data.TASKS | eval("{" + entry + "}", vars(data)))
    folder = tmp_path / "scitail"
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").write_text("premise\thypothesis\tlabel\nIt rains.\tIt is wet.\tentails\n")
    [example], _ = data.load("scitail", tmp_path)
    assert example == data.Example("hypothesis: It is wet. premise: It rains.", "entails")


@pytest.mark.parametrize("page", ["README.md", "RESULTS.md", "toy/README.md"])
def test_files_it_names_are_there(page):
    for name in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert ((ROOT / page).parent / name).exists(), name


def test_the_commands_of_the_results_page_are_ones(tmp_path, monkeypatch):
    # Its blocks are run by a shell to which python is a function that prints its arguments.
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "RESULTS.md").read_text(encoding="utf-8"), flags=re.S)
    shell = subprocess.run(["bash", "-c", 'python() { printf "%q " "$@"; echo; }\n' + "\n".join(blocks)],
                           capture_output=True, text=True, check=True, cwd=tmp_path)
    commands = [shlex.split(line) for line in shell.stdout.splitlines()]
    monkeypatch.chdir(ROOT)
    folders = {train.parse_arguments(options).out for script, *options in commands if script == "train.py"}
    assert len(folders) > 10
    for script, *options in commands:
        assert (ROOT / script).exists()
        assert script == "train.py" or {word for word in options if word.startswith("runs/")} <= folders
