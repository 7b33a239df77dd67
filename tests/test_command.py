"""The edges of a command: python -m pytest tests/test_command.py

Oracle: the exit status and the line that somebody at a terminal should see.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import forked
from plumbing import command

pytestmark = pytest.mark.beside
ROOT = Path(__file__).resolve().parent.parent


def started(code, goes_on=False, **more):
    """A command whose main is this code."""
    return subprocess.Popen(
        [sys.executable, "-c", "import os, sys, time\nfrom plumbing import command\n"
         f"def main():\n    {code}\ncommand.run(main, 'it.py', {goes_on})"],
        cwd=ROOT, stderr=subprocess.PIPE, text=True, **more)


def ended(code, goes_on=False, **more):
    """(status, standard error) of it."""
    process = started(code, goes_on, **more)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.fixture
def raised(monkeypatch, capsys):
    """error -> (status, standard error) of a command that raises it, in this process."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(error, goes_on=False):
        def main():
            raise error

        with pytest.raises(SystemExit) as end:
            command.run(main, "it.py", goes_on)
        return end.value.code, capsys.readouterr().err

    return run


def test_what_a_user_can_do_something_about_is_one_line(raised):
    assert raised(ValueError("two is not one")) == (2, "it.py: two is not one\n")
    # The file's name is the user's, and may have two lines.
    assert raised(ValueError("a\nb: there is no such file")) == (
        2, "it.py: a b: there is no such file\n")
    assert raised(FileNotFoundError(2, "No such file or directory", "/no/such/file")) == (
        2, "it.py: /no/such/file: No such file or directory\n")
    assert raised(RuntimeError("CUDA out of memory")) == (
        1, "it.py: CUDA out of memory; give fewer --tokens, or --recompute\n")
    assert raised(RuntimeError("DefaultCPUAllocator: can't allocate memory")) == (
        1, "it.py: DefaultCPUAllocator: can't allocate memory; give fewer --tokens, or "
        "--recompute\n")
    assert raised(MemoryError())[0] == 1
    command.run(lambda: None, "it.py")  # and nothing at all where nothing is wrong


def test_of_several_processes_each_says_which_it_is(raised, monkeypatch):
    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_RANK", "0"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    assert raised(ValueError("two is not one")) == (2, "it.py: two is not one\n")
    monkeypatch.setenv("RANK", "2")
    assert raised(ValueError("two is not one")) == (2, "it.py: process 2 of 3: two is not one\n")
    lost = RuntimeError("Connection closed by peer\nand more")
    assert raised(lost) == (1, "it.py: process 2 of 3 stopped, as another of them ended "
                            "(Connection closed by peer); the same command goes on\n")
    monkeypatch.delenv("RANK")  # by hand, say: then ranks.start tells what is missing
    assert raised(ValueError("two is not one")) == (2, "it.py: two is not one\n")
    monkeypatch.setenv("RANK", "2")
    monkeypatch.delenv("WORLD_SIZE")  # alone there is no other
    assert raised(ValueError("two is not one")) == (2, "it.py: two is not one\n")
    with pytest.raises(RuntimeError, match="Connection closed"):
        raised(lost)


@pytest.mark.parametrize("mistake", [TypeError("a mistake of ours"), RuntimeError("as well")])
def test_a_mistake_of_ours_shows_where_it_is(mistake, raised):
    with pytest.raises(type(mistake), match=str(mistake)):
        raised(mistake)


def test_a_mistyped_flag_is_told_in_one_line_with_the_one_that_may_be_meant():
    parser = command.Parser()
    parser.add_argument("--target", type=int)
    for words, said in (("--targte 3", "unrecognized arguments: --targte 3; did you mean --target"),
                        ("--targ 3", "unrecognized arguments: --targ 3; did you mean --target"),
                        ("--target x", "argument --target: invalid int value: 'x'; --help tells"),
                        ("more", "unrecognized arguments: more; --help tells what there is")):
        with pytest.raises(ValueError, match=said):
            parser.parse_args(words.split())


@pytest.mark.parametrize("program", ["train.py", "model.py", "data.py", "predict.py",
                                     "transferability.py"])
def test_ctrl_c_while_torch_is_imported(program, tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt")  # as if pressed just then
    done = subprocess.run([sys.executable, program], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "\nstopped\n")


def test_what_was_said_before_an_error_is_not_lost(tmp_path):
    with open(tmp_path / "said", "w") as file:
        status, _ = ended("print('first'); raise ValueError('second')", stdout=file)
    assert status == 2 and (tmp_path / "said").read_text() == "first\n"


def test_ctrl_c_is_no_error(raised, monkeypatch):
    assert raised(KeyboardInterrupt()) == (130, "\nit.py: stopped\n")
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which goes_on replaces
    assert raised(KeyboardInterrupt(), goes_on=True) == (
        130, "\nit.py: stopped; the same command goes on from the last state, of an evaluation or "
        "a minute\n")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_end_it_with_a_word_after_tidying_up(name):
    number = getattr(signal, name)
    process = started("try:\n        print('here', flush=True); time.sleep(60)\n    finally:\n"
                      "        print('tidy', flush=True)", stdout=subprocess.PIPE,
                      preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # not as of nohup
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    said, wrong = process.communicate(timeout=60)
    assert (process.returncode, said, wrong) == (
        128 + getattr(signal, name), "tidy\n", f"\nit.py: stopped by {name}\n")


def test_several_processes_end_at_once_as_they_may_wait_where_python_hears_nothing():
    process = started("print('here', flush=True); time.sleep(60)", stdout=subprocess.PIPE,
                      env=os.environ | {"WORLD_SIZE": "2"})
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGTERM


def test_a_hangup_that_is_ignored_stays_so():
    """As `nohup` has it."""
    process = started("print('here', flush=True); time.sleep(0.5); print('done')",
                      stdout=subprocess.PIPE,
                      preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=60) == ("done\n", "") and process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("goes_on, status, line", [
    (False, 2, "it.py: a file or the output: No space left on device\n"), (True, 0, "")])
def test_an_output_that_is_full(goes_on, status, line):
    with open("/dev/full", "w") as full:
        assert ended("print('x' * 99999)", goes_on, stdout=full) == (status, line)


def test_an_output_that_is_closed():
    assert ended("print('nobody hears')", preexec_fn=lambda: os.close(1)) == (0, "")


def test_a_forked_command_has_the_toy_tasks_already(tmp_path, monkeypatch):
    """Of the tests' own forks, wherever pytest was started: else only their speed is lost."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it.py").write_text("from toy import world\nprint(world.examples.cache_info())")
    assert "currsize=12)" in forked.run([tmp_path / "it.py"]).stdout  # six tasks, train and dev
