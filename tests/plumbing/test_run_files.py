"""What a command leaves on disk: it goes on after any end, and reads no result of anything else.

    python -m pytest tests/plumbing/test_run_files.py

Oracle: the same command when nothing happens to it, bit for bit on a CPU.
"""

import dataclasses
import gc
import json
import math
import os
import random
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import data
import train
import transferability
from plumbing import engine, files, report, run_files
from plumbing.engine import Engine
from plumbing.run_files import RunDirectory, key_of, read_state
from toy import world

CPU = ["--device", "cpu"]


def written(out, pattern="*"):
    """The files that have their names, and not those that a kill has left half written."""
    return [path for path in out.rglob(pattern)
            if path.is_file() and files.TEMPORARY not in str(path.relative_to(out))]


def same(tiny, out, undisturbed):
    """Whether two commands have left the same weights, scores, curves and losses, bit for bit."""
    def weights(out):
        return {path.relative_to(out): path.read_bytes()
                for path in written(out, "*.safetensors")}

    assert weights(out) == weights(undisturbed) != {}
    assert tiny.results(out) == tiny.results(undisturbed) != {}


def whole(out):
    """Assert that each file that has its name is whole. Returns how many there are."""
    readers = {
        ".json": files.read_json, ".safetensors": load_file, ".pt": read_state,
        ".jsonl": lambda path: [json.loads(line) for line in path.read_text().splitlines()]}
    paths = written(out)
    for path in paths:
        readers.get(path.suffix, str)(path)
        if path.suffix == ".safetensors":
            assert path.with_name("prompt.json").exists()  # a folder is whole, too
    return len(paths)


# ------------------------------------------------------------------ it goes on


def test_evaluations_are_evenly_spaced_and_the_last_is_at_the_end():
    journal = SimpleNamespace(evals=3, total=10)  # after 10 / 3, 20 / 3 and 30 / 3 steps
    due = [step + 1 for step in range(10) if run_files.Journal.is_due(journal, step)]
    assert due == [4, 7, 10]


@pytest.fixture
def journal(tmp_path):
    """A function of (state): the Journal of two runs, and the Training that it is of."""
    directory = run_files.RunDirectory(tmp_path, quiet=True)

    def begin(state=None):
        bank = torch.nn.Linear(3, 4, bias=False)  # 12 numbers
        bank.snapshot = lambda n: n
        training = SimpleNamespace(
            runs=[SimpleNamespace(name=name, steps=2) for name in "ab"], bank=bank,
            optimizer=torch.optim.SGD(bank.parameters()),
            task=SimpleNamespace(task=SimpleNamespace(metrics=("accuracy",))))
        path = tmp_path / "state.pt"
        return run_files.Journal(directory, "t", path, [0, 1], training, 1, state), training

    return begin


@pytest.mark.parametrize("ce, kd", [
    ([1.0, math.nan], [0.0, 0.0]), ([1.0, 1.0], [0.0, math.inf])])
def test_what_has_diverged_stays_so_after_a_stop(ce, kd, journal):
    first, _ = journal()
    first.record_losses(0, ce, kd, [None, None])
    first.record_losses(1, [1.0, 1.0], [0.0, 0.0], [None, None])
    second, training = journal({"progress": vars(first.progress) | {"step": 2}})
    assert first.diverged == second.diverged == {1: 1}  # though no step is left to find it out
    results = second.results(training, 2 * [{"accuracy": 50.0}], [None, None])
    assert results[0].score == 50.0 and results[1] is None
    with pytest.raises(ValueError, match="t: no result for b at step 1, whose loss was no number"):
        second.finish()


def test_a_run_has_its_share_of_the_time_and_the_memory(journal):
    one, training = journal()
    one.progress.seconds = 6.0
    result, _ = one.results(training, 2 * [{"accuracy": 50.0}], [None, None])
    # 12 numbers in all, and of each the number and its gradient, of 4 bytes
    assert (result.seconds, result.trained, result.training_bytes) == (3.0, 6, 2 * 4 * 6)


def test_with_no_resume_no_state_is_read(tmp_path):
    config = {"task": "toy-cb", "seed": 0}
    for resume in (False, True):
        directory = run_files.RunDirectory(tmp_path / str(resume), resume)
        files.write_text(directory.state_path([config]), "no state")
        if resume:
            with pytest.raises(ValueError, match="is damaged"):
                directory.find_all("title", [config], "prompt.json", None)
        else:
            assert directory.find_all("title", [config], "prompt.json", None) == ([None], None)


class Stop(KeyboardInterrupt):
    """Ctrl-C, at a moment of our choice."""


def stopped(command):
    with pytest.raises(Stop):
        command()
    gc.collect()  # what the error holds lets go of the folder's lock


def stop_after(steps, monkeypatch):
    """From here on a training is stopped when so many steps are done. Returns the count left."""
    left = [steps]
    step = train.step_rows

    def stop(*args):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        return step(*args)

    monkeypatch.setattr(train, "step_rows", stop)
    return left


@pytest.mark.parametrize("more", [
    ["--optimizer", "adamw", "--schedule", "cosine", "--seeds", "2"], ["--dropout", "0.2"],
    ["--kd", "hidden", "--labelled", "7", "--approach", "prompt,pot,panda,controls"],
    ["--approach", "prompt,finetune"]], ids=["adamw", "dropout", "hidden", "finetune"])
def test_stopped_at_any_step_it_ends_as_if_it_had_not_been(more, tiny, tmp_path, monkeypatch):
    """With states of evaluations alone, which are after 2 steps and 4, or with one of each step."""
    tiny.train(tmp_path / "undisturbed", *CPU, *more)
    left = stop_after(0, monkeypatch)
    for every, steps in ((60, 1), (-1, 2), (60, 3), (-1, 1)):
        monkeypatch.setattr(run_files, "STATE_EVERY", every)
        left[0] = steps
        stopped(lambda: tiny.train(tmp_path / "out", *CPU, *more))
    left[0] = 1000
    tiny.train(tmp_path / "out", *CPU, *more)
    same(tiny, tmp_path / "out", tmp_path / "undisturbed")
    assert not list(tmp_path.glob("out/unfinished/*.pt"))


def kill_at(event, monkeypatch, log):
    """In a fork: let a command kill itself at the n-th step, flush, renaming or removal.

    Each step's training is noted in the file `log`.
    """
    count = [0]

    def before(function, is_step=False):
        def wrapped(*args, **kwargs):
            count[0] += 1
            if count[0] == event:
                os.kill(os.getpid(), signal.SIGKILL)
            if is_step:
                with open(log, "a") as file:
                    file.write(f"{key_of(sorted(run.name for run in args[0].runs))} {args[1]}\n")
            return function(*args, **kwargs)
        return wrapped

    for module, name in ((os, "fsync"), (os, "replace"), (os, "rename"), (os, "unlink")):
        monkeypatch.setattr(module, name, before(getattr(module, name)))
    monkeypatch.setattr(train, "step_rows", before(train.step_rows, is_step=True))
    monkeypatch.setattr(run_files, "STATE_EVERY", -1)


def test_killed_at_ten_moments_it_ends_as_if_it_had_not_been(tiny, fork, tmp_path, monkeypatch):
    """Ten kills -9 of one command, each where the one before has led, and nothing twice."""
    undisturbed, out, log = tmp_path / "undisturbed", tmp_path / "out", tmp_path / "steps"
    tiny.train(undisturbed, *CPU)

    def command(event):
        kill_at(event, monkeypatch, log)
        tiny.train(out, *CPU)

    steps = []
    for event in (2, 5, 11, 15, 7, 9, 19, 13, 8, 16):
        assert fork(lambda event=event: command(event)).wait().status == -signal.SIGKILL
        whole(out)
        steps.append(len(log.read_text().splitlines()) if log.exists() else 0)
    assert steps == sorted(steps) and len(set(steps)) >= 5  # it came on, in between
    assert fork(lambda: command(None)).wait().status == 0
    assert whole(out) > 15
    same(tiny, out, undisturbed)
    done = log.read_text().splitlines()
    assert len(set(done)) == 2 + 4 + 4 and len(done) <= len(set(done)) + 10  # one more for a kill
    assert fork(lambda: command(None)).wait().status == 0
    assert log.read_text().splitlines() == done


def test_a_second_command_in_the_same_folder_is_refused(tiny, fork, tmp_path):
    ctx = tiny.context(tmp_path)
    second = fork(lambda: train.main(tiny.flags(tmp_path))).wait()
    assert second.status == 2 and second.stderr == (
        f"train.py: another command is writing to {tmp_path}: wait for it, or give another --out\n")
    del ctx  # as where the first one ends, or is killed
    assert fork(lambda: tiny.train(tmp_path)).wait().status == 0


# ---------------------------------------------------------------------- damage


@pytest.fixture
def state(tiny, tmp_path, monkeypatch):
    """The file of the state of a stopped training, in tmp_path / "out"."""
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        stopped(lambda: tiny.train(tmp_path / "out", *CPU))
    [path] = tmp_path.glob("out/unfinished/*.pt")
    return path


def test_the_time_of_a_stopped_training_is_counted(state, tiny, tmp_path):
    """Of `prompt` and `pot`, which are trained in one bank, each takes half."""
    content = read_state(state)
    content["progress"]["seconds"] = 1000.0
    files.write_whole(state, lambda new: torch.save(content, new))
    tiny.train(tmp_path / "out", *CPU)
    times = [files.read_json(path)["result"]["seconds"]
             for path in tmp_path.glob("out/trained/toy-cb-*/prompt.json")]
    assert sum(500 < time < 600 for time in times) == 2


def journal_of(tmp_path, steps, evals):
    """A Journal of one run."""
    run = SimpleNamespace(name="prompt seed 0", steps=steps)
    training = SimpleNamespace(
        runs=[run], bank=SimpleNamespace(snapshot=str), task=SimpleNamespace(choose=[]))
    directory = RunDirectory(tmp_path, quiet=False)
    return directory.journal("cb", [{}], [0], training, evals, None)


def test_the_time_left_counts_a_scoring_for_each_evaluation(tmp_path, monkeypatch, capsys):
    """Steps of 2 s; a scoring of 1,000 s after every 10 of the 4,000 steps: 1,020 s for 10."""
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    journal = journal_of(tmp_path, steps=4000, evals=400)
    for step in (9, 19, 29):
        monkeypatch.setattr("time.monotonic", lambda step=step: 102.0 * (step + 1) + 61)
        journal.record_losses(step, [1.0], [0.0], [None])
        journal.record_scores(step, [50.0], str)
    lines = capsys.readouterr().out.splitlines()
    first, second, third = [line for line in lines if "/4000" in line]
    assert "left" not in first
    assert second.endswith(", left 4 days, 16:46:00")  # 398 * 1020 s
    assert third.endswith(", left 4 days, 16:29:00")


def test_a_clock_that_stands_still_stops_nothing(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("time.monotonic", lambda: 5.0)
    monkeypatch.setattr("time.time", lambda: 5.0)
    tiny.train(tmp_path, *CPU, "--evals", "3")
    assert "\n0 seconds; with pictures" in capsys.readouterr().out


def flip(content, position, bit):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1:]


def test_whatever_the_damage_a_state_is_refused_in_one_line_or_whole(state, tiny, fork, tmp_path):
    content = state.read_bytes()
    wanted = str(read_state(state))
    draw = random.Random(0)
    damaged = [b"", content[:-100], b"\x80\x02cos\nsystem\nq\x00."]  # the last one is a pickle
    damaged += [flip(content, draw.randrange(len(content)), draw.randrange(8)) for _ in range(200)]
    damaged += [content[:draw.randrange(len(content))] for _ in range(100)]
    refused = 0
    for one in damaged:
        state.write_bytes(one)
        try:
            assert str(read_state(state)) == wanted
        except ValueError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 150
    state.write_bytes(content)
    part = {"progress": read_state(state)["progress"]}
    for another_version in ({"bank": {}, "optimizer": {}, "scaler": {}}, part):
        files.write_whole(state, lambda new, values=another_version: torch.save(values, new))
        with pytest.raises(ValueError, match="is damaged .KeyError"):
            read_state(state)
    done = fork(lambda: tiny.train(tmp_path / "out", *CPU)).wait()
    assert (done.status, done.stderr) == (2, f"train.py: {state} is damaged (KeyError('bank')): "
                                             "delete it, and this training starts again\n")
    state.unlink()
    tiny.train(tmp_path / "out", *CPU)


@pytest.mark.parametrize("file, damage, complaint", [
    ("prompt.json", lambda content: content[:-5], "prompt.json is not JSON"),
    ("prompt.json", lambda content: content.replace(b'"result"', b'"rezult"'),
     "prompt.json is damaged ('result'): delete "),
    ("adapter_model.safetensors", lambda content: flip(content, len(content) - 3, 7),
     "its vectors are not those that prompt.json names; delete it")],
    ids=["cut", "name", "numbers"])
def test_a_damaged_result_is_one_line(file, damage, complaint, tiny, fork, tmp_path):
    tiny.train(tmp_path, *CPU)
    [path] = tmp_path.glob(f"trained/toy-nli-*/{file}")
    path.write_bytes(damage(path.read_bytes()))
    done = fork(lambda: tiny.train(tmp_path, *CPU)).wait()
    assert done.status == 2 and done.stderr.count("\n") == 1 and complaint in done.stderr


# ------------------------------------------------------- what is trained again


SOURCE, PLAIN, POT, PANDA = "toy-nli source", "toy-cb prompt", "toy-cb pot", "toy-cb panda_kl"
TUNED = "toy-cb finetune"
PROMPTS = {SOURCE, PLAIN, POT, PANDA}
ALL = PROMPTS | {TUNED}


@pytest.fixture
def trained_by(tiny, monkeypatch):
    """trained_by(out, flags…) -> the runs that this command trains. T5 is never asked."""
    def instead(training, recipe, journal, state=None):
        for n, run in enumerate(training.runs):
            seeds = f" seed {run.seed}" if run.seed else ""
            names.append(f"{training.task.name} {run.approach}{seeds}")
            journal.progress.curves[n] = [[run.steps, 50.0]]
            journal.progress.losses[n] = [[run.steps, 1.0, 0.0, None]]
            if run.start is not None:
                journal.progress.best[n] = 2 * run.start + run.steps
        return [None] * len(training.runs)

    def metrics(engine, bank, task, examples):
        return [{metric: 50.0 for metric in task.task.metrics}] * len(bank)

    def trained_by(out, *more):
        names.clear()
        tiny.train(out, *CPU, "--kd", "kl", "--approach", "prompt,pot,panda,finetune", *more)
        assert len(names) == len(set(names))
        return set(names)

    names = []
    monkeypatch.setattr(train, "train", instead)
    monkeypatch.setattr(data, "dev_metrics", metrics)
    monkeypatch.setattr(report, "write_report", lambda folder, results: None)

    def measures(source, target, probe):
        values = dict.fromkeys(transferability.MEASURES, 0.5 if len(probe.ids) > 5 else 0.3)
        return values | {"on": 0.25}

    monkeypatch.setattr(transferability, "all_measures", measures)
    return trained_by


@pytest.fixture
def before(trained_by, tmp_path):
    """The folder in which the command has been."""
    assert trained_by(tmp_path / "out") == ALL
    return tmp_path / "out"


@pytest.mark.parametrize("changed, again", [
    ([], set()), (["--tokens", 50], {TUNED}),  # with dropout, which is drawn for a batch
    (["--no-resume"], ALL), (["--dtype", "bf16"], ALL),
    # of students only: what weighs their teacher, and how they learn
    (["--kd-lambda", 50], {PANDA}), (["--temperature", 2], {PANDA}), (["--kd-lambda", 0], set()),
    (["--kd", "mse"], {"toy-cb panda_mse"}),
    (["--kd", "labels"], {"toy-cb panda_labels"}), (["--similarity", "on"], {PANDA}),
    (["--probe", 5], {PANDA}),
    # of model tuning only
    (["--finetune-lr", 0.5], {TUNED}), (["--finetune-dropout", 0], {TUNED}),
    (["--finetune-dropout", 0.2], {TUNED}),
    # of prompts only
    (["--lr", 0.1], PROMPTS), (["--length", 4], PROMPTS), (["--init", "uniform"], PROMPTS),
    (["--optimizer", "adamw"], PROMPTS), (["--schedule", "cosine"], PROMPTS),
    (["--weight-decay", 0.1], PROMPTS), (["--dropout", 0.1], PROMPTS),
    # examples, and what is chosen by
    (["--batch", 3], ALL), (["--evals", 1], ALL), (["--held-out", 0.5], ALL),
    (["--max-input", 12], ALL), (["--max-dev", 10], ALL), (["--labelled", 8], ALL - {SOURCE}),
    # steps, also of a source: its prompt is where others start, or learn from
    (["--steps", 3], ALL - {SOURCE}), (["--source-steps", 3], {SOURCE, POT, PANDA}),
    # more of it
    (["--seeds", 2], {f"{name} seed 1" for name in ALL - {SOURCE}}),
    (["--source", "toy-nli,toy-sst2"], {"toy-sst2 source", POT, PANDA}),
    (["--target", "toy-cb,toy-rte"], {name.replace("cb", "rte") for name in ALL - {SOURCE}}),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "")
def test_only_what_has_changed_is_trained_again(changed, again, before, trained_by):
    assert trained_by(before, *changed) == again


def test_other_weights_or_examples_or_prompts_read_no_old_result(
        before, trained_by, tiny, tmp_path, monkeypatch):
    prompt = shutil.copytree(before / "prompts" / "toy-cb-0", tmp_path / "start")
    tiny.copy(tmp_path / "t5", seed=2)
    assert trained_by(before, "--model", tmp_path / "t5") == ALL
    assert trained_by(before, "--init", prompt) == PROMPTS
    monkeypatch.setitem(world.SIZES, "cb", (25, 20))  # an example more
    assert trained_by(before) == ALL - {SOURCE}
    assert trained_by(before) == set()


def test_every_field_of_the_recipe_is_tried_above():
    tried = {flags[0] for flags, _ in test_only_what_has_changed_is_trained_again.pytestmark[0]
             .args[1] if flags}
    fields = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(train.Recipe)}
    assert fields <= tried


def test_with_dropout_what_is_trained_beside_a_run_decides_it(trained_by, tmp_path):
    flags = ["--dropout", 0.1, "--approach", "prompt,pot"]
    assert trained_by(tmp_path, *flags) == {SOURCE, PLAIN, POT}
    assert trained_by(tmp_path, *flags, "--approach", "prompt", "--source", "") == {PLAIN}
    assert trained_by(tmp_path, *flags, "--tokens", 50) == {SOURCE, PLAIN, POT}
    assert trained_by(tmp_path, *flags, "--dropout", 0.2) == {SOURCE, PLAIN, POT}
    assert trained_by(tmp_path, *flags) == set()


# ---------------------------------------------------------------- no number


def test_of_a_run_that_diverges_the_others_are_written(tiny, fork, tmp_path, monkeypatch):
    """The gradient of seed 1 is no number at its second step."""
    whole = Engine.backward

    def poisoned(engine, loss_of, rows, step, bank):
        losses = whole(engine, loss_of, rows, step, bank)
        if step == 1 and len(bank) == 2:
            bank.prompts.grad[1] = float("nan")
        return losses

    flags = [*CPU, "--approach", "prompt", "--seeds", "2", "--evals", "4"]
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    tiny.train(undisturbed, *flags)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "backward", poisoned)
        done = fork(lambda: tiny.train(out, *flags)).wait()
    assert done.status == 2 and done.stderr == (
        "train.py: toy-cb prompts: no result for prompt seed 1 at step 3, whose loss was no number;"
        " the others are written. Give a smaller --lr, or another --dtype\n")
    assert "prompt seed 1: the loss is no number at step 3; a smaller --lr may help" in done.stdout
    [other] = written(out, "*.safetensors")
    assert other.parent.name.startswith("toy-cb-0-")
    assert other.read_bytes() == (undisturbed / other.relative_to(out)).read_bytes()
    tiny.train(out, *flags)  # mended: seed 0 is read, and seed 1 trained alone
    assert len(written(out, "*.safetensors")) == len(written(undisturbed, "*.safetensors"))


# ------------------------------------------------------------- what a command says


def test_it_says_why_a_run_is_not_trained(tiny, tmp_path, monkeypatch, capsys):
    """A student without a teacher equals plain prompt tuning; the rest is there from before."""
    flags = [tmp_path / "out", *CPU, "--kd-lambda", "0"]
    tiny.train(*flags)
    printed = capsys.readouterr().out
    assert "toy-cb students, mse: 1 of 1 runs equal another of this command\n" in printed
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    [source] = tmp_path.glob("out/trained/toy-nli-0-*")
    shutil.move(source, shipped / "toy-nli-0")
    monkeypatch.setattr(world, "PROMPTS", shipped)
    gc.collect()
    tiny.train(*flags)
    printed = capsys.readouterr().out
    assert "source toy-nli: 1 of 1 runs came with the code\n" in printed
    assert "toy-cb prompts: 2 of 2 runs were trained before\n" in printed
    gc.collect()
    tiny.train(*flags, "--source-steps", "3")  # what was shipped is of 2 steps
    assert "came with the code" not in capsys.readouterr().out


def test_data_that_are_missing_are_said_before_the_weights_are_read(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(train.model, "load", None)
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="squad/train-v1.1.json is missing"):
        tiny.train(tmp_path / "out", "--target", "squad", "--data", tmp_path / "data")


def test_without_a_terminal_a_training_is_said_once_before_it_and_once_after(
        tiny, tmp_path, monkeypatch, capsys):
    flags = [flag for flag in tiny.flags(tmp_path, *CPU, "--evals", "4") if flag != "--quiet"]
    monkeypatch.setattr(engine, "PROGRESS_EVERY", -1)
    train.main([*flags, "--approach", "prompt"])
    printed, progress = capsys.readouterr()
    of_training = [line for line in printed.splitlines() if line.startswith("toy-cb prompts: ")]
    assert of_training[0] == (
        "toy-cb prompts: 1 runs of 4 steps, each scored 4 times on 20 dev examples")
    assert len(of_training) == 2 and "step 4/4, mean of 1: CE " in of_training[1]
    assert "20 of 20 rows" in progress
