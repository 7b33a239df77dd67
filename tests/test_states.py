"""What a command leaves on disk: a log, states to go on from, names for what is decided.

    python -m pytest tests/test_states.py

Oracle: a run that was not interrupted, and a table of what each flag may change.
"""

import contextlib
import dataclasses
import doctest
import json
import os
import shutil
import threading
import time
import types

import pytest
import torch
from safetensors.torch import save_file

import distill
import model
import prompt
import train
import transferability
from distill import Run
from plumbing import files, ranks, states
from toy import world
from workbench import (
    D, SMALL, TOY, encoded, in_another_process, in_turn, same, shop_in, some_runs, without_t5)

pytestmark = pytest.mark.usefixtures("few")


# ------------------------------------------------------------------------ results


def test_who_trains_the_same_waits_until_it_is_done(tmp_path, capsys):
    home, decided = states.Home(tmp_path), [{"seed": 0}]
    home.alone("pass", decided)
    assert capsys.readouterr().out == ""  # nobody else is here
    home.release()
    path = str(tmp_path)
    with in_another_process(f"[h := states.Home({path!r}), h.alone('theirs', {decided})]") as other:
        home.alone("another pass", [{"seed": 1}])
        home.alone("nothing to train", [])
        home.alone("all of it read", [{"seed": 2}])
        assert home.todo([{"seed": 2}], ["a result"]) == ([], ["a result"]) and home.mine is None
        assert capsys.readouterr().out == ""
        threading.Timer(0.3, other.stdin.close).start()
        began = time.time()
        home.alone("pass", decided)
        assert time.time() - began > 0.2
        assert capsys.readouterr().out == (
            f"pass: another process is training this in {tmp_path}; waiting for it\n")


def test_a_state_that_a_kill_left_beside_its_results_is_taken_away(tmp_path, monkeypatch):
    without_t5(monkeypatch)
    shop = shop_in(tmp_path)
    task, runs = encoded(shop), some_runs(shop, encoded(shop))
    with pytest.MonkeyPatch.context() as patch:  # killed before the last thing it does
        patch.setattr(states.Home, "forget", lambda home, path: home.release())
        train.train_prompts(shop, task, runs, "pass")
    assert len(list((tmp_path / "passes").iterdir())) == 1
    train.train_prompts(shop, task, runs, "pass")
    assert not list((tmp_path / "passes").iterdir())


@pytest.mark.parametrize("before", [0, 1])
def test_a_pass_that_is_killed_among_its_results_goes_on_from_its_state(before, tmp_path, capsys):
    shop = shop_in(tmp_path)
    task = encoded(shop)
    runs = some_runs(shop, task) + [Run("third", 2, 5, torch.ones(3, D))]
    wanted = train.train_prompts(shop_in(tmp_path / "other"), task, runs, "pass")
    train.train_prompts(shop, task, runs[:before], "earlier")  # so the pass is of the others only
    whole, written = prompt.save, []

    def save(*args):
        if written:
            raise Killed
        written.append(whole(*args))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(prompt, "save", save)
        train.train_prompts(shop, task, runs, "pass")
    assert len(list((tmp_path / "passes").iterdir())) == 1
    capsys.readouterr()
    found = train.train_prompts(shop, task, runs, "pass")
    steps = max(run.steps for run in runs)
    assert f"pass: going on from step {steps} of {steps}" in capsys.readouterr().out
    assert not list((tmp_path / "passes").iterdir())
    assert [one.score for one in found] == [one.score for one in wanted]


def test_a_line_of_the_log_that_was_cut_is_taken_away_by_the_next(tmp_path):
    home = states.Home(tmp_path)
    for step in (1, 2):
        home.log(step=step)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"time": 17, "st')
    home.log(step=3)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]


def test_equal_numbers_have_equal_checksums_whatever_holds_them():
    numbers = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    same_numbers = torch.tensor([[1.0, 3.0], [2.0, 4.0]]).t()  # not contiguous
    for other in (same_numbers, numbers.bfloat16(), numbers.clone().requires_grad_(True)):
        assert states.checksum(other) == states.checksum(numbers)
    assert states.checksum(numbers + 1e-6) != states.checksum(numbers)


def test_a_key_does_not_depend_on_the_order():
    assert states.key_of({"a": 1, "b": 2.0}) == states.key_of({"b": 2.0, "a": 1})
    assert states.key_of({"a": 1}) != states.key_of({"a": 2}) != states.key_of({"b": 2})


def test_what_was_decided_otherwise_is_not_read_and_the_difference_is_said(tmp_path, capsys):
    home, wanted = states.Home(tmp_path), {"steps": 4, "lr": 0.1}
    folder = home.trained("cb", 3, wanted)
    assert folder.name == f"cb-3-{states.key_of(wanted)}" and folder.parent == tmp_path / "trained"
    assert home.found(folder, "prompt.json", wanted, bool) == (None, None)
    files.write_json(folder / "prompt.json", {"score": 7, "decided_by": wanted})
    there = folder, {"score": 7, "decided_by": wanted}
    assert home.found(folder, "prompt.json", wanted, bool) == there
    assert home.found(folder, "prompt.json", {"steps": 5, "lr": 0.1}, bool) == (None, None)
    said = capsys.readouterr().out
    assert said == (f"{folder} was made of something else and is not used: "
                    "steps 4, wanted 5\n")
    fewer = {"steps": 4}  # it had something more, a teacher, say
    assert home.found(folder, "prompt.json", fewer, bool) == (None, None)
    capsys.readouterr()
    # Without resume only what the project ships is read.
    fresh, shipped = states.Home(tmp_path, resume=False), tmp_path / "shipped"
    assert fresh.found(folder, "prompt.json", wanted, bool, shipped) == (None, None)
    shutil.copytree(folder, shipped)
    assert fresh.found(folder, "prompt.json", wanted, bool, shipped)[0] == shipped
    assert home.found(folder, "prompt.json", wanted, bool, shipped)[0] == folder


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_is_no_second_copy_of_large_files(links, tmp_path, monkeypatch):
    home, first = states.Home(tmp_path), tmp_path / "first"
    files.write_json(first / "a.json", 1)
    (first / "model").write_bytes(b"1" * (2 << 20))

    def refuse(*_):
        raise OSError

    if not links:  # a file system without
        monkeypatch.setattr(os, "link", refuse)
    new = tmp_path / "people" / "name"
    files.write_json(new / "old.json", 2)  # of an earlier command
    home.link(first, "people/name")
    assert sorted(file.name for file in new.iterdir()) == ["a.json", "model"]
    assert (new / "model").read_bytes() == (first / "model").read_bytes()
    assert os.path.samefile(new / "model", first / "model") == links
    # A small one is a copy: whoever edits it changes nothing that was trained, or shipped.
    assert (new / "a.json").read_text() == "1\n"
    assert not os.path.samefile(new / "a.json", first / "a.json")


def test_time_to_go_is_told_from_the_rows_that_are_done(tmp_path, monkeypatch):
    home = states.Home(tmp_path)
    assert home.eta() == "?"
    home.begun, home.planned = 1000.0, 400
    monkeypatch.setattr(states.time, "time", lambda: 1030.0)
    home.done = 100  # 30 seconds for a quarter: 90 to go
    assert home.eta() == "1:30"
    home.skip(200)  # which took no time: 30 seconds for 100 rows, and 100 to go
    assert home.eta() == "0:30"
    home.done = 500  # more than was planned
    assert home.eta() == "0:00"


def test_nothing_is_told_of_the_time_before_something_was_trained(tmp_path):
    home = states.Home(tmp_path)
    home.planned = 400
    home.skip(300)
    assert home.eta() == "?"


def test_numbers_that_are_not_finite_stop_a_run(tmp_path):
    runs, path = [Run("prompt", seed, 9) for seed in (0, 1)], tmp_path / "last.pt"
    bank = prompt.PromptBank([torch.full((1, 4), 1.5), torch.full((1, 4), 5e8)])
    work = types.SimpleNamespace(title="pass", runs=runs, bank=bank, lead=[0, 1])
    states.check_finite(work, [1.0, -2.0], 5, path)  # CE of both, say
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"pass: .* not finite at step 5 \(prompt seed 1, its "
                           r"norm now 1e\+09\); no state was written"):
            states.check_finite(work, [1.0, 2.0, 0.0, bad], 5, path)  # CE of both, KD of both


def test_in_fp16_what_is_beside_a_run_decides_it_and_else_only_with_dropout(tmp_path):
    # A GradScaler leaves a step out for all of them.
    shop = shop_in(tmp_path)
    task, runs = encoded(shop), some_runs(shop, encoded(shop))
    for dtype, dropout, beside in (("fp32", 0.0, False), ("fp32", 0.1, True), ("fp16", 0.0, True)):
        shop = dataclasses.replace(shop, dtype=dtype)
        both = states.decided_by("prompt", shop, task, runs, dropout, "kl")
        [alone] = states.decided_by("prompt", shop, task, runs[:1], dropout, "kl")
        assert (both[0] != alone) == beside == ("beside" in alone)


def test_which_runs_are_one_training():
    def run(seed, steps, schedule="constant", **more):
        return {"seed": seed, "steps": steps, "schedule": schedule} | more

    # Of each seed prompt, prompt_2x and prompt_3x, and a student of as many steps as prompt.
    runs = [run(seed, steps, **more) for seed in (0, 1) for steps, more in (
        (10, {}), (20, {}), (30, {}), (10, {"teachers": ["a prompt", 1.0]}))]
    assert states.leads(runs) == [2, 2, 2, 3, 6, 6, 6, 7]
    assert states.steps_of(runs) == 2 * (30 + 10)
    assert states.steps_of(runs, 15) == 2 * (15 + 10)
    assert states.leads(runs[::-1]) == [0, 1, 1, 1, 4, 5, 5, 5]
    assert states.leads(runs[:2]) == [1, 1]  # where the longest was trained before
    # A cosine falls to 0 at a run's end: none of its steps is another run's.
    other = [by | {"schedule": "cosine"} for by in runs]
    assert states.leads(other) == [*range(8)] and states.steps_of(other) == 2 * 70
    # Nor where what is beside a run decides it: with dropout, in fp16.
    assert states.leads([by | {"beside": "the pass"} for by in runs]) == [*range(8)]
    assert states.leads([{}, {}]) == [0, 1] and states.leads([]) == []
    assert states.leads([runs[0]] * 2) == [0, 1]  # equally long: each for itself


# --------------------------------------------------------------- stopping, going on


class Killed(Exception):
    pass


@contextlib.contextmanager
def killed_at(at):
    """Training is killed at this step."""
    whole = train.gradients

    def gradients(*args):
        if args[2] == at:
            raise Killed
        return whole(*args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(train, "gradients", gradients)
        yield


@pytest.mark.parametrize("what", ["prompts", "prompts with dropout", "prompts, states",
                                  "prompts, inputs without labels", "all weights",
                                  "prompts, a second epoch"])
def test_resume_equals_straight_through_bit_for_bit(what, tmp_path):
    homes = {}

    def run_in(name):
        more = ["--dropout", "0.1"] if "dropout" in what else []
        more += ["--unlabelled", "24"] if "labels" in what else []
        more += ["--labelled", "8"] if "epoch" in what else []  # two batches
        shop = shop_in(tmp_path / name, "--evals", "4", "--finetune-dropout", "0.1", *more)
        homes[name], forget = shop.home, shop.home.forget
        shop.home.forget = lambda path: shutil.copy(path, tmp_path / f"{name}.pt") and forget(path)
        task = encoded(shop)
        if what == "all weights":
            return [train.tune_model(shop, task, 0)]
        form = "states" if "states" in what else "kl"
        return train.train_prompts(shop, task, some_runs(shop, task), "pass", form)

    straight = run_in("straight")
    with killed_at(3):
        run_in("resumed")
    torch.manual_seed(999)  # another process draws otherwise
    [state] = (tmp_path / "resumed").glob("passes/*.pt")
    assert torch.load(state, weights_only=True)["step"] in (2, 3)  # the last evaluation
    resumed = run_in("resumed")
    assert not state.exists() and not list((tmp_path / "resumed" / "passes").iterdir())
    for a, b in zip(straight, resumed):
        assert a.curve == b.curve and a.score == b.score and a.memory == b.memory > 0
        assert a.terms == b.terms and len(a.terms) > 3 and a.right == b.right
        if what == "all weights":
            assert same(*(model.load(result.folder).state_dict() for result in (a, b)))
        else:
            assert same(a.best, b.best)
    last = [torch.load(tmp_path / f"{name}.pt", weights_only=True)["bank"]
            for name in ("straight", "resumed")]
    assert same(*last)
    assert homes["straight"].done == homes["resumed"].done > homes["resumed"].skipped > 0


@pytest.mark.parametrize("more, seeds", [([], []), (["--dropout", "0.1"], [70, 71, 72, 73])])
def test_each_step_draws_a_dropout_of_its_own(more, seeds, tmp_path, monkeypatch):
    """In each of several processes, by its number (70, say), and the same if it is made again."""
    shop, drawn = shop_in(tmp_path, *more), []
    task = encoded(shop)
    [run, _] = some_runs(shop, task)
    monkeypatch.setattr(torch, "manual_seed", drawn.append)
    monkeypatch.setattr(ranks, "apart", lambda: 70)
    train.train_prompts(shop, task, [run], "pass")
    assert drawn == seeds


def test_a_resumed_pass_asks_its_teachers_again_in_the_same_order(tmp_path, monkeypatch):
    """Else what they remember is of other batches, and on a GPU, say, of other last bits."""
    asked, whole = [], distill.Teachers.teach
    monkeypatch.setattr(distill.Teachers, "teach", lambda self, rows: asked.append(rows.keys)
                        or whole(self, rows))

    def trained():
        shop = dataclasses.replace(shop_in(tmp_path, "--evals", "4"), each=in_turn)
        task = encoded(shop)
        train.train_prompts(shop, task, some_runs(shop, task), "pass")

    with killed_at(3):
        trained()
    before = asked[:]
    asked.clear()
    trained()
    assert asked[:len(before)] == before and len(asked) > len(before) >= 3


def test_a_state_can_be_written_while_another_process_finishes_the_same_pass(tmp_path):
    home = states.Home(tmp_path)
    path = home.unfinished([{"seed": 0}])
    for _ in range(2):  # there is none, and there is one

        def finished_meanwhile(new):
            home.forget(path)
            new.write_text("state")

        files.write_whole(path, finished_meanwhile)
        assert path.read_text() == "state"


@pytest.fixture(scope="module")
def undamaged(few, tmp_path_factory):
    """(a task, the Results of a pass on it that nothing happened to)."""
    shop = shop_in(tmp_path_factory.mktemp("undamaged"), "--evals", "4", "--device", "cpu")
    task = encoded(shop)
    with pytest.MonkeyPatch.context() as patch:
        without_t5(patch)
        return task, train.train_prompts(shop, task, some_runs(shop, task), "pass")


def flipped(path):
    """One bit of a file's middle, where its numbers are, is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:100]),
    lambda path: path.write_bytes(path.read_bytes()[:-100]), flipped])
@pytest.mark.parametrize("what", ["state", "prompt"])
def test_what_is_damaged_is_set_aside_and_made_again(
        what, damage, undamaged, tmp_path, monkeypatch, capsys):
    """A state, or a trained prompt, cut or flipped: the run ends as if it had not been there."""
    without_t5(monkeypatch)
    task, wanted = undamaged
    shop = shop_in(tmp_path / "out", "--evals", "4", "--device", "cpu")
    if what == "state":
        with killed_at(2):
            train.train_prompts(shop, task, some_runs(shop, task), "pass")
        [path] = (tmp_path / "out" / "passes").glob("*.pt")
    else:
        path = train.train_prompts(shop, task, some_runs(shop, task), "pass")[0].folder
        path /= "adapter_model.safetensors"
    damage(path)
    capsys.readouterr()
    again = train.train_prompts(shop, task, some_runs(shop, task), "pass")
    said = capsys.readouterr().out
    assert "cannot be used: " in said and "this part is trained again" in said
    assert all(same(a.best, b.best) for a, b in zip(wanted, again))
    assert list((tmp_path / "out").glob("*/*.damaged"))


def test_a_prompt_that_was_exchanged_is_not_read_with_the_old_score(tmp_path):
    prompt.save(tmp_path / "p", torch.zeros(2, 4), {"task": "cb", "score": 90.0})
    noise = {"prompt_embeddings": torch.randn(2, 4)}
    save_file(noise, tmp_path / "p" / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="damaged: its vectors are not those that were written"):
        prompt.load(tmp_path / "p")


def test_a_changed_recipe_does_not_go_on_from_an_old_state(tmp_path, monkeypatch):
    without_t5(monkeypatch)
    for lr in ("0.1", "0.2"):
        shop = shop_in(tmp_path, "--lr", lr, "--evals", "4")
        with killed_at(2):
            task = encoded(shop)
            train.train_prompts(shop, task, some_runs(shop, task), "pass")
    assert len(list((tmp_path / "passes").iterdir())) == 2


def test_without_resume_everything_is_trained_again(tmp_path):
    for more, trained in (([], True), ([], False), (["--no-resume"], True)):
        shop = shop_in(tmp_path, "--steps", "1", "--evals", "1", *more)
        task, calls = encoded(shop), []
        with pytest.MonkeyPatch.context() as patch:
            whole = train.gradients
            patch.setattr(train, "gradients", lambda *args: calls.append(1) or whole(*args))
            train.train_prompts(shop, task, [Run("p", 0, 1, torch.zeros(3, D))], "p")
        assert bool(calls) == trained


@pytest.mark.parametrize("lr, times", [("10", 3), ("0.001", 0)])
def test_a_loss_that_explodes_is_said_with_the_norm_of_what_is_trained(
        lr, times, tmp_path, capsys):
    # All weights: behind a prompt, however long its vectors, T5's norms keep the loss small.
    shop = shop_in(tmp_path, *TOY, "--evals", "4", "--finetune-lr", lr, "--quiet")
    train.tune_model(shop, encoded(shop), 0)
    said = capsys.readouterr().out
    assert said.count("finetune seed 0: CE") == said.count("a smaller learning rate") == times
    norms = [json.loads(line)["norm"]["finetune seed 0"] for line in open(tmp_path / "log.jsonl")]
    assert len(norms) == 4 and (norms[-1] > 1.1 * norms[0]) == (times > 0)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
        tmp_path, monkeypatch):
    shop = shop_in(tmp_path, "--evals", "4")
    task, whole = encoded(shop), train.gradients

    def poisoned(*args):
        ce, *rest = whole(*args)
        return ce * (float("nan") if args[2] == 2 else 1), *rest

    monkeypatch.setattr(train, "gradients", poisoned)
    with pytest.raises(ValueError, match="pass: .* not finite at step 2 .* last good state is"):
        train.train_prompts(shop, task, some_runs(shop, task), "pass")
    [path] = tmp_path.glob("passes/*.pt")
    state = torch.load(path, weights_only=True)
    assert state["step"] == 2 and all(p.isfinite().all() for p in state["bank"].values())


def test_states_of_all_weights_are_written_at_evaluations_only(tmp_path, monkeypatch):
    without_t5(monkeypatch)
    written, whole = [], files.write_whole
    monkeypatch.setattr(states, "write_whole", lambda path, write: written.append(path.name)
                        or whole(path, write))
    monkeypatch.setattr(train.Pass, "__init__", patched(train.Pass.__init__))
    shop = shop_in(tmp_path, "--evals", "1")
    task = encoded(shop)
    train.tune_model(shop, task, seed=0)
    assert sum(name.endswith(".pt") for name in written) == 1  # its one evaluation
    train.train_prompts(shop, task, some_runs(shop, task, count=1), "prompts")
    assert sum(name.endswith(".pt") for name in written) == 1 + 4  # each of four steps


def patched(init):
    """A Pass whose states are written after each step, unless it says that it wants fewer."""
    def make(self, *args, **more):
        init(self, *args, **{"keep_every": 0} | more)
    return make


def test_memory_counts_numbers_gradients_and_the_optimiser():
    p = torch.nn.Linear(2, 3, bias=False)  # 6 numbers of 4 bytes
    optimizer = torch.optim.AdamW(p.parameters())
    assert states.memory_of(p, optimizer) == 2 * 24
    p.weight.grad = torch.ones(3, 2)
    optimizer.step()  # two moments, and a count of steps
    assert states.memory_of(p, optimizer) == 4 * 24 + 4


# --------------------------------------------------- what is trained again, and what is read


COMMAND = ["--steps", "2", "--source-steps", "3", "--batch", "4", "--length", "3", "--evals", "1",
           "--device", "cpu", "--source", "toy-nli", "--target", "toy-cb", "--seeds", "1",
           "--kd", "kl", "--approach", "prompt,pot,panda,controls,finetune", "--model", str(SMALL)]
PLAIN, POT = "toy-cb prompt 0", "toy-cb pot toy-nli 0"
TWICE, THRICE = "toy-cb prompt_2x 0", "toy-cb prompt_3x 0"
PANDA, SELF, TUNED = "toy-cb panda toy-nli 0", "toy-cb panda_self 0", "toy-cb finetune 0"
SOURCE = "toy-nli source 0"
STUDENTS = {PANDA, SELF}
PROMPTS = {SOURCE, PLAIN, POT, TWICE, THRICE} | STUDENTS
ALL = PROMPTS | {TUNED}


def trained_by(out, *more):
    """The runs that a command trains: "task name seed". Any two prompts are alike by a half."""
    found, whole = set(), train.train

    def told(shop, work):
        found.update(f"{work.task.name} {run.name} {run.seed}" for run in work.runs)
        return whole(shop, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train", told)
        without_t5(patch)
        for name in transferability.MEASURES:
            patch.setitem(transferability.MEASURES, name,
                          lambda source, target, probe, sim=0.25 if name == "on" else 0.5: sim)
        train.main([*COMMAND, "--out", str(out), *more])
    return found


@pytest.fixture(scope="module")
def before(few, tmp_path_factory):
    """What the command left; with dropout, too."""
    made = {}
    for name, more in (("plain", []), ("dropout", ["--dropout", "0.1"])):
        made[name] = tmp_path_factory.mktemp(name)
        assert trained_by(made[name], *more) == ALL
    return made


def flags_only(value):
    return " ".join(value) if isinstance(value, list) else ""


@pytest.mark.parametrize("changed, again", [
    ([], set()),
    (["--tokens", "50"], set()),
    (["--dtype", "bf16"], ALL),
    # only of students: their weight, and how they learn
    (["--strength", "2"], STUDENTS),
    (["--temperature", "2"], STUDENTS),
    (["--kd", "states"], {"toy-cb panda_states toy-nli 0", "toy-cb panda_self_states 0"}),
    (["--kd", "kl,mse"], {"toy-cb panda_mse toy-nli 0", "toy-cb panda_self_mse 0"}),
    (["--metric", "on"], {PANDA}),  # the control's teacher counts as 1 by any measure
    (["--metric", "none"], {PANDA}),
    (["--student-init", "source"], {PANDA}),
    (["--strength", "0"], set()),  # then a student is plain prompt tuning, which is there
    (["--unlabelled", "5"], STUDENTS),  # who alone read them
    # Fusion, and what the other source brings; what the first one brought is there.
    (["--approach", "panda,fusion", "--source", "toy-nli,toy-sst2"], {"toy-sst2 source 0"} | {
        f"toy-cb {name} 0" for name in ("pot toy-sst2", "panda toy-sst2", "pot_early",
                                        "panda_early", "panda_late")}),
    # only of model tuning
    (["--finetune-lr", "0.5"], {TUNED}),
    (["--finetune-dropout", "0.1"], {TUNED}),
    # only of prompts
    (["--lr", "0.1"], PROMPTS),
    (["--length", "4"], PROMPTS),
    (["--init", "uniform"], PROMPTS),
    (["--optimizer", "adafactor"], PROMPTS),
    (["--schedule", "constant"], PROMPTS),
    (["--weight-decay", "0.1"], PROMPTS),
    (["--dropout", "0.1"], PROMPTS),
    # of everything: what is read, what is chosen by
    (["--batch", "3"], ALL),
    (["--evals", "2"], ALL),
    (["--held-out", "0.5"], ALL),
    (["--max-input", "12"], ALL),
    (["--max-dev", "10"], ALL),
    (["--labelled", "8"], ALL - {SOURCE}),  # a target's alone
    # steps
    (["--source-steps", "2"], {SOURCE, POT, PANDA}),
    (["--steps", "3"], ALL - {SOURCE, TWICE}),  # whose 6 prompt_3x of 2 steps had
    (["--steps", "4"], ALL - {SOURCE, PLAIN}),  # which prompt_2x of 2 steps was
    # more of it
    (["--seeds", "2"], {name[:-1] + "1" for name in ALL - {SOURCE}}),
    (["--source", "toy-nli,toy-sst2"], {"toy-sst2 source 0", "toy-cb pot toy-sst2 0",
                                        "toy-cb panda toy-sst2 0"}),
    (["--target", "toy-cb,toy-rte"], {name.replace("cb", "rte") for name in ALL - {SOURCE}}),
], ids=flags_only)
def test_a_run_is_trained_again_only_if_what_decides_it_changed(changed, again, before, tmp_path):
    out = shutil.copytree(before["plain"], tmp_path / "out")
    assert trained_by(out, *changed) == again


def test_what_was_trained_goes_back_and_forth_between_forms(before, tmp_path):
    # Neither form's students are in the way of the other's.
    out = shutil.copytree(before["plain"], tmp_path / "out")
    for kd, again in (("states", 2), ("kl", 0), ("kl,states", 0)):
        assert len(trained_by(out, "--kd", kd)) == again


@pytest.mark.parametrize("changed, again", [
    ([], set()),
    (["--tokens", "50"], PROMPTS),  # what is dropped falls on a whole part of the pass
    # One more in the pass is dropped otherwise, and so are its neighbours.
    (["--seeds", "2"], {name[:-1] + seed for name in ALL - {SOURCE} for seed in "01"} - {TUNED}),
    (["--source", "toy-nli,toy-sst2"],
     (PROMPTS - {SOURCE}) | {f"toy-{name} 0" for name in (
         "sst2 source", "cb pot toy-sst2", "cb panda toy-sst2")}),
], ids=flags_only)
def test_with_dropout_the_whole_pass_decides(changed, again, before, tmp_path):
    out = shutil.copytree(before["dropout"], tmp_path / "out")
    assert trained_by(out, "--dropout", "0.1", *changed) == again


def test_with_dropout_a_pass_of_which_one_is_gone_is_trained_again_as_it_was(before, tmp_path):
    # What is dropped from the others depends on the one, and on the one from them.
    out = shutil.copytree(before["dropout"], tmp_path / "out")
    pot, made_by = prompt.load(out / "toy-nli-to-toy-cb" / "prompts" / "pot-0")
    shutil.rmtree(out / "trained" / f"toy-cb-0-{states.key_of(made_by['decided_by'])}")
    assert trained_by(out, "--dropout", "0.1") == {PLAIN, POT, TWICE, THRICE}
    assert same(prompt.load(out / "toy-nli-to-toy-cb" / "prompts" / "pot-0")[0], pot)


def test_a_target_that_is_a_source_too_is_trained_once(tmp_path, capsys):
    names = trained_by(tmp_path, "--source-steps", "2", "--target", "toy-cb,toy-nli", "--approach",
                       "prompt,pot", "--source", "toy-nli,toy-sst2")
    assert SOURCE in names and "toy-nli prompt 0" not in names
    assert "toy-nli prompts: 1 already there, read" in capsys.readouterr().out
    assert same(*(prompt.load(tmp_path / name)[0]
                  for name in ("sources/toy-nli-0", "prompts/toy-nli-0")))


def test_what_is_shipped_is_read_where_it_is_what_would_be_trained(tmp_path, monkeypatch, capsys):
    # What a command leaves of a source is what the project ships of it, from then on.
    assert SOURCE in trained_by(tmp_path / "made", "--approach", "pot")
    monkeypatch.setattr(world, "PROMPTS", tmp_path / "made" / "sources")
    assert SOURCE not in trained_by(tmp_path / "out", "--approach", "pot")
    assert SOURCE not in trained_by(tmp_path / "new", "--approach", "pot", "--no-resume")
    assert SOURCE in trained_by(tmp_path / "out", "--approach", "pot", "--lr", "0.1")
    said = capsys.readouterr().out
    assert "was made of something else and is not used: lr 0.3, wanted 0.1" in said
    monkeypatch.setitem(world.SIZES, "nli", (30, 20))  # six examples more
    assert SOURCE in trained_by(tmp_path / "out", "--approach", "pot")


@pytest.mark.beside
@pytest.mark.parametrize("name", ["toy-nli-0", "toy-sst2-0"])
def test_a_shipped_prompt_is_what_the_toy_recipe_would_train(name, tmp_path, monkeypatch):
    # With the sizes that the world has.
    kind = name.split("-")[1]
    monkeypatch.setitem(world.SIZES, kind, {"nli": (20000, 500), "sst2": (5000, 500)}[kind])
    shop = train.open_workshop(train.parse_arguments(["--out", str(tmp_path), "--device", "cpu"]))
    task = encoded(shop, f"toy-{kind}")
    run = Run("source", 0, shop.recipe.source_steps, train.fresh_prompt(shop, task, 0))
    [by] = states.decided_by("prompt", shop, task, [run], 0.0, "kl")
    assert prompt.load(world.PROMPTS / name)[1]["decided_by"] == by


def test_examples_in_the_docstrings():
    assert doctest.testmod(states).failed == 0  # it has none yet
