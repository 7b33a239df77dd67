"""train.py: two prompts in one bank, a step, a training, the approaches, the whole command.

    python -m pytest tests/test_train.py
    T5_DEVICE=cuda python -m pytest tests/test_train.py    # the trainings on a GPU

Oracle: each prompt trained alone, steps worked out by hand, scripted scores, and the same command
once more. The T5 is tiny and random (conftest.py), the task is toy-cb with 24 training and 20 dev
examples, and a training has 4 steps of 4 examples.
"""

import dataclasses
import gc
import types

import pytest
import torch
from safetensors.torch import load_file

import data
import distill
import model
import prompt
import train
import transferability
from plumbing.engine import Engine, split_by_length
from plumbing.files import read_json
from plumbing.optimizer import Adafactor
from plumbing.run_files import Result
from prompt import NoPrompt, PromptBank, Row, collate
from toy import world
from train import Run

D = 16


def encode(ctx, name="toy-cb", **changes):
    recipe = dataclasses.replace(ctx.recipe, **changes)
    return data.encode(name, ctx.tokenizer, recipe)


def vectors(number, P=3):
    """A prompt (P, D) to be a teacher or a start."""
    return torch.randn(P, D, generator=torch.Generator().manual_seed(number))


def a_run(ctx, task, seed=0, teachers=(), approach="prompt", source=""):
    start = train.fresh_prompt(ctx, task, seed)
    return Run(approach, source, seed, ctx.recipe.steps, start, teachers)


def difference(one, other):
    """The largest difference of two prompts, relative to the largest number."""
    return ((one - other).abs().max() / other.abs().max()).item()


def is_near(one, other):
    """Whether two Results are equal but for rounding."""
    assert difference(one.best, other.best) < 1e-5
    for (*losses, cosine), (*others, other_cosine) in zip(one.losses, other.losses, strict=True):
        assert losses == pytest.approx(others, rel=1e-4, abs=1e-5)
        if cosine is not None:
            assert cosine == pytest.approx(other_cosine, abs=0.02)
    return (one.curve, one.metrics) == (other.curve, other.metrics)


# --------------------------------------------------------------- two prompts in one bank


@pytest.mark.parametrize("distance", ["kl", "hidden"])
@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_prompts_trained_together_are_those_trained_alone(context, distance, optimizer):
    # Two seeds, so two starts and two orders of the examples; one has a teacher, one has none.
    flags = "--optimizer", optimizer
    together = context("together", *flags)
    task = encode(together)
    runs = [a_run(together, task, seed=0),
            a_run(together, task, seed=1, teachers=((vectors(17), 0.5),))]
    results = train.train_prompts(together, task, runs, "together", distance)
    for run, beside in zip(runs, results):
        ctx = context(f"alone {run.seed}", *flags)
        [alone] = train.train_prompts(ctx, task, [run], "alone", distance)
        assert is_near(alone, beside)
        assert alone.folder.name == beside.folder.name  # what decides it is the same
        assert (alone.best - run.start).abs().min() > 0  # every number of it has learned
        assert len(alone.curve) == 2 and [step for step, *_ in alone.losses] == [1, 2, 4]


# --------------------------------------------------------------------- a step by hand


def test_adafactor_by_hand():
    # Two prompts of two numbers (N = 2, P = 1, D = 2), lr 0.5, decay 0.1 a step.
    p = torch.nn.Parameter(torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]]))
    optimizer = Adafactor([p], lr=0.5, weight_decay=0.1)
    p.grad = torch.tensor([[[4.0, -0.01]], [[2.0, 2.0]]])
    optimizer.step()
    # t = 1: d = 0, so v = g^2 and u = g / sqrt(v) is the sign. 0.9 * 1 - 0.5 * u
    torch.testing.assert_close(p.data, torch.tensor([[[0.4, 1.4]], [[-0.5, -0.5]]]))
    p.grad = torch.tensor([[[2.0, 0.0]], [[4.0, 4.0]]])
    optimizer.step()
    # t = 2: d = 1 - 2^-0.8 = 0.42565. Prompt 0: v = d * 16 + (1 - d) * 4 = 9.1078, u = (0.66271, 0)
    # of root mean square 0.469: it stays. Prompt 1: v = d * 4 + (1 - d) * 16, u = 1.2120 twice,
    # whose root mean square is clipped to 1; by itself, whatever prompt 0 does.
    expected = [[[0.9 * 0.4 - 0.5 * 0.66271, 0.9 * 1.4]], [[-0.45 - 0.5, -0.45 - 0.5]]]
    torch.testing.assert_close(p.data, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_split_by_length_by_hand():
    rows = [types.SimpleNamespace(ids=[7] * length) for length in (10, 200, 12, 190)]

    def lengths(**how):
        return [[len(row.ids) for row in some] for some in split_by_length(rows, **how)]

    # Sorted by length, in chunks of equally many rows
    assert lengths(tokens=8192) == [[10, 12, 190, 200]]
    assert lengths(tokens=8192, chunks=2) == [[10, 12], [190, 200]]
    # Two rows of 200 positions are 400; with a prompt of 5 in front of each 410.
    assert lengths(tokens=399, chunks=2) == [[10, 12], [190], [200]]
    assert lengths(tokens=410, chunks=2, before=5) == [[10, 12], [190, 200]]
    assert lengths(tokens=409, chunks=2, before=5) == [[10, 12], [190], [200]]
    # Three rows of 200 would fit, but four are cut evenly: not into three and a small rest.
    assert lengths(tokens=600) == [[10, 12], [190, 200]]
    # A single row is never cut, however long it is.
    assert lengths(tokens=1) == [[10], [12], [190], [200]]
    assert list(split_by_length([], 8192)) == []


def some_training(ctx, task, runs, distance="kl"):
    """A Training of these runs, not yet begun."""
    bank = PromptBank([run.start for run in runs]).to(ctx.engine.device)
    return train.Training(task, runs, ctx.engine, bank, None, 0.0, "constant", distance)


def test_the_rows_of_a_step_are_those_of_each_runs_seed(context):
    ctx = context()
    task = encode(ctx)
    training = some_training(ctx, task, [a_run(ctx, task, seed) for seed in (0, 1)])
    rows = train.step_rows(training, step=1, batch=4)
    assert [row.prompt for row in rows] == [0] * 4 + [1] * 4
    assert [row.example for row in rows] == task.at_step(0, 1, 4) + task.at_step(1, 1, 4)
    assert [row.ids for row in rows] == [task.inputs[row.example] for row in rows]
    assert [row.target for row in rows] == [task.targets[row.example] for row in rows]


# ------------------------------------------------------------------- what has no effect


@pytest.mark.parametrize("distance", ["kl", "hidden"])
def test_padding_and_micro_batches_have_no_effect(context, distance):
    # A micro-batch of one row has no padding at all.
    results = []
    for tokens in ("8192", "1"):
        ctx = context(tokens, "--tokens", tokens, "--steps", "2", "--evals", "1", "--max-dev", "6")
        task = encode(ctx)
        runs = [a_run(ctx, task, seed, ((vectors(17), 0.5),)) for seed in (0, 1)]
        results.append(train.train_prompts(ctx, task, runs, "training", distance))
    assert all(is_near(one, other) for one, other in zip(*results))


def test_the_student_of_an_opposite_source_is_the_plain_prompt_of_its_seed(context):
    # It has no teacher, so it is not even trained again.
    ctx = context()
    task = encode(ctx)
    plain = a_run(ctx, task)
    student = dataclasses.replace(plain, approach="panda_kl", source="toy-sst2")
    [of_plain] = train.train_prompts(ctx, task, [plain], "plain")
    [of_student] = train.train_prompts(ctx, task, [student], "student")
    assert of_student.folder == of_plain.folder
    assert of_student.to_json() == of_plain.to_json()


def test_two_equal_teachers_are_one_of_both_weights(context):
    ctx = context()
    task = encode(ctx)
    one = a_run(ctx, task, teachers=((vectors(17), 0.5),))
    two = dataclasses.replace(one, teachers=((vectors(17), 0.3), (vectors(17), 0.2)))
    [of_one] = train.train_prompts(ctx, task, [one], "one")
    [of_two] = train.train_prompts(ctx, task, [two], "late fusion")
    assert of_two.folder != of_one.folder
    assert difference(of_two.best, of_one.best) < 1e-5
    assert of_two.teacher_accuracy == pytest.approx(of_one.teacher_accuracy)


def test_bf16_is_near_fp32_and_prompts_stay_in_fp32(context):
    first_losses = []
    for dtype in ("fp32", "bf16"):
        ctx = context(dtype, "--dtype", dtype, "--steps", "1", "--evals", "1")
        task = encode(ctx)
        [result] = train.train_prompts(ctx, task, [a_run(ctx, task)], "training")
        first_losses.append(result.losses[0][1])
        assert result.best.dtype == torch.float32
    assert ctx.t5.shared.weight.dtype == torch.bfloat16
    assert first_losses[0] != first_losses[1]
    assert first_losses[1] == pytest.approx(first_losses[0], rel=0.05)


# ------------------------------------------------------- the gradients of CE and of KD


@pytest.mark.parametrize("says, expected", [("the labels", 1.0), ("the opposite", -1.0)])
def test_the_cosine_of_the_gradients(context, says, expected):
    """1 for a teacher that says what the labels say: KL's gradient is then that of CE."""
    ctx = context()
    task = encode(ctx)
    runs = [a_run(ctx, task, 0), a_run(ctx, task, 1, ((vectors(17), 0.5),))]
    training = some_training(ctx, task, runs)
    bank = training.bank
    t5 = ctx.t5
    V = t5.config.vocab_size

    def loss_of(rows, term):
        batch = collate(rows).to(t5.device)
        memory, mask = prompt.encode(t5, bank, batch)
        logits = t5.decode(model.shift_right(batch.targets), memory, mask)
        label = torch.nn.functional.one_hot(batch.targets, V).float()  # (B, T, V)
        # KL's gradient is softmax(student) - teacher: a teacher as far on the other side of the
        # student as the label is on this one gives the opposite gradient.
        teacher = label.clamp(min=1e-9).log()
        kd = distill.kl(logits, teacher, 1.0)
        if says == "the opposite":
            kd = -kd
        kd = (kd * (batch.targets != 0)).sum(1) / counts.tokens[batch.index]
        ce = distill.loss(distill.Outputs(memory, logits), batch, counts).ce
        terms = distill.LossTerms(ce, kd, 0.5 * kd)
        return getattr(terms, term).sum(), terms.of_each_prompt(batch.index, len(bank))

    rows = train.step_rows(training, step=0, batch=4)
    counts = prompt.count(rows, bank)
    without, cosine = train.gradient_cosines(training, loss_of, rows, step=0)
    assert without is None  # run 0 has no teacher
    assert cosine == pytest.approx(expected, abs=1e-3)
    assert bank.prompts.grad is None  # nothing is left for the step itself


def test_how_often_the_teachers_give_the_label(context):
    ctx = context()
    task = encode(ctx)
    teachers = [vectors(17), vectors(18)]
    runs = [a_run(ctx, task), a_run(ctx, task, 1, ((teachers[0], 0.3), (teachers[1], 0.1)))]
    training = some_training(ctx, task, runs)
    own = distill.Teachers(ctx.t5, [run.teachers for run in runs])
    rows = [Row(0, i, ids) for i, ids in enumerate(task.inputs)]
    for batch in (100, 1):  # all examples are met, or one in each step
        met = min(len(rows), runs[1].steps * batch)
        percent = []
        for teacher in teachers:
            bank = PromptBank([teacher]).to(ctx.t5.device)
            answers = data.answers(ctx.engine, bank, task, rows[:met])
            right = [answer == ctx.tokenizer.decode(target)
                     for answer, target in zip(answers, task.targets)]
            percent.append(100 * sum(right) / met)
        without, accuracy = train.teacher_accuracies(training, own, batch)
        assert without is None
        assert accuracy == pytest.approx(sum(percent) / 2)


# ------------------------------------------------------------------------- a start


def test_where_a_prompt_starts_from(context):
    # On the toy T5, as the shipped prompt is of that one.
    path = world.PROMPTS / "toy-nli-0"
    flags = "--model", str(world.MODEL), "--length", "10", "--init"
    ctx = context("file", *flags, str(path))
    task = encode(ctx)
    for seed in (0, 1):  # there is nothing to draw
        assert torch.equal(train.fresh_prompt(ctx, task, seed), prompt.load(path)[0])
    text = train.fresh_prompt(context("text", *flags, "text:nli cats"), task, 0)
    pieces = ctx.tokenizer.encode("nli cats " * 5)[:10]
    assert torch.equal(text, ctx.t5.shared.weight[pieces].cpu())
    labels = train.fresh_prompt(context("labels", *flags, "labels"), task, 0)
    [piece] = ctx.tokenizer.encode("contradiction")[:-1]
    assert torch.equal(labels[2], ctx.t5.shared.weight[piece].cpu())
    with pytest.raises(ValueError, match=r"\(10, 128\).*\(3, 128\)"):
        train.fresh_prompt(context("short", *flags, str(path), "--length", "3"), task, 0)


def test_starts_of_different_tasks_are_independent(context):
    # From the seed alone both tasks would draw the same rows, and look alike untrained.
    ctx = context("out", "--length", "10")
    nli = encode(ctx, "toy-nli")
    cb = encode(ctx, "toy-cb")
    for seed in range(3):
        of_nli = train.fresh_prompt(ctx, nli, seed)
        of_cb = train.fresh_prompt(ctx, cb, seed)
        common = sum((row == of_cb).all(1).any().item() for row in of_nli)
        assert common <= 3  # ten of about 280 rows each
        assert torch.equal(of_nli, train.fresh_prompt(ctx, nli, seed))
        assert not torch.equal(of_nli, train.fresh_prompt(ctx, nli, seed + 1))


# ---------------------------------------------------------------------- a training


def test_the_best_is_chosen_on_one_half_of_dev_and_reported_once_on_the_other(
        context, monkeypatch):
    ctx = context("out", "--evals", "4")
    task = encode(ctx)
    scores = iter([1.0, 3.0, 2.0, 3.0, 77.0])
    asked = []
    prompts = []

    def scripted(engine, bank, task, examples):
        asked.append(examples)
        prompts.append(bank.snapshot(0))
        return [{"accuracy": next(scores)}]

    monkeypatch.setattr(data, "dev_metrics", scripted)
    [result] = train.train_prompts(ctx, task, [a_run(ctx, task)], "training")
    assert asked == [task.choose] * 4 + [task.report]
    assert not set(task.choose) & set(task.report)
    assert result.curve == [[1, 1.0], [2, 3.0], [3, 2.0], [4, 3.0]] and result.score == 77
    # Of two that are equally good it is the earlier one.
    assert torch.equal(result.best, prompts[1]) and torch.equal(prompts[4], prompts[1])
    assert not torch.equal(prompts[3], prompts[1])
    assert torch.equal(prompt.load(result.folder)[0], result.best)


def test_results_are_found_again_one_by_one(context, capsys):
    ctx = context()
    task = encode(ctx)
    runs = [a_run(ctx, task, seed) for seed in (0, 1, 2)]
    first = train.train_prompts(ctx, task, runs[:2], "two seeds")
    capsys.readouterr()
    again = train.train_prompts(ctx, task, runs, "three seeds")
    assert "2 of 3 runs equal another of this command" in capsys.readouterr().out
    for one, other in zip(first, again):
        assert torch.equal(one.best, other.best)
        assert one.to_json() == other.to_json()
    # Whatever decides a result, if it changes, the run is trained again.
    known = {result.folder for result in again}
    for flags in (["--lr", "0.1"], ["--steps", "5"], ["--evals", "4"], ["--held-out", "0.5"]):
        changed = context(" ".join(flags), *flags)
        configs = train.configs_of(changed, task, [a_run(changed, task)], "kl")
        assert ctx.run_directory.folder_of(configs[0]) not in known
    # The temperature and the distance do not decide a run without a teacher.
    changed = context("temperature", "--temperature", "2")
    configs = train.configs_of(changed, task, [a_run(changed, task)], "hidden")
    assert ctx.run_directory.folder_of(configs[0]) in known


def test_model_tuning_learns_and_leaves_the_frozen_t5_alone(context, device):
    ctx = context("out", "--steps", "8")
    task = encode(ctx, "toy-qnli")
    before = NoPrompt(ctx.t5).snapshot(0)
    result = train.tune_model(ctx, task, seed=0)
    after = NoPrompt(ctx.t5).snapshot(0)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert result.trained == sum(weight.numel() for weight in ctx.t5.parameters())
    assert result.losses[-1][1] < result.losses[0][1]
    # What is written is a T5 folder that scores as reported, and it is found again.
    engine = Engine(model.load(result.folder).to(device))
    [metrics] = data.dev_metrics(engine, NoPrompt(engine.t5), task, task.report)
    assert metrics == result.metrics
    assert (result.folder / "recipe.json").read_text() == (ctx.folder / "recipe.json").read_text()
    assert train.tune_model(ctx, task, seed=0).to_json() == result.to_json()


def test_model_tuning_keeps_its_weights_in_fp32(context):
    """In bf16 a step of 0.001 is lost beside a weight of 1; only the products are in bf16."""
    ctx = context("out", "--dtype", "bf16", "--steps", "1", "--evals", "1")
    result = train.tune_model(ctx, encode(ctx), seed=0)
    tuned = load_file(result.folder / "model.safetensors")
    assert {weight.dtype for weight in tuned.values()} == {torch.float32}


# ------------------------------------------------------------------- the approaches


def students(wanted, distance="kl", similar=(0.6, 0.2), **recipe):
    """(approach, source) -> [(number of a teacher, its weight)]."""
    recipe = types.SimpleNamespace(**{"steps": 5, "batch": 4, "kd_lambda": 1.0} | recipe)
    best = {("pot", "a"): 11, ("pot", "b"): 12, ("prompt_2x", ""): 13, ("pot_early", "a,b"): 14}
    runs = train.students(recipe, distance, [wanted], 7, "fresh", dict(zip("ab", similar)), best)
    found = {}
    for run in runs:
        assert (run.seed, run.steps, run.start) == (7, 5, "fresh")
        found[run.approach, run.source] = [
            (teacher, pytest.approx(weight)) for teacher, weight in run.teachers]
    return found


def test_which_teachers_a_student_has():
    # Of its source's pot, weighted by the similarity; lambda 2, in units of the distance
    assert students("panda") == {("panda_kl", "a"): [(11, 0.6)], ("panda_kl", "b"): [(12, 0.2)]}
    assert students("panda", "hidden", similar=(0.6, -0.2), kd_lambda=2.0) == {
        ("panda_hidden", "a"): [(11, 12.0)], ("panda_hidden", "b"): []}
    # The released code's weight is the same for every source: 0.01 / batch.
    assert students("panda", "mse", similar=(0.6, -0.2)) == {
        ("panda_mse", "a"): [(11, 0.0025)], ("panda_mse", "b"): [(12, 0.0025)]}
    # The control's teacher has met no source.
    assert students("controls") == {("self_kl", ""): [(13, 1.0)]}
    # Early fusion has one teacher, as similar as its parts are: 0.75 * 0.6 + 0.25 * 0.2. Late
    # fusion has both, whose weights sum to 1.
    assert students("fusion") == {("early_kl", "a,b"): [(14, 0.5)],
                                  ("late_kl", "a,b"): [(11, 0.75), (12, 0.25)]}
    # No source is similar: no teacher, so plain prompt tuning
    assert students("fusion", similar=(-0.6, 0.0)) == {
        ("early_kl", "a,b"): [], ("late_kl", "a,b"): []}
    assert students("prompt") == students("pot") == {}


def test_what_every_approach_starts_from_and_learns_from(context, monkeypatch):
    # Training is replaced by one that notes the runs, and each "trained" prompt has a number of
    # its own: that of its run, counted from 1.
    ctx = context("out", "--kd-lambda", "3", "--similarity", "e_tok", "--kd", "kl,hidden")
    task = encode(ctx)
    runs = {}
    trained = {}
    distances = {}
    probes = []

    def noted(ctx, task, some_runs, title, distance="kl"):
        results = []
        for run in some_runs:
            key = run.approach, run.source, run.seed
            runs[key] = run
            distances[run.approach] = distance
            trained[key] = torch.full((3, D), float(len(runs)))
            results.append(Result(50.0, {}, [], [], 1.0, 48, 0, best=trained[key]))
        return results

    def measures(source, target, probe):
        probes.append(probe)
        sign = 1 if source[0, 0] > 0 else -1
        return {"e_tok": sign * 0.123444 * target[0, 0].item()}  # the target prompts are 1 and 2

    monkeypatch.setattr(train, "train_prompts", noted)
    monkeypatch.setattr(transferability, "all_measures", measures)
    sources = {"toy-nli": (encode(ctx, "toy-nli"), torch.full((3, D), 0.25)),
               "toy-sst2": (encode(ctx, "toy-sst2"), torch.full((3, D), -0.25))}
    wanted = ["prompt", "pot", "panda", "controls"]
    results, similar = train.transfer(ctx, task, sources, wanted, [7, 8])
    of_sources = [(approach, source) for approach in ("pot", "panda_kl", "panda_hidden")
                  for source in sources]
    of_none = [(approach, "") for approach in
               ("prompt", "prompt_2x", "prompt_3x", "self_kl", "self_hidden")]
    assert set(results) == set(of_sources + of_none)
    assert [s["e_tok"] for s in similar["toy-nli"]] == pytest.approx([0.123444, 0.246888])
    for i, seed in enumerate((7, 8)):
        fresh = train.fresh_prompt(ctx, task, seed)
        for source, (_, start) in sources.items():
            assert torch.equal(runs["pot", source, seed].start, start)
        for approach, source in set(results) - {("pot", "toy-nli"), ("pot", "toy-sst2")}:
            assert torch.equal(runs[approach, source, seed].start, fresh)  # paired by seed
        assert runs["prompt_2x", "", seed].steps == 8 and runs["prompt_3x", "", seed].steps == 12
        for distance, scale in (("kl", 1), ("hidden", 10)):
            assert distances[f"panda_{distance}"] == distances[f"self_{distance}"] == distance
            # lambda times the similarity to this seed's own plain prompt, rounded to four places
            [(teacher, weight)] = runs[f"panda_{distance}", "toy-nli", seed].teachers
            assert torch.equal(teacher, trained["pot", "toy-nli", seed])
            assert weight == pytest.approx(3 * scale * (0.1234, 0.2469)[i])
            # An opposite source teaches nothing.
            assert runs[f"panda_{distance}", "toy-sst2", seed].teachers == ()
            [(teacher, weight)] = runs[f"self_{distance}", "", seed].teachers
            assert torch.equal(teacher, trained["prompt_2x", "", seed]) and weight == 3 * scale
    # What the measures read: the first training inputs of both tasks, and the target's answers
    first = probes[0]
    assert first.ids.tolist() == model.pad(task.inputs).tolist()
    assert first.answers.tolist() == model.pad(task.targets).tolist()
    assert first.source_ids.tolist() == model.pad(sources["toy-nli"][0].inputs).tolist()
    assert (first.t5, first.sentinel) == (ctx.t5, ctx.tokenizer.sentinel(0))


def test_the_measures_read_labelled_examples_alone(context):
    ctx = context("out", "--labelled", "5")
    task = encode(ctx)
    source = encode(ctx, "toy-nli", labelled=0)
    kept = task.labelled_examples(3)
    probe = train.probe(ctx, source, task, seed=3)
    assert probe.ids.tolist() == model.pad([task.inputs[i] for i in kept]).tolist()
    assert probe.answers.tolist() == model.pad([task.targets[i] for i in kept]).tolist()
    assert len(probe.source_ids) == 24


# --------------------------------------------------------------------- the whole command


def command(*flags):
    """The whole command; one before it in the same folder has let go of its lock."""
    gc.collect()
    train.main(list(flags))


def lines_of_log(out):
    return (out / "log.jsonl").read_text().splitlines()


def scores_of(out):
    """What the command found out on toy-cb from two sources, without times and dates."""
    results = read_json(out / "toy-cb" / "results.json")
    runs = {}
    for run in results["runs"]:
        name = f"{run['approach']} {run['source']}".strip()
        runs[name] = [run["scores"], run["curves"], run["losses"], run["teacher_accuracy"]]
    return runs, results["similarity"]


def test_the_whole_command_twice_and_with_another_recipe(
        fast, device, tmp_path, capsys):
    flags = [*fast, "--steps", "2", "--evals", "1", "--source-steps", "1", "--seeds", "2",
             "--source", "toy-nli,toy-sst2", "--target", "toy-cb",
             "--approach", "prompt,pot,panda,controls,fusion,finetune", "--similarity", "none"]
    out = tmp_path / "first"
    command(*flags, "--out", str(out))
    printed = capsys.readouterr().out
    assert "target toy-cb: 24 training examples, 8 dev examples to choose by, 12 to report" in (
        printed)
    runs, similarity = scores_of(out)
    both = "toy-nli,toy-sst2"
    students = set()
    for distance in ("kl", "hidden"):
        students |= {f"panda_{distance} toy-nli", f"panda_{distance} toy-sst2",
                     f"early_{distance} {both}", f"late_{distance} {both}", f"self_{distance}"}
    assert set(runs) == students | {"prompt", "pot toy-nli", "pot toy-sst2", "prompt_2x",
                                    "prompt_3x", f"pot_early {both}", "finetune"}
    assert set(similarity) == {"toy-nli", "toy-sst2"}
    assert similarity["toy-nli"][0].keys() == transferability.MEASURES.keys()
    for name, (scores, curves, losses, accuracy) in runs.items():
        assert len(scores) == len(curves) == len(losses) == 2  # for each seed
        for _, ce, kd, cosine in losses[0]:
            assert ce > 0
            assert (cosine is None) == (kd == 0) == (name not in students)
        assert (accuracy[0] is None) == (name not in students)
    # A prompt on disk, under a name for people, with what made it
    vectors, made_by = prompt.load(out / "prompts" / "toy-cb-1")
    assert vectors.shape == (3, D)
    assert (made_by["task"], made_by["seed"]) == ("toy-cb", 1)
    assert made_by["score"] == runs["prompt"][0][1]  # of the second seed
    pair = read_json(out / "toy-nli-to-toy-cb" / "results.json")
    assert pair["scores"]["panda_kl"] == runs["panda_kl toy-nli"][0]
    assert model.load(out / "models" / "toy-cb-0").config.d_model == D
    assert (out / "toy-cb" / "report.md").exists() and (out / "toy-cb" / "report.html").exists()
    assert not list((out / "unfinished").iterdir())

    # The same command once more trains nothing, and finds the same.
    log = lines_of_log(out)
    command(*flags, "--out", str(out))
    assert lines_of_log(out) == log
    assert scores_of(out) == (runs, similarity)

    # A changed lambda concerns the students alone.
    command(*flags, "--out", str(out), "--kd-lambda", "0.5")
    new = lines_of_log(out)[len(log):]
    assert new and all("students" in line for line in new)
    changed, _ = scores_of(out)
    assert changed["pot toy-nli"] == runs["pot toy-nli"]
    assert changed["panda_kl toy-nli"] != runs["panda_kl toy-nli"]

    # Elsewhere, from the beginning, the same command gives the same numbers.
    if device == "cpu":
        command(*flags, "--out", str(tmp_path / "second"))
        assert scores_of(tmp_path / "second") == (runs, similarity)


@pytest.mark.parametrize("approach, expected", [
    ("prompt", {"prompt"}),
    ("pot", {"prompt", "pot"}),
    ("panda", {"prompt", "pot", "panda_kl"}),
    ("fusion", {"prompt", "pot", "pot_early", "early_kl", "late_kl"})])
def test_an_approach_brings_what_it_needs(approach, expected, context):
    ctx = context("out", "--steps", "1", "--evals", "1", "--kd", "kl")
    task = encode(ctx)
    sources = {name: (encode(ctx, name), vectors(i))
               for i, name in enumerate(("toy-nli", "toy-sst2"))}
    if approach == "prompt":
        sources = {}
    results, _ = train.transfer(ctx, task, sources, [approach], [0])
    assert {name for name, _ in results} == expected


def test_few_labels_are_a_targets_alone(fast, tmp_path):
    args = train.parse_arguments([*fast, "--out", str(tmp_path), "--target", "toy-cb", "--source",
                                  "toy-nli,toy-cb", "--labelled", "5"])
    tokenizer = data.Tokenizer(world.MODEL / "spiece.model")
    sources, targets = train.encode_tasks(args, args.recipe, tokenizer)
    assert len(targets["toy-cb"].labelled_examples(0)) == 5
    assert [len(task.labelled_examples(0)) for task in sources.values()] == [24, 24]


@pytest.mark.parametrize("flags, message", [
    (["--target", "toy-cv"], "unknown task 'toy-cv'; did you mean toy-cb"),
    (["--target", "cb", "--source", "mnli"], "only the toy world's tasks have a default T5"),
    (["--approach", "spot"], "unknown approach 'spot': prompt, pot, panda"),
    (["--target", "toy-cb", "--source", "toy-cb"], "give --source, tasks other than the target"),
    (["--lr", "0"], "--lr is 0.0, wanted more than 0"),
    (["--strength", "2"], "unknown flag --strength: it is called --kd-lambda")])
def test_a_mistake_is_named_before_anything_is_loaded(flags, message):
    with pytest.raises(ValueError, match=message):
        train.parse_arguments(flags)
