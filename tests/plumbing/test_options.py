"""Flags: precedence, ranges, what a mistyped one meets, and how a command ends.

    python -m pytest tests/plumbing/test_options.py

Oracle: the sentences that somebody who made a mistake should read.
"""

import dataclasses
import json
import os
import pwd
import re
import signal
import sys

import pytest

import distill
import model
import train
import transferability
from plumbing import options
from plumbing.options import option
from toy import world


@dataclasses.dataclass(frozen=True)
class Small:
    """A recipe of four flags."""

    lr: float = option(0.3, "learning rate, 100 % made up", above=0, at_most=1e3)
    steps: int = option(10, "steps", at_least=1)
    held_out: float = option(0.0, "a share", at_least=0, below=1)
    how: str = option("fast", "the way", choices=("fast", "slow"),
                      free=lambda how: how.startswith("text:"), words=", or text:SOME WORDS")


def choose(folder, *flags):
    parser = options.Parser()
    options.add_options(parser, Small)
    return options.choose(Small, parser.parse_args(flags), folder)


@pytest.fixture
def end(monkeypatch, capsys):
    """end(function or error) -> (status, standard error) of a command that runs or raises it."""
    def end(act, program="train.py"):
        def main():
            if isinstance(act, BaseException):
                raise act
            act()

        with pytest.raises(SystemExit) as stop:
            options.run(main, program)
        return stop.value.code, capsys.readouterr().err

    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own
    return end


# ------------------------------------------------ where a value comes from


def test_precedence_flag_recipe_default(tmp_path):
    assert choose(tmp_path) == (Small(), "recipe: all else by default")
    (tmp_path / "recipe.json").write_text('{"lr": 0.1, "steps": 5, "source": "toy-nli"}')
    file = f"{tmp_path}/recipe.json"
    assert choose(tmp_path) == (Small(lr=0.1, steps=5),
                                f"recipe: {file}: lr 0.1, steps 5; all else by default")
    assert choose(tmp_path, "--lr", "0.2") == (
        Small(lr=0.2, steps=5), f"recipe: flags: lr 0.2; {file}: steps 5; all else by default")
    recipe, _ = choose(tmp_path, "--lr", "0.3")  # a flag counts, even if it says the default
    assert recipe == Small(lr=0.3, steps=5)


@pytest.mark.parametrize("content, complaint", [
    ("{lr: 1}", " is not JSON: "), ("[1]", " holds [1], wanted a JSON object"),
    ('{"rate": 0.1}', ": unknown name 'rate', wanted lr, steps, held_out, how, "),
    ('{"steps": 2.0}', ": steps is 2.0, wanted a int"), ('{"steps": true}', ": steps is True"),
    ('{"target": ["toy-cb"]}', ": target is ['toy-cb'], wanted a str")])
def test_a_bad_recipe_json_is_named(content, complaint, tmp_path):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{tmp_path}/recipe.json{complaint}')}"):
        choose(tmp_path)


def test_quick_is_between_flags_and_the_models_recipe(tiny, tmp_path):
    args = train.parse_arguments([*tiny.flags(tmp_path), "--quick", "--batch", "3"])
    assert (args.recipe.batch, args.recipe.steps, args.recipe.kd) == (3, 10, "mse")
    assert args.origin.startswith("recipe: flags: batch 3; --quick: length 10, steps 10, ")
    args = train.parse_arguments(["--model", str(tiny.folder), "--quick"])
    assert list(args.seeds) == [0]


def test_every_distance_of_label_scores_wants_labels(monkeypatch):
    monkeypatch.setitem(distill.DISTANCES, "mine", distill.Distance(distill.kl, "labels"))
    with pytest.raises(ValueError, match="--kd mine: toy-ner has no labels"):
        train.parse_arguments(["--kd", "mine", "--target", "toy-ner"])


def test_without_flags_the_toy_world():
    args = train.parse_arguments([])
    of_toy = json.loads((world.MODEL / "recipe.json").read_text())
    assert (args.source, args.target) == (of_toy["source"].split(","), of_toy["target"].split(","))
    assert args.model == str(world.MODEL) and args.recipe.length == of_toy["length"] < 100
    assert train.parse_arguments(["--approach", "prompt"]).source == []
    both = train.parse_arguments(["--source", "toy-nli,toy-cb", "--target", "toy-cb"]).source
    assert both == ["toy-nli", "toy-cb"]  # a grid leaves out its diagonal


def test_a_tilde_is_the_users_folder(tiny, tmp_path, monkeypatch, capsys):
    """Where a shell leaves it, as in --out=~/runs or in a script's quotes."""
    monkeypatch.setenv("HOME", str(tiny.folder.parent))
    name = f"~/{tiny.folder.name}"
    flags = [f"--{flag}={name}" for flag in ("out", "data", "cache", "model", "init")]
    args = train.parse_arguments([*tiny.flags(tmp_path), *flags])
    assert args.recipe.length == 3  # of the recipe.json of --model
    assert [args.out, args.data, args.cache] == 3 * [tiny.folder]
    monkeypatch.setattr("sys.argv", ["model.py", "~/none", "cats"])
    with pytest.raises(ValueError, match=f"^{tiny.folder.parent}/none/spiece.model is missing"):
        model.main()
    monkeypatch.setenv("HOME", str(world.PROMPTS))
    transferability.main(["~/toy-nli-0", "~/toy-sst2-0"])
    assert "| toy-nli-0 | +1.00 |" in capsys.readouterr().out


# ------------------------------------------------------- what is refused


@pytest.mark.parametrize("words, complaint", [
    # flags
    ("--targte toy-cb", "unknown flag --targte; did you mean --target?"),
    ("--xyz 1", "unknown flag --xyz; --help lists all flags"),
    ("--seed 1", "unknown flag --seed: it is called --first-seed"),  # nor is it --seeds
    ("--strength 2", "unknown flag --strength: it is called --kd-lambda"),
    ("--out=--", "--out is '--', wanted a value"),
    ("--steps many", "argument --steps: invalid int value: 'many'; --help lists all flags"),
    # numbers and words
    ("--lr nan", "--lr is nan, wanted more than 0"),
    ("--lr 1e20", "--lr is 1e+20, wanted at most 1,000"),
    ("--held-out 1", "--held-out is 1.0, wanted less than 1"),
    ("--seeds 0", "--seeds is 0, wanted 1 or more"),
    ("--seeds 10001", "--seeds is 10001, wanted at most 10,000"),
    ("--first-seed -1", "--first-seed is -1, wanted 0 or more"),
    ("--tokens 0", "--tokens is 0, wanted 1 or"),
    ("--labelled -1", "--labelled is -1, wanted 0 or more"),
    ("--kd kl,magic", "unknown kd 'kl,magic': kl, labels, mse, hidden"),
    ("--kd labels --target toy-ner", "--kd labels: toy-ner has no labels, its answers are free"),
    ("--kd kl,kl", "kl,kl names something twice"),
    ("--init nowhere.npy", "unknown init 'nowhere.npy': uniform, vocabulary, labels, text:SOME"),
    ("--init /\udcff", "'/\\udcff' is no path in UTF-8: rename it, or give another path"),
    # tasks and approaches
    ("--source toy-nli,toy-nli", "toy-nli,toy-nli names something twice"),
    ("--approach ,", "unknown approach '': prompt, pot, panda"),
    ("--approach fusion --source toy-nli", "fusion is of several sources: give --source two"),
    ("--approach fusion --source toy-nli,toy-cb", "fusion is of several sources: give --source"),
    ("--approach prompt --source toy-nli", "only pot, panda and fusion have a --source, not --app"),
    # machines, files and folders
    ("--device gpu", "unknown device 'gpu'"),
    ("--model t5-smal", "'t5-smal' is neither a folder nor a model's name (known: t5-small"),
    ("--model {tmp}/file", "--model {tmp}/file is a file, wanted the folder of a T5: its config"),
    ("--data /not/there --target cb", "the data folder /not/there is no folder"),
    ("--out {tmp}/file", "{tmp}/file cannot be written: File exists"),
    ("--out=", "'' is no path"),
    ("--split pairs --no-resume", "--split pairs reads what others have trained: not with")])
def test_bad_input_is_one_line_with_status_2(words, complaint, tiny, end, tmp_path):
    """More of these are in tests/test_train.py."""
    (tmp_path / "file").write_text("")
    flags = words.format(tmp=tmp_path).split()
    flags = ["--model", str(tiny.folder), "--out", str(tmp_path / "out"), *flags]
    status, line = end(lambda: train.main(flags))
    assert line.startswith(f"train.py: {complaint.format(tmp=tmp_path)}")
    assert (status, line.count("\n")) == (2, 1)
    assert not (tmp_path / "out" / "log.jsonl").exists()  # before anything is trained


def test_a_renamed_flag_is_named_where_the_command_has_it():
    for flag, hint in (("--metric", ": it is called --similarity"), ("--seed", "; --help lists")):
        with pytest.raises(ValueError, match=f"^unknown flag {flag}{hint}"):
            transferability.main(["p.npy", flag, "1"])


def test_every_flag_has_help_with_its_default():
    parser = options.train_parser("what", train.Recipe, train.APPROACHES)
    text = " ".join(parser.format_help().split())
    assert "rate of prompts (Lester et al. 2021, section 3: 0.3) (default: 0.3)" in text
    for action in parser._actions:
        assert action.help and ("default" in action.help or action.nargs == 0)


# ------------------------------------------------------ how a command ends


@pytest.mark.parametrize("error, status, line", [
    (ValueError("a\nb: no such file"), 2, "train.py: a b: no such file\n"),
    (FileNotFoundError(2, "No such file or directory", "/x"), 2,
     "train.py: /x: No such file or directory\n"),
    (RuntimeError("CUDA out of memory"), 1, "train.py: CUDA out of memory; give fewer --tokens\n"),
    (MemoryError(), 1, "train.py: out of memory; give fewer --tokens\n"),
    (KeyboardInterrupt(), 130,
     "\ntrain.py: stopped; the same command goes on from the last saved state\n")])
def test_what_a_user_can_do_something_about_is_one_line(error, status, line, end):
    assert end(error) == (status, line)
    assert end(KeyboardInterrupt(), "predict.py") == (130, "\npredict.py: stopped\n")


def test_a_full_disk_under_standard_output_is_named(end, monkeypatch):
    """As with `> /dev/full`; what is printed may lie in Python's buffer until the end."""
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))
    assert end(lambda: print("much")) == (
        2, "train.py: standard output or an open file: No space left on device\n")


@pytest.mark.parametrize("error", [TypeError("ours"), RuntimeError("connection ours")])
def test_a_mistake_of_ours_shows_where_it_is(error, end):
    with pytest.raises(type(error), match="ours"):
        end(error)


def test_without_a_home_folder(end, monkeypatch):
    """As in a container whose user has no entry in /etc/passwd."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    status, line = end(lambda: train.main(["--out", "~/runs"]))
    assert status == 2 and line.startswith("train.py: ~ and the cache need a home folder, and HOME")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_swallows_what_is_printed(name, end, monkeypatch):
    monkeypatch.setattr(sys, name, None)  # so is it after 2>&-
    with pytest.raises(SystemExit) as stop:
        options.run(lambda: options.check("steps", 0, at_least=1), "train.py")
    assert stop.value.code == 2 and getattr(sys, name).name == os.devnull


def test_of_several_processes_each_says_which_it_is(end, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank, who in (("0", ""), ("2", "process 2: ")):
        monkeypatch.setenv("RANK", rank)
        assert end(ValueError("wrong")) == (2, f"train.py: {who}wrong\n")
        assert end(RuntimeError("Connection closed by peer")) == (
            1, f"train.py: {who}stopped, as another process ended or did not answer: Connection "
               "closed by peer\n")
