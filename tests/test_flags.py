"""Flags: ranges, what a model's recipe.json may say, what is worth more, and what is refused.

    python -m pytest tests/test_flags.py

Oracle: the sentences that somebody who mistyped should read.
"""

import argparse
import dataclasses
import doctest
import json
import re
import types

import pytest
import torch

import train
from plumbing import device, flags
from plumbing.flags import option
from toy import world


@dataclasses.dataclass(frozen=True)
class Small:
    """Two numbers and a word."""

    lr: float = option(0.3, "learning rate, 100 % made up", above=0)
    steps: int = option(10, "steps", at_least=1)
    share: float = option(0.0, "a share", at_least=0, below=1)
    how: str = option("fast", "the way", choices=("fast", "slow"),
                      free=lambda how: how.startswith("text:"))


def chosen(folder, *arguments):
    parser = argparse.ArgumentParser()
    flags.add_options(parser, Small)
    return flags.chosen(Small, parser.parse_args(arguments), folder)


# ------------------------------------------------------------------------ ranges


@pytest.mark.parametrize("name, good, bad, wanted", [
    ("lr", [1e-9, 5], [0, -1, "nan", "inf"], "above 0"),
    ("steps", [1, 7], [0, -3], "1 or more"),
    ("share", [0, 0.99], [1, 1.5, -0.1, "nan", "inf", "-inf"], "from 0 to below 1")])
def test_a_number_out_of_range_is_named_with_its_flag_and_its_range(name, good, bad, wanted,
                                                                    tmp_path):
    for value in good:
        recipe, _ = chosen(tmp_path, f"--{name}={value}")
        assert getattr(recipe, name) == value
    for value in bad:
        shown = {"lr": float, "steps": int, "share": float}[name](value)
        with pytest.raises(ValueError, match=f"^--{name} is {re.escape(str(shown))}, "
                                             f"wanted {wanted}$"):
            chosen(tmp_path, f"--{name}={value}")


def test_a_word_is_one_of_a_few_or_of_a_free_form(tmp_path):
    assert chosen(tmp_path, "--how", "slow")[0].how == "slow"
    assert chosen(tmp_path, "--how", "text:a b")[0].how == "text:a b"
    with pytest.raises(ValueError, match="^unknown how 'slowly': fast, slow$"):
        chosen(tmp_path, "--how", "slowly")


def test_a_dash_stands_for_what_is_an_underscore_in_the_recipe():
    with pytest.raises(ValueError, match="^--held-out is 2, wanted from 0 to below 1$"):
        flags.check("held_out", 2, at_least=0, below=1)


# What each number of train.py's recipe refuses, and what it says. All of them are here.
REFUSED = {
    "length": [(0, "1 or more"), (-5, "1 or more")],
    "lr": [(0.0, "above 0"), (-0.3, "above 0"), ("nan", "above 0"), ("inf", "at most 1,000")],
    "weight_decay": [(-1e-5, "0 or more"), ("nan", "0 or more"), ("inf", "at most 1")],
    "steps": [(0, "1 or more")],
    "source_steps": [(0, "1 or more")],
    "batch": [(0, "1 or more")],
    "strength": [(-1.0, "0 or more"), ("nan", "0 or more"), ("inf", "at most 1,000,000")],
    "temperature": [(0.0, "above 0.001"), ("nan", "above 0.001"), ("inf", "at most 1,000")],
    "dropout": [(0.999999, "at most 0.9"), (-0.1, "0 or more"), ("nan", "0 or more")],
    "evals": [(0, "1 or more")],
    "held_out": [(1.0, "from 0 to below 1"), (-0.1, "from 0 to below 1"),
                 ("nan", "from 0 to below 1")],
    "max_input": [(1, "2 or more")],
    "max_dev": [(-1, "0 or more")],
    "labelled": [(-1, "0 or more"), (10 ** 11, "at most 1,000,000")],
    "finetune_lr": [(0.0, "above 0"), ("inf", "at most 10")],
    "finetune_dropout": [(1.0, "at most 0.9"), ("nan", "0 or more")],
}
WORDS = {"init": "uniform, vocabulary, labels", "optimizer": "adafactor, adamw",
         "schedule": "constant, cosine", "kd": "kl, mse, states, text",
         "metric": "panda, on, e_avg, e_tok, zero_shot, none", "student_init": "fresh, source",
         "unlabelled": "rest"}
FREE = {"init": ", text:SOME WORDS, or a trained prompt: .*",
        "unlabelled": r" \(the other training inputs\), a number .*, or a file"}


def test_every_number_of_the_recipe_has_a_range_and_every_word_its_choices():
    kinds = {field.name: type(field.default) for field in dataclasses.fields(train.Recipe)}
    assert {name for name, kind in kinds.items() if kind is str} == set(WORDS)
    assert {name for name, kind in kinds.items() if kind in (int, float)} == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_the_ranges_of_the_recipe(name):
    flag = f"--{name.replace('_', '-')}"
    for value, wanted in REFUSED[name]:
        with pytest.raises(ValueError, match=f"^{flag} is {re.escape(str(value))}, "
                                             f"wanted {wanted}$"):
            train.parse_arguments([f"{flag}={value}"])


@pytest.mark.parametrize("words, said", [
    ("--lr 1e20", "--lr is 1e[+]20, wanted at most 1,000"),
    ("--weight-decay 1e10", "wanted at most 1"), ("--strength 1e30", "wanted at most 1,000,000"),
    ("--temperature 1e-30", "wanted above 0.001"), ("--temperature inf", "wanted at most 1,000"),
    ("--lr nan", "wanted above 0"), ("--length 100000000000", "wanted at most 10,000"),
    ("--steps 10000000000000", "wanted at most"), ("--batch 1000000000", "wanted at most"),
    ("--seeds 100000000", "--seeds is"), ("--first-seed 99999999999999999999", "--first-seed is"),
    ("--first-seed -1", "wanted 0 or more"), ("--data /not/there", "there is no such folder"),
    ("--cache /etc/hostname", "is a file, wanted a folder"), ("--init text:", "unknown init")])
def test_what_makes_no_sense_is_refused_before_anything_is_loaded(words, said):
    with pytest.raises(ValueError, match=said):
        train.parse_arguments(words.split())


@pytest.mark.parametrize("flag", ["source", "target", "approach", "model", "out", "data", "cache"])
@pytest.mark.parametrize("value", ["", " ", ","])
def test_an_empty_name_is_no_name(flag, value):
    with pytest.raises(ValueError, match=f"^--{flag} '{value}' names nothing$"):
        train.parse_arguments([f"--{flag}", value])


@pytest.mark.parametrize("name", WORDS)
def test_the_words_of_the_recipe(name):
    free = FREE.get(name, "")
    with pytest.raises(ValueError, match=f"^unknown {name} 'magic': {WORDS[name]}{free}$"):
        train.parse_arguments([f"--{name.replace('_', '-')}", "magic"])
    for word in WORDS[name].split(", "):
        args = train.parse_arguments([f"--{name.replace('_', '-')}", word])
        assert getattr(args.recipe, name) == word


def test_several_forms_of_distillation_may_be_asked_for():
    for kd in ("mse", "kl,states", "text,mse,kl"):
        assert train.parse_arguments(["--kd", kd]).recipe.kd == kd
    assert flags.names(train.parse_arguments([]).recipe.kd) == ["kl", "states"]
    with pytest.raises(ValueError, match="^unknown kd 'kl,magic': kl, mse, states, text$"):
        train.parse_arguments(["--kd", "kl,magic"])


def test_a_start_may_be_a_text_or_a_file_that_is_there():
    for how in ("text:entailment or not", str(world.PROMPTS / "toy-nli-0")):
        assert train.parse_arguments(["--init", how]).recipe.init == how
    with pytest.raises(ValueError, match="^--init nowhere.npy: there is no such file or folder$"):
        train.parse_arguments(["--init", "nowhere.npy"])


def test_inputs_without_labels_are_none_or_rest_or_a_number_or_a_file(tmp_path):
    file = tmp_path / "inputs.txt"
    file.write_text("cats sleep\n")
    for source in ("", "rest", "1", "1000", str(file)):
        assert train.parse_arguments(["--unlabelled", source]).recipe.unlabelled == source
    for source, why in {"0": "unknown unlabelled '0': rest .*, a number .*, or a file",
                        "-5": "unknown unlabelled '-5': rest .*",
                        "99999999999": "unknown unlabelled '9+': rest .*",
                        "nowhere.txt": "--unlabelled nowhere.txt: there is no such file or folder",
                        f"{tmp_path}": f"--unlabelled {tmp_path}: this is a folder, no file"
                        }.items():
        with pytest.raises(ValueError, match=f"^{why}$"):
            train.parse_arguments([f"--unlabelled={source}"])


def test_help_says_the_default_and_where_it_is_from():
    parser = flags.train_parser("what", train.Recipe, train.APPROACHES)
    shown = " ".join(parser.format_help().split())
    assert "rate of prompts (Lester et al. 2021, section 3: 0.3) (default: 0.3)" in shown
    assert "or a file (default: none)" in shown
    parser = argparse.ArgumentParser()
    flags.add_options(parser, Small)
    assert "100 % made up" in parser.format_help()


# --------------------------------------------------- a flag, the model's recipe, the default


def test_a_flag_is_worth_more_than_the_models_recipe_and_that_more_than_the_default(tmp_path):
    assert chosen(tmp_path) == (Small(), "recipe: all of it by default")
    (tmp_path / "recipe.json").write_text('{"lr": 0.1, "steps": 5, "source": "toy-nli"}')
    assert chosen(tmp_path) == (Small(lr=0.1, steps=5), f"recipe: {tmp_path}/recipe.json: lr 0.1, "
                                                        "steps 5; the rest by default")
    assert chosen(tmp_path, "--lr", "0.2") == (
        Small(lr=0.2, steps=5), f"recipe: flags: lr 0.2; {tmp_path}/recipe.json: steps 5; the rest "
                                "by default")
    assert chosen(tmp_path, "--lr", "0.2", "--steps", "3") == (
        Small(lr=0.2, steps=3), "recipe: flags: lr 0.2, steps 3; the rest by default")
    # A flag is worth more even if it says the default.
    assert chosen(tmp_path, "--lr", "0.3")[0] == Small(steps=5)


def test_what_the_models_recipe_says_is_checked_like_a_flag(tmp_path):
    (tmp_path / "recipe.json").write_text('{"steps": 0}')
    with pytest.raises(ValueError, match="^--steps is 0, wanted 1 or more$"):
        chosen(tmp_path)
    assert chosen(tmp_path, "--steps", "2")[0].steps == 2


@pytest.mark.parametrize("content, complaint", [
    ("{lr: 1}", " is not JSON: Expecting property name"),
    ("", " is not JSON: "),
    ("[1]", " holds [1], wanted an object"),
    ('"lr"', " holds 'lr', wanted an object"),
    ("null", " holds None, wanted an object"),
    ('{"rate": 0.1}', ": rate is 0.1, wanted an object of lr (float)"),
    ('{"steps": 2.0}', ": steps is 2.0, wanted"),
    ('{"steps": true}', ": steps is True, wanted"),
    ('{"lr": "0.1"}', ": lr is '0.1', wanted"),
    ('{"target": ["toy-cb"]}', ": target is ['toy-cb'], wanted"),
])
def test_a_bad_recipe_is_named(content, complaint, tmp_path):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}/recipe.json{complaint}")):
        chosen(tmp_path)


def test_the_models_recipe_names_the_tasks_that_no_flag_does(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps({"target": "cb", "source": "mnli,rte"}))
    with pytest.raises(ValueError, match="this folder holds no config.json, so no T5"):
        train.parse_arguments(["--model", str(tmp_path)])
    (tmp_path / "config.json").write_text("{}")
    args = train.parse_arguments(["--model", str(tmp_path)])
    assert (args.target, args.source) == (["cb"], ["mnli", "rte"])
    args = train.parse_arguments(["--model", str(tmp_path), "--target", "rte", "--source", "mnli"])
    assert (args.target, args.source) == (["rte"], ["mnli"])
    args = train.parse_arguments(["--model", str(tmp_path), "--approach", "prompt,finetune"])
    assert (args.target, args.source) == (["cb"], [])


# ------------------------------------------------------------------------ train.py's


def test_fusion_has_sources():
    args = train.parse_arguments(["--approach", "fusion"])
    assert args.source == ["toy-nli", "toy-sst2"]
    args = train.parse_arguments(["--approach", "fusion", "--source", "toy-nli,toy-rte"])
    assert args.source == ["toy-nli", "toy-rte"]


def test_a_form_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match="kl,kl"):
        train.parse_arguments(["--kd", "kl,kl"])


def test_what_runs_if_nothing_is_given():
    args = train.parse_arguments([])
    assert args.approach == ["prompt", "pot", "panda", "controls"]
    assert (args.source, args.target, args.model) == (["toy-nli", "toy-sst2"], ["toy-cb"],
                                                      str(world.MODEL))
    assert args.recipe.length == 10 and args.recipe.held_out == 0.6
    assert train.parse_arguments(["--approach", "prompt"]).source == []


@pytest.mark.parametrize("arguments, complaint", [
    (["--target", "toy-cv"], "unknown task 'toy-cv'; did you mean toy-cb"),
    (["--source", "toy-nly"], "unknown task 'toy-nly'; did you mean toy-nli"),
    (["--target", "cb", "--source", "toy-nli"], "only the toy world's tasks have a T5 of their "
                                                "own: give --model t5-small, say, or a folder"),
    (["--target", "cb", "--source", "mnli"], "give --model"),
    (["--target", "cb", "--approach", "prompt"], "give --model"),
    (["--target", "cb", "--model", "t5-small"], "give --source, the tasks to transfer from, or "
                                                "--approach prompt"),
    (["--source", "mnli", "--model", "t5-small"], "give --target"),
    (["--approach", "panda_self"], "unknown approach 'panda_self': prompt, pot, panda, controls"),
    (["--approach", "panda_self"], "finetune; panda_self comes with controls"),
    (["--approach", "panda_late"], "finetune; panda_late comes with fusion"),
    (["--approach", "panda_states"], "finetune; panda_FORM is panda with --kd FORM"),
    (["--approach", "magic"], "unknown approach 'magic'"),
    (["--source_steps", "2"], "did you mean --source-steps"),
    (["--seeds", "0"], "--seeds is 0, wanted 1 or more"),
    (["--tokens", "0"], "--tokens is 0, wanted 1 or more"),
    (["--dtype", "fp16", "--device", "cpu"], "--dtype fp16 needs a GPU"),
    (["--model", "t5-smal", "--target", "toy-cb", "--source", "toy-nli"], "did you mean t5-small"),
    (["--device", "gpu"], "unknown device 'gpu'"),
    (["--device", "cuda:99"], "--device cuda:99: "),
    (["--source", "toy-nli,toy-nli"], "--source toy-nli,toy-nli names a task twice"),
    (["--target", "toy-cb,toy-cb"], "--target toy-cb,toy-cb names a task twice"),
    (["--source", "toy-cb"], "toy-cb cannot be its own source: give another --source, or "),
    (["--source", "toy-nli", "--approach", "prompt"], "toy-nli: only pot, panda and fusion have"),
    (["--source", "toy-nli", "--approach", "fusion"], "fusion is of several sources"),
    (["--unlabelled", "8", "--approach", "prompt"], "--unlabelled is for students"),
    (["--source", "toy-nli", "--approach", "prompt,finetune,controls"], "not --approach prompt,"),
    (["--out", __file__], f"--out {__file__} is a file, wanted a folder"),
])
def test_bad_input_is_named(arguments, complaint, tmp_path):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        train.main(["--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out" / "log.jsonl").exists()


@pytest.mark.parametrize("gone", [["--ensemble", "3"], ["--eval-on", "toy-rte"]])
def test_what_is_predicts_work_now_is_no_flag_here(gone):
    # `predict.py score` lets prompts vote, and scores them on other tasks.
    with pytest.raises(ValueError, match=f"unrecognized arguments: {' '.join(gone)}; "):
        train.parse_arguments(gone)


def test_more_evaluations_than_steps_are_no_more_than_steps():
    said = "; a run of 4 steps is scored after each, not 9 times"
    four = ["--steps", "4", "--source-steps", "40", "--evals"]
    assert said in train.parse_arguments([*four, "9"]).said
    assert "scored after" not in train.parse_arguments([*four, "4"]).said


@pytest.mark.parametrize("text, found", [
    ("a,b", ["a", "b"]), (" a , b ", ["a", "b"]), ("a,,b,", ["a", "b"]), ("", []), (",", [])])
def test_names_in_a_list(text, found):
    assert flags.names(text) == found


@pytest.mark.parametrize("approach, kd, runs", [
    # of 2 seeds, 2 sources and 1 target; prompt_2x counts twice, prompt_3x three times
    ("prompt", "kl", 2), ("prompt,pot", "kl", 2 + 4), ("prompt,finetune", "kl", 2 + 2),
    ("panda", "kl", 2 + 4 + 4), ("panda", "kl,states", 2 + 4 + 2 * 4),  # a student for each form
    ("prompt,pot,panda,controls", "kl", 2 + 4 + 4 + 2 * (2 + 3) + 2),
    ("prompt,pot,panda,controls", "kl,mse", 2 + 4 + 2 * 4 + 2 * (2 + 3) + 2 * 2),
    # pot_early, and of each form panda_early and panda_late
    ("pot,fusion", "kl", 2 + 4 + 2 + 2 * 2), ("pot,fusion", "kl,text", 2 + 4 + 2 + 2 * 2 * 2)])
def test_rows_that_are_planned(approach, kd, runs):
    sources = 0 if approach in ("prompt", "prompt,finetune") else 2
    args = train.parse_arguments(["--seeds", "2", "--steps", "5", "--source-steps", "7", "--batch",
                                  "3", "--approach", approach, "--kd", kd])
    assert flags.planned_rows(args) == (runs * 5 + sources * 7) * 3


# ------------------------------------------------------------------------ on what it runs


def test_the_device_and_its_numbers(monkeypatch):
    assert device.choose("cpu") == ("cpu", "fp32", "asked for")
    assert device.choose("cpu", "bf16")[1] == "bf16"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose() == ("cpu", "fp32", "no GPU found")
    with pytest.raises(ValueError, match="--device cuda:1: this machine has no GPU"):
        device.choose("cuda:1")
    # With one: bf16, where it is not merely emulated.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    made = []
    for has_bf16, dtype in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
        assert device.choose() == ("cuda", dtype, "found")
    assert device.choose(dtype="fp16")[1] == "fp16"
    monkeypatch.setattr(torch.cuda, "set_device", made.append)
    assert device.choose("cuda:1")[0] == "cuda:1" and device.choose("cuda")[0] == "cuda"
    assert made == ["cuda:1"]  # else a recording there would be of nothing
    with pytest.raises(ValueError, match="finetune needs --dtype bf16 or fp32"):
        device.choose(dtype="fp16", tuning=True)


def test_a_cpu_takes_the_type_that_it_is_faster_in_and_stays_with_it(monkeypatch, tmp_path):
    kept, speeds = tmp_path / "dtype.json", iter([2.5, 0.3])
    monkeypatch.setattr(device, "bf16_speed", lambda D, ff: next(speeds))
    said = f"found; bf16 measured 2.5 times as fast as fp32 at 768 x 3072, {kept}"

    def measured(D, ff, out=tmp_path, where="cpu", dtype="fp32"):
        config = types.SimpleNamespace(d_model=D, d_ff=ff)
        return device.measured(config, where, dtype, out, "found")

    assert measured(768, 3072) == measured(768, 3072) == ("bf16", said)  # not measured again
    assert measured(512, 1024)[0] == "fp32"
    assert json.loads(kept.read_text()) == {"768 x 3072": 2.5, "512 x 1024": 0.3}
    assert measured(128, 256, tmp_path / "none") == ("fp32", "found")  # the toy world's
    assert measured(768, 3072, where="cuda", dtype="bf16") == ("bf16", "found")
    assert measured(128, 256, where="cuda", dtype="bf16") == ("fp32", "found")
    assert not (tmp_path / "none").exists()


def test_the_products_that_are_measured_are_timed():
    assert 0.01 < device.bf16_speed(256, 512, rounds=1) < 100


def test_examples_in_the_docstrings():
    assert doctest.testmod(flags).failed == 0  # it has none yet
