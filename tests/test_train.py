"""The method: a start, a step, a pass, the approaches, the command.

    python -m pytest tests/test_train.py

Oracle: a step worked out with its numbers, a run alone, and scripted scores. The model is a tiny
T5, the task toy-cb, cut down to 24 training and 20 dev examples. Students beside their
teachers are in tests/test_students.py; what is left on disk, and what is trained again, in
tests/test_states.py.
"""

import dataclasses
import doctest
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import data
import distill
import model
import predict
import prompt
import train
import transferability
from distill import FORMS, Run
from plumbing import cores, device, flags, states
from toy import world
from workbench import (
    D, FAST, SMALL, TOY, encoded, in_turn, pass_of, same, shop_in, some_runs, step_of,
    teacher_of, without_t5)

pytestmark = pytest.mark.usefixtures("few")


# ----------------------------------------------------------------------- a start


def test_where_a_prompt_starts_from(tmp_path):
    folder = world.PROMPTS / "toy-nli-0"
    ten = [*TOY, "--length", "10", "--init"]
    shop = shop_in(tmp_path, *ten, str(folder))
    task = encoded(shop)
    nli_cats = shop.tokenizer.encode(" ".join(5 * ["nli cats"]))[:-1]
    assert len(nli_cats) == 10
    for seed in (0, 1):  # which has nothing to draw
        assert same(train.fresh_prompt(shop, task, seed), prompt.load(folder)[0])
        text = train.fresh_prompt(shop_in(tmp_path, *ten, "text:nli cats"), task, seed)
        assert same(text, shop.t5.shared.weight[nli_cats])
    # The vocabulary's start: rows of the embedding, none twice; the labels' has them in front.
    rows = train.fresh_prompt(shop_in(tmp_path, *ten, "vocabulary"), task, 0)
    near, cosines = predict.neighbours(rows, shop.t5.shared.weight, 1, shop.tokenizer.pieces)
    assert len(set(near.flatten().tolist())) == 10 and cosines.min() > 0.9999
    labels = train.fresh_prompt(shop_in(tmp_path, *ten, "labels"), task, 0)
    assert same(labels[3:], rows[3:])
    [piece] = shop.tokenizer.encode("contradiction")[:-1]
    assert same(labels[2], shop.t5.shared.weight[piece])
    with pytest.raises(ValueError, match=r"shape \(10, 128\), wanted \(3, 128\)"):
        train.fresh_prompt(shop_in(tmp_path, *TOY, "--init", str(folder)), task, 0)


def test_starts_of_different_tasks_are_independent(tmp_path):
    # Drawn from the seed alone, both tasks' prompts would be the same rows, and e_avg 1 before
    # anything is learnt. Of ten of 300 rows each, hardly any is in both.
    shop = shop_in(tmp_path, "--length", "10")
    nli, cb = encoded(shop, "toy-nli"), encoded(shop, "toy-cb")
    alike = []
    for seed in range(5):
        a, b = (train.fresh_prompt(shop, task, seed) for task in (nli, cb))
        assert sum((row == b).all(1).any().item() for row in a) <= 3
        alike.append(transferability.e_avg(a, b))
        assert same(a, train.fresh_prompt(shop, nli, seed))  # the same again
        assert not same(a, train.fresh_prompt(shop, nli, seed + 1))
    elsewhere = [transferability.e_avg(train.fresh_prompt(shop, nli, seed),
                                       train.fresh_prompt(shop, cb, seed + 5)) for seed in range(5)]
    assert max(alike) < 0.9  # no higher than between different seeds
    assert abs(sum(alike) - sum(elsewhere)) / 5 < 0.2


# ------------------------------------------------------------------------ a step


def test_a_step_with_its_numbers(tmp_path):
    # The first two training rows of toy-cb; a student (seed 0) and a teacher (seed 1), both
    # fresh prompts of three vectors; lambda * similarity = 0.5.
    shop = shop_in(tmp_path, *TOY, "--batch", "2", "--device", "cpu")
    t5, task = shop.t5, encoded(shop)
    task.train, task.inputs = task.train[:2], task.inputs[:2]
    assert [data.load("toy-cb")[0][i].input for i in (0, 1)] == [
        "clara : clothes were assisted by animals ? karen : karen guessed that wolves helped "
        "coats . paula said we dropped cakes .",
        "anna : plants were opened by tame lions ? nora : david said we closed trucks . liam "
        "proved that tame lions opened shrubs today ."]
    (first, neutral), (second, entailment) = [(list(ids), target) for ids, target in task.train]
    assert first == [159, 11, 195, 10, 185, 216, 32, 29, 143, 11, 143, 249, 12, 18, 77, 115, 3,
                     152, 62, 31, 43, 110, 3, 1]
    assert second == [167, 11, 189, 10, 42, 216, 99, 15, 29, 146, 11, 171, 62, 31, 34, 124, 3,
                      140, 180, 12, 99, 15, 42, 135, 27, 3, 1]
    assert (neutral, entailment) == ([92, 1], [30, 1])  # a piece and eos each
    start, teacher = (train.fresh_prompt(shop, task, seed) for seed in (0, 1))
    run = Run("panda toy-nli", 0, 4, start, ((teacher, 0.5),))
    bank, taught = prompt.PromptBank([start]), prompt.PromptBank([teacher])
    assert torch.stack(tuple(bank.prompts)).shape == (1, 3, 128)  # (N, P, D)

    # Inputs (B, S) = (2, 27), behind a prompt (2, 30); the first row ends in three columns of
    # padding, and each prompt vector is seen.
    ids, targets = (model.pad([row[k] for row in task.train]) for k in (0, 1))
    index = torch.tensor([0, 0])
    embedded, seen = bank.prepend(t5.embed(ids), ids != 0, index)
    assert embedded.shape == (2, 30, 128)
    assert seen.int().tolist() == [[1] * (3 + 24) + [0] * 3, [1] * (3 + 27)]

    def log_p(prompts):  # (B, T, V) = (2, 2, V)
        embedded, seen = prompts.prepend(t5.embed(ids), ids != 0, index)
        logits = t5.decode(model.shift_right(targets), t5.encode(embedded, seen), seen)
        return logits.log_softmax(-1)

    student, of_teacher = log_p(bank), log_p(taught).detach()
    said = [[student[b, t, targets[b, t]].item() for t in (0, 1)] for b in (0, 1)]
    assert said[0] == pytest.approx([-2.9372, 0.0], abs=1e-3)   # neutral, eos
    assert said[1] == pytest.approx([-13.8890, 0.0], abs=1e-3)  # entailment, eos
    # CE = (2.9372 + 13.8890) / 4 target tokens
    ce = -sum(map(sum, said)) / 4
    assert ce == pytest.approx(4.2066, abs=1e-3)
    # KL of teacher and student at each target token, over the whole vocabulary
    kl = (of_teacher.exp() * (of_teacher - student)).sum(-1)
    assert kl.detach().flatten().tolist() == pytest.approx([0.0105, 0, 0.0502, 0], abs=1e-3)
    kd = kl.sum() / 4
    loss = -student.gather(-1, targets[..., None]).sum() / 4 + 0.5 * kd
    assert loss.item() == pytest.approx(4.2066 + 0.5 * 0.0152, abs=1e-3)  # 4.2142
    loss.backward()
    gradient = bank.prompts[0].grad
    assert gradient.shape == (3, 128) and gradient.norm().item() == pytest.approx(0.2677, abs=1e-3)

    # It is what distill.loss says of these logits, and what a step of training does.
    rows = [((0, i), *task.train[i], True) for i in (0, 1)]
    part = distill.Rows.of(rows, *distill.shares(rows, 1, FORMS["kl"], 3))
    assert part.share.tolist() == part.unit.tolist() == [1 / 4, 1 / 4]
    teaching = distill.Teaching(index.new_tensor([0, 1]), of_teacher, targets != 0,
                                torch.tensor([0.5, 0.5]))
    terms = distill.loss(distill.Made(None, 3, student.detach()), part, teaching)
    assert terms.ce.sum().item() == pytest.approx(ce, abs=1e-5)
    assert terms.kd.sum().item() == pytest.approx(kd.item(), abs=1e-5)
    assert terms.total.sum().item() == pytest.approx(loss.item(), abs=1e-5)
    [found_ce], [found_kd], [cosine], trained, positions = step_of(shop, task, [run])
    assert (found_ce, found_kd) == pytest.approx((ce, kd.item()), abs=1e-5)
    assert cosine is None  # nobody has asked for it
    torch.testing.assert_close(trained.prompts[0].grad, gradient, rtol=1e-3, atol=1e-6)
    assert positions == 2 * 27


def test_in_bf16_the_loss_is_nearly_that_in_fp32_and_prompts_stay_in_fp32(tmp_path):
    losses = []
    for dtype in ("fp32", "bf16"):
        shop = shop_in(tmp_path, "--dtype", dtype)
        task = encoded(shop)
        [ce], [kd], _, bank, _ = step_of(shop, task, some_runs(shop, task, count=1))
        losses.append(ce + kd)
        assert bank.prompts[0].grad.dtype == torch.float32
    assert shop.t5.shared.weight.dtype == torch.bfloat16
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05)


class Waits(torch.overrides.TorchFunctionMode):
    """The calls by which a program learns a number from a tensor, and so waits for its device."""

    NAMES = {"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__",
             "__index__", "equal", "masked_select"}

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.seen |= {function.__name__} & self.NAMES
        return function(*args, **kwargs or {})


def test_a_step_never_waits_for_its_device(tmp_path):
    """What a GPU has not computed yet is not asked for: the next part can already be sent."""
    shop = dataclasses.replace(shop_in(tmp_path), each=in_turn)  # calls are watched in one thread
    task, seen = encoded(shop), []
    work = pass_of(shop, task, some_runs(shop, task))
    for _ in ("first epoch", "later"):
        with Waits() as waits:
            ce, *_ = train.gradients(shop, work, 0, torch.amp.GradScaler("cpu", enabled=False))
        seen.append(waits.seen)
    assert seen == [{"tolist"}, set()]  # of the teachers, for their memory
    with Waits() as waits:
        assert ce[0] > 0
    assert waits.seen == {"__bool__"}


@pytest.mark.parametrize("room, said", [(500, "goes on with 500"), (400, "give fewer, or --rec")])
def test_where_memory_is_too_small_half_the_tokens_are_tried_once(
        room, said, tmp_path, monkeypatch, capsys):
    whole, used = train.gradients, []

    def gradients(shop, work, *rest):
        if shop.tokens > room:
            first, *_ = work.bank.parameters()
            first.grad = torch.ones_like(first)  # of the parts that had room
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
        assert all(p.grad is None for p in work.bank.parameters())
        used.append(shop.tokens)
        return whole(shop, work, *rest)

    monkeypatch.setattr(train, "gradients", gradients)
    shop = shop_in(tmp_path, "--tokens", "1000")
    shop.through.made["a shape"] = "its recording"
    task = encoded(shop)
    if room < 500:
        with pytest.raises(ValueError, match=f"pass: no memory for --tokens 500; {said}"):
            train.train_prompts(shop, task, some_runs(shop, task), "pass")
    else:
        train.train_prompts(shop, task, some_runs(shop, task), "pass")
        assert set(used) == {500} and capsys.readouterr().out.count(said) == 1
    assert not shop.through.made  # what was recorded has given its memory back


def test_fp16_trains_a_t5_whose_feed_forward_leaves_its_range(tmp_path):
    """wo a million times as large: its products are beyond 65,504, and the next norm undoes that.

    On the CPU, which the command refuses as it has no use for fp16, but which can compute in it.
    """
    t5 = model.load(world.MODEL)
    t5.encoder.blocks[1].ff.wo.weight.mul_(1e6)
    model.save(t5, tmp_path / "t5")
    shop, losses = shop_in(tmp_path, *TOY), []
    task = encoded(shop)
    run = Run("prompt", 0, 4, train.fresh_prompt(shop, task, 0))
    for dtype in ("fp32", "fp16"):
        shop = dataclasses.replace(shop, dtype=dtype, t5=model.load(
            tmp_path / "t5", device.DTYPES[dtype]))
        [ce], _, _, bank, _ = step_of(shop, task, [run])
        losses.append(ce)
    assert losses[1] == pytest.approx(losses[0], rel=0.02) and losses[0] != losses[1]
    ff, x = shop.t5.encoder.blocks[1].ff, torch.ones(1, 1, 128).half()
    assert ff(x).isfinite().all()
    assert not (ff.wi(x).relu() @ ff.wo.weight.half().T).isfinite().all()  # without care
    [result] = train.train_prompts(shop, task, [run], "fp16")  # with a GradScaler
    assert result.best.isfinite().all() and not torch.equal(result.best, run.start)
    assert all(math.isfinite(ce) for _, ce, *_ in result.terms)


def test_a_run_that_has_ended_has_no_rows_and_no_gradient(tmp_path):
    shop = shop_in(tmp_path)
    task = encoded(shop)
    short, long = some_runs(shop, task)  # of 4 and of 6 steps
    ce, _, _, bank, positions = step_of(shop, task, [short, long], step=4)
    assert ce[0] == 0 < ce[1]
    assert not bank.prompts[0].grad.any() and bank.prompts[1].grad.all()
    assert positions == step_of(shop, task, [long], step=4)[4]


@pytest.mark.parametrize("form", ["kl", "states"])
@pytest.mark.parametrize("many, each", [(1, in_turn), (2, None), (8, None)], ids=[
    "one core", "two cores", "more cores than prompts"])
def test_on_a_cpu_no_number_depends_on_what_is_trained_beside_it(
        form, many, each, tmp_path, monkeypatch):
    """To the last bit: prompts, scores, losses and cosines, of each run alone and of all together.

    Of different steps, seeds and teachers, of rows of different lengths.
    """
    monkeypatch.setattr(cores, "CORES", many)
    shop = shop_in(tmp_path / "all", "--batch", "7", "--device", "cpu")
    task, teacher = encoded(shop), ((teacher_of(shop), 0.5),)
    runs = [Run("student" if taught else "prompt", seed, steps,
                train.fresh_prompt(shop, task, seed), taught) for seed, steps, taught in (
        (0, 4, ()), (1, 4, teacher), (2, 6, ()), (0, 5, teacher))]

    def trained(out, runs):
        shop = shop_in(tmp_path / out, "--batch", "7", "--device", "cpu")
        shop = dataclasses.replace(shop, each=each or shop.each)
        return train.train_prompts(shop, task, runs, out, form)

    alone = [trained(f"{n}", [run])[0] for n, run in enumerate(runs)]
    for one, beside in zip(alone, trained("all", runs)):
        assert same(one.best, beside.best) and one.folder.name == beside.folder.name
        assert (one.score, one.curve, one.terms) == (beside.score, beside.curve, beside.terms)


def test_two_threads_give_the_same_bits_twice(tmp_path):
    # A gradient that several threads add up by index has no order of its own: with
    # prompts[index] in PromptBank.prepend, this fails.
    shop = shop_in(tmp_path, "--batch", "24", "--length", "20", "--device", "cpu")
    shop = dataclasses.replace(shop, each=in_turn)  # as of a large T5
    task, threads = encoded(shop), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, again = (step_of(shop, task, some_runs(shop, task)) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    assert first[:3] == again[:3]
    assert all(same(a.grad, b.grad) for a, b in zip(first[3].prompts, again[3].prompts))


# ------------------------------------------------------------------------ a pass


@pytest.mark.parametrize("length", [1, 150])
@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_every_vector_of_a_prompt_learns_whatever_its_length(length, optimizer, tmp_path):
    shop = shop_in(tmp_path, *TOY, "--length", str(length), "--optimizer", optimizer, "--steps",
                   "1", "--evals", "1", "--lr", "0.1", "--weight-decay", "0")
    task = encoded(shop)
    run = Run("prompt", 0, 1, train.fresh_prompt(shop, task, 0))
    [result] = train.train_prompts(shop, task, [run], "pass")
    assert result.trained == result.best.numel() == length * 128 and len(result.curve) == 1
    # Both optimisers' first step is lr against the gradient's sign, everywhere; AdamW's 1e-8
    # below the fraction takes some hundredths of it from the smallest gradients.
    torch.testing.assert_close((result.best - run.start).abs(), torch.full((length, 128), 0.1),
                               rtol=0.1, atol=0)


def test_the_best_is_chosen_on_one_part_of_dev_and_reported_once_on_the_other(
        tmp_path, monkeypatch):
    shop = shop_in(tmp_path, "--evals", "4")
    task = encoded(shop)
    scores, asked, prompts = iter([1.0, 3.0, 2.0, 3.0, 77.0]), [], []

    def scripted(shop, t5, bank, task, places):
        asked.append(places)
        prompts.append(bank.prompts[0].detach().clone())
        return [next(scores)]

    monkeypatch.setattr(train, "dev_scores", scripted)
    [result] = train.train_prompts(shop, task, some_runs(shop, task, count=1), "pass")
    assert asked == [task.choose] * 4 + [task.report]
    assert not set(task.choose) & set(task.report)
    assert result.curve == [[1, 1.0], [2, 3.0], [3, 2.0], [4, 3.0]] and result.score == 77
    # Of two that are equally good, the earlier one.
    assert same(result.best, prompts[1]) and same(prompts[4], prompts[1])
    assert not same(prompts[3], prompts[1])
    assert same(prompt.load(result.folder)[0], result.best)


def test_each_run_is_scored_when_it_is_due_with_its_own_prompt(tmp_path, monkeypatch):
    # Three prompts of 0s, 1s and 2s that hardly change; a prompt's score is its first number.
    shop = shop_in(tmp_path, "--lr", "1e-9")
    runs = [Run("p", n, steps, torch.full((3, D), float(n)))
            for n, steps in enumerate((4, 2, 6))]
    monkeypatch.setattr(train, "dev_scores", lambda shop, t5, bank, *_: [
        round(p[0, 0].item()) for p in bank.prompts])
    found = train.train_prompts(shop, encoded(shop), runs, "pass")
    # Twice each: in the middle and at its end.
    assert [result.curve for result in found] == [
        [[2, 0], [4, 0]], [[1, 1], [2, 1]], [[3, 2], [6, 2]]]
    assert [result.score for result in found] == [0, 1, 2]


def test_runs_of_a_constant_rate_that_end_at_different_steps_are_one_training(
        tmp_path, monkeypatch):
    """To the last bit what each is alone: its prompt, scores and losses; and its rows once."""
    rows, whole, each = [], train.gradients, ["--schedule", "constant", "--evals", "2"]

    def told(shop, work, step, *rest):
        rows.append([key for some in train.parts(shop, work, step) for part in some
                     for key in part.keys])
        return whole(shop, work, step, *rest)

    def trained(out, runs):
        return train.train_prompts(shop_in(tmp_path / out, *each, "--device", "cpu"), task, runs,
                                   out)

    shop = shop_in(tmp_path, *each, "--device", "cpu")
    task, start = encoded(shop), {}
    runs = [Run(name, seed, steps, start.setdefault(seed, train.fresh_prompt(shop, task, seed)))
            for name, steps in (("prompt", 2), ("prompt_2x", 4), ("prompt_3x", 6))
            for seed in (0, 1)] + [Run("pot", 0, 4, teacher_of(shop))]  # for itself
    alone = [trained(f"{n}", [run])[0] for n, run in enumerate(runs)]
    monkeypatch.setattr(train, "gradients", told)
    beside = trained("all", runs)
    for one, other in zip(alone, beside):
        assert same(one.best, other.best) and one.folder.name == other.folder.name
        assert (one.score, one.curve, one.terms) == (other.score, other.curve, other.terms)
    # Each step's rows are the two seeds' of prompt_3x, places 4 and 5, and pot's; batches of 4.
    assert [sorted(n for n, _ in step) for step in rows] == [
        [4] * 4 + [5] * 4 + [6] * 4 * (step < 4) for step in range(6)]
    assert [[at for at, _ in result.curve] for result in beside[::2]] == [
        [1, 2], [2, 4], [3, 6], [2, 4]]
    # What a run costs is what it would cost beside the other seed: not a share of its shares.
    seconds = [result.seconds for result in beside]
    assert seconds[0] < seconds[2] < seconds[4] and seconds[1] < seconds[3] < seconds[5]


def test_finetuning_learns(tmp_path):
    shop = shop_in(tmp_path, "--steps", "6", "--evals", "1", "--finetune-lr", "0.01")
    before = {name: p.clone() for name, p in shop.t5.state_dict().items()}
    task = encoded(shop, "toy-qnli")
    batch = [task.train[i] for i in task.step(0, 0, 4)]
    result = train.tune_model(shop, task, seed=0)

    def loss(t5):
        ids, targets = (model.pad([row[k] for row in batch], t5.device) for k in (0, 1))
        memory = t5.encode(t5.embed(ids), ids != 0)
        logits = t5.decode(model.shift_right(targets), memory, ids != 0)
        return -model.target_log_probs(logits, targets).sum().item()

    assert loss(model.load(result.folder)) < loss(shop.t5)
    assert same(shop.t5.state_dict(), before)


def test_model_tuning_starts_from_the_checkpoint_and_ends_with_its_best(tmp_path, monkeypatch):
    # In bf16 the frozen weights are rounded; those that are tuned are not.
    shop = shop_in(tmp_path, "--dtype", "bf16", "--dropout", "0", "--finetune-dropout", "0.5",
                   "--evals", "4")
    task, frozen, weights, dropouts = encoded(shop), shop.t5, [], []
    scores, whole = iter([1.0, 3.0, 2.0, 2.5, 77.0]), train.gradients

    def copied(t5):
        return {name: p.detach().clone() for name, p in t5.state_dict().items()}

    def scripted(shop, t5, *_):
        assert t5.dropout == 0 and all(p.grad is None for p in t5.parameters())
        weights.append(copied(t5))
        return [next(scores)]

    def told(shop, work, *rest):
        dropouts.append((work.t5.dropout, work.t5.amp))
        if not weights:
            weights.append(copied(work.t5))
        return whole(shop, work, *rest)

    monkeypatch.setattr(train, "dev_scores", scripted)
    monkeypatch.setattr(train, "gradients", told)
    result = train.tune_model(shop, task, seed=0)
    assert same(weights[0], model.load(SMALL).state_dict())
    assert dropouts == [(0.5, torch.bfloat16)] * 4
    assert result.score == 77 and result.best is None and shop.t5 is frozen
    assert same(weights[5], weights[2])  # the second of four scored best
    assert not same(weights[4], weights[2])
    assert same(model.load(result.folder).state_dict(), weights[2])


def test_what_a_run_costs(tmp_path):
    shop = shop_in(tmp_path, "--evals", "1")
    found, _ = train.transfer(shop, encoded(shop), {}, ["prompt", "finetune"], [0, 1])
    weights = sum(p.numel() for p in shop.t5.parameters())
    prompts, tuned = found["prompt"][0], found["finetune"][0]
    # A prompt of 3 vectors of 16: 48 numbers of 4 bytes, as many for the gradient and for each of
    # AdamW's two moments.
    assert prompts.trained == 3 * 16 and prompts.memory == 4 * 48 * 4
    # All weights and their gradients; Adafactor keeps a row and a column for a matrix, no more.
    assert tuned.trained == weights and 2 * 4 * weights < tuned.memory < 2.2 * 4 * weights


# ---------------------------------------------------------------- the approaches


def test_what_every_approach_starts_from_and_learns_from(tmp_path, monkeypatch):
    # The training is replaced by one that writes down what it was asked for; each "trained"
    # prompt is recognisable by its own number: plain prompts are 1 and 2.
    shop = shop_in(tmp_path, "--strength", "3", "--metric", "e_tok", "--kd", "kl,text")
    task, asked, number, probes, forms = encoded(shop), {}, iter(range(1, 100)), [], {}

    def recorded(shop, task, runs, title, form):
        for run in runs:
            forms[run.name] = form
            asked[run.name, run.seed] = run, torch.full((3, 128), float(next(number)))
        return [states.Result(50.0, [], 1.0, 384, 0, best=asked[run.name, run.seed][1])
                for run in runs]

    def measures(source, target, probe):
        probes.append(probe)
        sign = 1 if source[0, 0] > 0 else -1
        return {"panda": -1, "on": -1, "e_avg": -1, "e_tok": sign * 0.123444 * target[0, 0].item()}

    sources = {"toy-nli": torch.full((3, 128), 0.25), "toy-sst2": torch.full((3, 128), -0.25)}
    monkeypatch.setattr(train, "train_prompts", recorded)
    monkeypatch.setattr(transferability, "all_measures", measures)
    found, similar = train.transfer(shop, task, sources, ["prompt", "pot", "panda", "controls"],
                                    [7, 8])
    students = {"panda toy-nli": "kl", "panda toy-sst2": "kl", "panda_self": "kl",
                "panda_text toy-nli": "text", "panda_text toy-sst2": "text",
                "panda_self_text": "text"}
    assert set(found) == {"prompt", "prompt_2x", "prompt_3x", "pot toy-nli", "pot toy-sst2",
                          *students}
    assert students.items() <= forms.items()
    assert [s["e_tok"] for s in similar["toy-nli"]] == pytest.approx([0.123444, 0.246888])
    for i, seed in enumerate((7, 8)):
        fresh = train.fresh_prompt(shop, task, seed)
        run = {name: asked[name, seed][0] for name, s in asked if s == seed}
        best = {name: asked[name, seed][1] for name in run}
        assert set(run) == set(found)
        assert all(same(run[f"pot {name}"].start, vectors) for name, vectors in sources.items())
        for name in ("prompt", "prompt_2x", "prompt_3x", *students):
            assert same(run[name].start, fresh)  # paired: the same start for a seed
        assert {name: r.steps for name, r in run.items()} == dict.fromkeys(run, 4) | {
            "prompt_2x": 8, "prompt_3x": 12}
        teachers = {name: r.teachers for name, r in run.items()}
        assert {name for name in run if teachers[name]} == {
            name for name in students if "sst2" not in name}  # opposite: teaches nothing
        for form, size in (("", 1), ("_text", 10)):
            [(teacher, weight)] = teachers[f"panda{form} toy-nli"]
            assert same(teacher, best["pot toy-nli"])
            # lambda times the similarity of the source and this seed's own prompt, in four places
            assert weight == pytest.approx(3 * size * (0.1234, 0.2469)[i])
            # The control's teacher has had as many steps on the target, and no source.
            [(teacher, weight)] = teachers[f"panda_self{form}"]
            assert same(teacher, best["prompt_2x"]) and weight == 3 * size
    # What PANDA's measure reads: the first 100 training inputs of the target; here all 24.
    assert probes[0].ids.tolist() == model.pad([ids for ids, _ in task.train]).tolist()
    assert probes[0].t5 is shop.t5 and probes[0].sentinel == shop.tokenizer.sentinel(0)


@pytest.mark.parametrize("wanted, names", [
    (["prompt"], {"prompt"}),
    (["pot"], {"prompt", "pot toy-nli"}),
    (["panda"], {"prompt", "pot toy-nli", "panda toy-nli", "panda_mse toy-nli"}),
    (["controls"], {"prompt", "pot toy-nli", "prompt_2x", "prompt_3x", "panda_self",
                    "panda_self_mse"}),
    (["fusion"], {"prompt", "pot toy-nli", "pot_early", "panda_early", "panda_late",
                  "panda_early_mse", "panda_late_mse"})])
def test_an_approach_brings_what_it_needs(wanted, names, tmp_path, monkeypatch):
    without_t5(monkeypatch)
    shop = shop_in(tmp_path, "--steps", "1", "--evals", "1", "--kd", "kl,mse")
    task = encoded(shop)
    source = {"toy-nli": train.fresh_prompt(shop, encoded(shop, "toy-nli"), 0)}  # of several, one
    found, _ = train.transfer(shop, task, {} if wanted == ["prompt"] else source, wanted, [0])
    assert set(found) == names


# -------------------------------------------------------------------- the command


def test_few_labels_are_a_targets_and_its_sources_have_all(tmp_path, monkeypatch):
    met = {}

    def source_prompt(shop, task):
        met["source", task.name] = len(task.mine(0)), len(task.rest(0))
        return torch.zeros(3, 128)

    def transfer(shop, target, *_):
        met["target", target.name] = len(target.mine(0)), len(target.rest(0))
        return {}, {}

    def write(*_):
        return {"similarity": {}}  # nothing that a grid could be made of

    monkeypatch.setattr(train, "source_prompt", source_prompt)
    monkeypatch.setattr(train, "transfer", transfer)
    monkeypatch.setattr(train.report, "write", write)
    train.main([*FAST, "--out", str(tmp_path), "--target", "toy-cb,toy-rte", "--source",
                "toy-nli,toy-cb", "--labelled", "5", "--unlabelled", "rest"])
    assert met == {("source", "toy-nli"): (24, 0), ("source", "toy-cb"): (24, 0),  # both, of one
                   ("target", "toy-cb"): (5, 19), ("target", "toy-rte"): (5, 19)}


def test_the_whole_method_writes_its_files_and_goes_on_where_it_stopped(tmp_path, capsys):
    arguments = [*FAST, "--seeds", "2", "--out", str(tmp_path), "--source", "toy-nli", "--metric",
                 "none",
                 "--approach", "prompt,pot,panda,controls,finetune"]
    train.main(arguments)
    said = capsys.readouterr().out
    results = json.loads((tmp_path / "toy-nli-to-toy-cb" / "results.json").read_text())
    students = {"panda", "panda_states", "panda_self", "panda_self_states"}
    assert set(results["scores"]) == {"prompt", "pot", "prompt_2x", "prompt_3x", "finetune",
                                      *students}
    assert all(len(scores) == 2 for scores in results["scores"].values())
    assert set(results["similarity"]) == {"panda", "e_avg", "e_tok", "on", "zero_shot"}
    assert results["seeds"] == [0, 1] and results["metric"] == "accuracy"
    assert results["steps"]["prompt_2x"] == 2 * results["steps"]["panda"] == 8
    assert results["epoch"] == 6  # 24 examples, 4 in a step
    # What the teachers add: at the first step, and wherever a run is scored.
    for name, seeds in results["teaching"].items():
        for seed in seeds:
            steps = results["steps"][name]
            assert [step for step, *_ in seed["terms"]] == [1, steps // 2, steps]
            assert (seed["right"] is None) == (name not in students)
            assert all((cosine is None) == (name not in students) and ce > 0
                       for _, ce, _, cosine in seed["terms"])
    assert not (tmp_path / "grid.md").exists()  # of a single pair
    report = (tmp_path / "toy-nli-to-toy-cb" / "report.md").read_text()
    assert "| panda | toy-nli |" in report and "cosine of the gradients of CE and KD" in report
    assert "target toy-cb: 24 training examples, 8 dev examples to choose by, 12 to report" in said
    [sentence] = [line for line in report.splitlines() if line.startswith("Other than plain")]
    assert sentence in said
    kept, made_by = prompt.load(tmp_path / "prompts" / "toy-cb-1")
    assert kept.shape == (3, D) and made_by["task"] == "toy-cb" and made_by["seed"] == 1
    assert made_by["recipe"]["length"] == 3 and made_by["decided_by"]["length"] == 3
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"pass", "step", "ce", "kd", "dev", "tokens_per_second"} <= set(steps[0])
    assert not list(tmp_path.glob("passes/*"))  # all are finished
    # Once more: nothing is trained again, and the scores are the same.
    train.main(arguments)
    again = json.loads((tmp_path / "toy-nli-to-toy-cb" / "results.json").read_text())
    assert again == results
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == len(steps)


def test_a_tuned_t5_is_a_model_folder_that_scores_as_it_was_reported(tmp_path, capsys):
    train.main([*FAST, "--seeds", "2", "--out", str(tmp_path), "--approach", "finetune"])
    reported = json.loads((tmp_path / "toy-cb" / "results.json").read_text())["scores"]["finetune"]
    folders = [tmp_path / "models" / f"toy-cb-{seed}" for seed in (0, 1)]
    weights = [model.load(folder).state_dict() for folder in folders]
    assert not same(*weights) and not same(weights[0], model.load(SMALL).state_dict())
    capsys.readouterr()
    predict.main(["score", "--task", "toy-cb", "--device", "cpu", "--model", *map(str, folders)])
    table = capsys.readouterr().out
    for folder, score in zip(folders, reported):
        assert f"| {folder} | {score:.1f} |" in table
    assert "accuracy of 12" in table  # the part of dev that the training reported on
    # What suits the T5 that it was, suits the tuned one.
    assert (folders[0] / "recipe.json").read_bytes() == (world.MODEL / "recipe.json").read_bytes()
    shutil.copy(folders[1] / "model.safetensors", folders[0])  # other weights: not the old score
    with pytest.raises(ValueError, match="tuned.json: weights is .*; wanted"):
        model.load(folders[0])


# --------------------------------------------------- which recipe, and where it is from


@pytest.fixture
def copy_of_t5(tmp_path):
    """The toy T5 under another name, with another recipe."""
    folder = shutil.copytree(world.MODEL, tmp_path / "another")
    (folder / "recipe.json").write_text(json.dumps({
        "target": "toy-reviews", "source": "toy-sst2", "steps": 1, "source_steps": 1, "length": 2,
        "batch": 3, "evals": 1}))
    return folder


def test_the_models_recipe_decides_what_no_flag_does(copy_of_t5, tmp_path, capsys):
    train.main(["--model", str(copy_of_t5), "--batch", "2", "--seeds", "1", "--out",
                str(tmp_path / "out"), "--approach", "prompt,pot", "--device", "cpu"])
    config = json.loads((tmp_path / "out" / "toy-sst2-to-toy-reviews" / "results.json")
                        .read_text())["config"]
    assert (config["batch"], config["length"], config["optimizer"]) == (2, 2, "adafactor")
    assert (f"recipe: flags: batch 2; {copy_of_t5}/recipe.json: steps 1, source_steps 1, length 2, "
            "evals 1; the rest by default") in capsys.readouterr().out


def test_a_name_that_begins_with_toy_decides_nothing(copy_of_t5, tmp_path, monkeypatch, capsys):
    # A toy task on a T5 without a recipe of its own has the paper's …
    (bare := shutil.copytree(copy_of_t5, tmp_path / "bare")).joinpath("recipe.json").unlink()
    args = train.parse_arguments(["--model", str(bare), "--target", "toy-cb", "--source", "mnli"])
    assert args.recipe == train.Recipe() and args.said == "recipe: all of it by default"
    with pytest.raises(ValueError, match="give --target"):
        train.parse_arguments(["--model", str(bare)])
    # … and a task of one's own on the toy T5 the toy T5's; both in one command, if need be.
    for file, examples in zip(("train", "dev"), data.load("toy-sst2")):
        path = tmp_path / "files" / f"{file}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps({"text": e.input, "label": e.target}) + "\n"
                                for e in examples))
    monkeypatch.setitem(data.TASKS, "mine", data.Task(
        ("train.jsonl", "dev.jsonl"), "{text}", "label", ("positive", "negative"), ("accuracy",)))
    train.main(["--model", str(copy_of_t5), "--target", "mine,toy-reviews", "--source", "toy-sst2",
                "--data", str(tmp_path / "files"), "--seeds", "1", "--out", str(tmp_path / "out"),
                "--approach", "pot", "--device", "cpu"])
    assert "length 2" in capsys.readouterr().out
    for target in ("mine", "toy-reviews"):
        found = json.loads((tmp_path / "out" / f"toy-sst2-to-{target}" / "results.json")
                           .read_text())
        assert found["config"]["steps"] == 1 and set(found["scores"]) == {"prompt", "pot"}


@pytest.mark.parametrize("more", [["cosine"], ["constant"], ["constant", "--dropout", "0.1"]])
def test_the_rows_that_are_planned_are_the_rows_that_are_trained(more, tmp_path, monkeypatch):
    # For the time left. Three sources, of which one is a target too: it has one source less.
    without_t5(monkeypatch)
    homes, opened = [], train.open_workshop
    monkeypatch.setattr(train, "open_workshop", lambda args: homes.append(
        opened(args)) or homes[0])
    args = [*FAST, "--steps", "2", "--evals", "1", "--out", str(tmp_path), "--seeds", "1",
            "--source", "toy-nli,toy-sst2,toy-rte", "--target", "toy-cb,toy-nli", "--approach",
            "prompt,pot,panda,controls,fusion,finetune", "--schedule", *more]
    train.main(args)
    assert homes[0].home.done == homes[0].home.planned == flags.planned_rows(
        train.parse_arguments(args))
    homes.clear()
    train.main(args)  # which reads them all
    assert homes[0].home.done == homes[0].home.planned


@pytest.mark.beside
def test_at_the_command_line_an_error_is_one_line_and_status_2(tmp_path):
    done = subprocess.run([sys.executable, "train.py", "--target", "toy-cv", "--out",
                           str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("train.py: unknown task 'toy-cv'; did you mean toy-cb")
    assert done.stderr.count("\n") == 1


@pytest.mark.beside
@pytest.mark.parametrize("command", ["PYTHONIOENCODING=ascii {}", "{} | head -1",
                                     "{} > /dev/full"])
def test_what_was_trained_is_written_whatever_becomes_of_the_output(command, tmp_path):
    words = ("train.py --steps 1 --evals 1 --seeds 1 --max-dev 12 --approach prompt "
             f"--target toy-cb --model {SMALL} --out {tmp_path}")
    done = subprocess.run(["bash", "-c", command.format(f"{sys.executable} {words}")],
                          cwd=Path(train.__file__).parent, capture_output=True, text=True,
                          errors="replace")
    assert "Traceback" not in done.stderr
    assert {"report.md", "report.html", "results.json"} <= {
        path.name for path in (tmp_path / "toy-cb").iterdir()}


def test_examples_in_the_docstrings():
    assert doctest.testmod(train).failed == 0  # it has none yet
