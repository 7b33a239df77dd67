"""The loop: optimiser, schedule, batches, several runs in one pass, resume, the report.

    python -m pytest tests/test_train.py

Oracle: numbers worked out by hand, a run alone, and a run that was not interrupted.
The model is the toy T5; the task is toy-cb, cut down to a handful of examples.
"""

import dataclasses
import doctest
import json
import subprocess
import sys
import types

import pytest
import torch
from safetensors.torch import load_file

import data
import train
from toy import world

FAST = ["--steps", "4", "--source-steps", "2", "--batch", "4", "--length", "3", "--evals", "2"]


@pytest.fixture
def few(monkeypatch):
    """Every toy task has 24 training examples and 20 dev examples."""
    for name in world.SIZES:
        monkeypatch.setitem(world.SIZES, name, (24, 20))


def make_setting(out, *more):
    return train.Setting(train.parse_arguments([*FAST, "--device", "cpu", "--out", str(out), *more]))


def some_runs(setting, task, count=2):
    """Runs that differ in seed and length, the last one with a teacher."""
    starts = [train.start(setting, task, seed) for seed in range(count)]
    runs = [train.Run("prompt", seed, s, setting.args.steps + 2 * seed) for seed, s in enumerate(starts)]
    runs[-1].teacher, runs[-1].kd_weight = 3 * starts[0], 0.5  # far from any start
    return runs


def bank_of(out, title):
    """The prompts in the last state of the one pass of this title."""
    [folder] = (out / "passes").glob(f"{title}-*")
    return torch.load(folder / "last.pt", weights_only=True)["trained"]


# -------------------------------------------------------------- the optimiser


def test_adafactors_first_steps():
    # One prompt of four numbers, lr 0.5, no decay.
    p = torch.nn.Parameter(torch.zeros(1, 4))
    optimizer = train.Adafactor([p], lr=0.5, weight_decay=0.0)
    # Step 1: d = 1 - 1^-0.8 = 0, v = g^2, u = g / |g| = (1, -1, 1, 1), of size 1: not clipped.
    p.grad = torch.tensor([[2.0, -3.0, 4.0, 0.5]])
    optimizer.step()
    torch.testing.assert_close(p.data, torch.tensor([[-0.5, 0.5, -0.5, -0.5]]))
    # Step 2 with the same gradient, three times as large: d = 1 - 2^-0.8 = 0.4257,
    # v = (0.4257 + 0.5743 * 9) g^2 = 5.5946 g^2, u = 3 g / sqrt(v) = 1.2683 * sign,
    # whose root mean square is over 1 and is brought back to 1.
    p.grad = 3 * torch.tensor([[2.0, -3.0, 4.0, 0.5]])
    optimizer.step()
    torch.testing.assert_close(p.data, torch.tensor([[-1.0, 1.0, -1.0, -1.0]]))


def test_adafactor_clips_every_prompt_on_its_own_and_decays():
    calm, wild = (torch.nn.Parameter(torch.ones(1, 2)) for _ in range(2))
    optimizer = train.Adafactor([calm, wild], lr=0.1, weight_decay=0.5)
    for scale in (1.0, 10.0):  # the second step's gradient is ten times the first for one
        calm.grad, wild.grad = torch.ones(1, 2), torch.full((1, 2), scale)
        optimizer.step()
    # calm: u = 1 in both steps; p <- p (1 - 0.1 * 0.5) - 0.1 * u, twice
    expected = (1 * 0.95 - 0.1) * 0.95 - 0.1
    assert calm.data.tolist() == [[pytest.approx(expected)] * 2]
    # wild: u = 10 / sqrt(0.4257 + 0.5743 * 100) = 1.31 in the second, clipped to 1
    assert wild.data.tolist() == [[pytest.approx(expected)] * 2]


def test_where_a_prompt_starts_from(tmp_path, few):
    folder = train.SHIPPED / "toy-nli-0"
    for init, expected in [
            (f"{folder}", lambda t5, tokenizer: train.prompt.load(folder)[0]),
            ("text:nli cats", lambda t5, tokenizer: t5.shared.weight[tokenizer.encode(" ".join(5 * ["nli cats"]))[:-1]])]:
        setting = make_setting(tmp_path, "--length", "10", "--init", init)
        task = train.TaskData(setting, "toy-cb")
        for seed in (0, 1):  # which has nothing to draw
            torch.testing.assert_close(train.start(setting, task, seed),
                                       expected(setting.t5, setting.tokenizer).detach())
    with pytest.raises(ValueError, match=r"shape \(10, 128\), wanted \(3, 128\)"):
        train.start(make_setting(tmp_path, "--init", str(folder)), task, 0)
    with pytest.raises(ValueError, match="--init nowhere.npy: there is no such file or folder"):
        train.parse_arguments(["--init", "nowhere.npy"])
    with pytest.raises(ValueError, match="unknown init 'label': .*labels, text:SOME WORDS"):
        train.parse_arguments(["--init", "label"])


def test_an_ensemble_is_the_vote_of_its_members(tmp_path, few):
    setting = make_setting(tmp_path, "--ensemble", "3", "--length", "10")
    assert setting.args.seeds == 3 and setting.args.approach == ["prompt"]
    with pytest.raises(ValueError, match="--ensemble 5 has as many seeds, not 4: leave --seeds out"):
        train.parse_arguments(["--ensemble", "5", "--seeds", "4"])
    task = train.TaskData(setting, "toy-sst2")
    good = train.prompt.load(train.SHIPPED / "toy-sst2-0")[0]
    bad = train.prompt.load(train.SHIPPED / "toy-nli-0")[0]
    results = {name: train.Result(0.0, vectors, [], 0.0) for name, vectors in (("good", good), ("bad", bad))}
    alone = {name: train.ensemble(setting, task, [result]) for name, result in results.items()}
    for name, vectors in (("good", good), ("bad", bad)):  # of one, all votes are its own answers
        [score] = train.dev_scores(setting, task, train.prompt.PromptBank([vectors]), task.report)
        assert alone[name] == {"majority": score, "mean": score}
    assert alone["good"]["majority"] > alone["bad"]["majority"]
    for majority in ("good", "bad"):  # two against one, the other way round next
        three = [results["good"], results["bad"], results[majority]]
        assert train.ensemble(setting, task, three)["majority"] == alone[majority]["majority"]


@pytest.mark.parametrize("length", [1, 150])
@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_every_vector_of_a_prompt_learns_whatever_its_length(length, optimizer, tmp_path, few):
    setting = make_setting(tmp_path, "--length", str(length), "--optimizer", optimizer, "--steps", "1",
                           "--evals", "1", "--lr", "0.1", "--weight-decay", "0")
    task = train.TaskData(setting, "toy-cb")
    [run] = some_runs(setting, task, count=1)
    run.teacher, run.kd_weight = None, 0.0
    [result] = train.train_runs(setting, task, [run], "pass")
    assert result.trained == result.best.numel() == length * 128 and len(result.curve) == 1
    # Both optimisers' first step is lr against the gradient's sign, everywhere; AdamW's 1e-8
    # below the fraction takes some hundredths of it from the smallest gradients.
    torch.testing.assert_close((result.best - run.start).abs(), torch.full((length, 128), 0.1), rtol=0.1, atol=0)


def test_an_ensemble_reads_and_writes_what_its_members_do(tmp_path, few, monkeypatch):
    read = data.load  # of these inputs the first words are the long part, which is cut
    monkeypatch.setattr(data, "load", lambda *names: [
        [dataclasses.replace(e, long=(0, len(e.input) // 2)) for e in examples] for examples in read(*names)])
    setting = make_setting(tmp_path, "--target", "toy-ner", "--ensemble", "3", "--max-input", "9", "--tokens", "40")
    task = train.TaskData(setting, "toy-ner")
    results = [train.Result(0.0, train.start(setting, task, seed), [], 0.0) for seed in range(3)]
    inputs, longest, encode, generate = {"together": set(), "alone": set()}, [], setting.t5.encode, setting.t5.generate

    def encode_and_tell(embedded, mask):
        assert embedded.shape[0] == 3 or embedded.shape[0] * embedded.shape[1] <= 40  # one row's three, or within --tokens
        inputs[who] |= {tuple(row[keep].flatten().tolist()) for row, keep in zip(embedded[:, 3:], mask[:, 3:])}
        return encode(embedded, mask)

    monkeypatch.setattr(setting.t5, "encode", encode_and_tell)
    monkeypatch.setattr(setting.t5, "generate", lambda memory, mask, most: longest.append(most) or generate(memory, mask, most))
    who = "alone"
    train.dev_scores(setting, task, train.prompt.PromptBank([results[0].best]), task.report)
    who = "together"
    train.ensemble(setting, task, results)
    assert inputs["together"] == inputs["alone"] and set(longest) == {task.longest}


def test_schedules():
    recipe = train.parse_arguments(["--schedule", "cosine", "--lr", "0.4"])
    assert [round(train.learning_rate(recipe, step, 4), 4) for step in range(6)] == [
        0.4, 0.3414, 0.2, 0.0586, 0.0, 0.0]
    recipe.schedule = "constant"
    assert [train.learning_rate(recipe, step, 2) for step in range(3)] == [0.4, 0.4, 0.0]


# ----------------------------------------------------------- batches and runs


def test_parts_hold_rows_of_similar_length_within_the_budget():
    rows = [(name, [7] * length) for name, length in zip("abcde", (2, 9, 3, 8, 2))]
    parts = list(train.by_length(rows, tokens=8))
    # sorted: 2 2 3 | 8 | 9; three rows of 3 would be 9 tokens; a row is never split
    assert ["".join(name for name, _ in part) for part in parts] == ["ae", "c", "d", "b"]


def test_a_seed_walks_through_whole_epochs(few, tmp_path):
    task = train.TaskData(make_setting(tmp_path), "toy-cb")
    seen = [i for step in range(6) for i in task.order(seed=5, step=step, batch=4)]
    assert sorted(seen) == list(range(24))  # 6 steps of 4 visit the 24 examples once
    again = [i for step in range(6, 12) for i in task.order(seed=5, step=step, batch=4)]
    assert sorted(again) == list(range(24)) and again != seen


def test_examples_to_choose_by_and_to_report_do_not_meet(few, tmp_path):
    task = train.TaskData(make_setting(tmp_path, "--held-out", "0.75"), "toy-cb")
    assert len(task.choose) == 5 and len(task.report) == 15
    assert sorted(task.choose + task.report) == list(range(20))
    same = train.TaskData(make_setting(tmp_path, "--held-out", "0"), "toy-cb")
    assert same.choose == same.report == list(range(20))


def test_prompts_together_equal_prompts_alone(few, tmp_path):
    # Two seeds, one of them longer and with a teacher, in one pass of mixed rows …
    setting = make_setting(tmp_path / "together")
    task = train.TaskData(setting, "toy-cb")
    runs = some_runs(setting, task)
    together = train.train_runs(setting, task, runs, "both")
    bank = bank_of(tmp_path / "together", "both")
    for n, run in enumerate(runs):  # … and each by itself.
        setting = make_setting(tmp_path / f"alone{n}")
        [alone] = train.train_runs(setting, task, [run], "one")
        torch.testing.assert_close(bank[f"prompts.{n}"], bank_of(tmp_path / f"alone{n}", "one")["prompts.0"],
                                   rtol=1e-3, atol=1e-3)
        assert [score for _, score in together[n].curve] == [score for _, score in alone.curve]
        assert together[n].score == alone.score


def test_the_teacher_changes_its_student(few, tmp_path):
    setting = make_setting(tmp_path)
    task = train.TaskData(setting, "toy-cb")
    first, last = some_runs(setting, task)
    train.train_runs(setting, task, [last], "taught")
    last.teacher, last.kd_weight = None, 0.0
    train.train_runs(setting, task, [last], "untaught")
    assert not torch.equal(bank_of(tmp_path, "taught")["prompts.0"],
                           bank_of(tmp_path, "untaught")["prompts.0"])


def test_the_loss_is_ce_plus_weight_times_kd(few, tmp_path):
    setting = make_setting(tmp_path)
    setting.scaler = torch.amp.GradScaler("cpu", enabled=False)
    task = train.TaskData(setting, "toy-cb")
    run = some_runs(setting, task, count=1)[0]

    def loss_of(weight, tokens=8192):
        run.kd_weight, setting.args.tokens = weight, tokens
        bank, teachers = train.prompt.PromptBank([run.start]), train.prompt.PromptBank([run.teacher])
        losses, _ = train.gradients(setting, task, bank, [run],
                                    train.distill.Teachers(setting.t5, teachers), step=0)
        return losses.item(), bank.prompts[0].grad

    ce, _ = loss_of(0.0)
    half, _ = loss_of(0.5)
    full, gradient = loss_of(1.0)
    assert full > half > ce > 0
    assert full - ce == pytest.approx(2 * (half - ce), rel=1e-3)
    # Passing two rows at a time is the same step as passing all at once.
    parts, gradient_of_parts = loss_of(1.0, tokens=50)
    assert parts == pytest.approx(full, rel=1e-5)
    torch.testing.assert_close(gradient_of_parts, gradient, rtol=1e-3, atol=1e-6)


def test_distillation_is_averaged_over_valid_tokens_at_its_temperature(few, tmp_path):
    # Targets of one and of two pieces in one batch: what stands at the padding of the
    # short one must not count, and the loss is the one that distill.kd_loss gives.
    setting = make_setting(tmp_path, "--temperature", "2")
    setting.scaler = torch.amp.GradScaler("cpu", enabled=False)
    task = train.TaskData(setting, "toy-cb")
    task.train = [(ids, [20 + i, 1] if i % 2 else [20 + i, 30, 40, 1])
                  for i, (ids, _) in enumerate(task.train)]
    run = some_runs(setting, task, count=1)[0]
    bank, teacher = train.prompt.PromptBank([run.start]), train.prompt.PromptBank([run.teacher])
    [loss], _ = train.gradients(setting, task, bank, [run],
                                train.distill.Teachers(setting.t5, teacher), step=0)
    rows = [task.train[i] for i in task.order(run.seed, 0, 4)]
    ids, targets = (data.pad([row[k] for row in rows]) for k in (0, 1))
    logits = []
    for prompts in (bank, teacher):
        embedded, seen = prompts.prepend(setting.t5.embed(ids), ids != 0, torch.zeros(4, dtype=torch.long))
        memory = setting.t5.encode(embedded, seen)
        logits.append(setting.t5.decode(train.model.shift_right(targets), memory, seen))
    valid = targets != 0
    ce = torch.nn.functional.cross_entropy(logits[0][valid], targets[valid])
    kd = train.distill.kd_loss(*logits, valid, temperature=2.0)
    assert loss.item() == pytest.approx((ce + 0.5 * kd).item(), rel=1e-4) and kd > 0.01


def test_the_best_is_chosen_on_one_part_of_dev_and_reported_once_on_the_other(
        few, tmp_path, monkeypatch):
    setting = make_setting(tmp_path, "--evals", "4")
    task = train.TaskData(setting, "toy-cb")
    scores, asked, prompts = iter([1.0, 3.0, 2.0, 2.5, 77.0]), [], []

    def scripted(setting, task, bank, places):
        asked.append(places)
        prompts.append(bank.prompts[0].detach().clone())
        return [next(scores)]

    monkeypatch.setattr(train, "dev_scores", scripted)
    [result] = train.train_runs(setting, task, some_runs(setting, task, count=1), "pass")
    assert asked == [task.choose] * 4 + [task.report]
    assert result.curve == [[1, 1.0], [2, 3.0], [3, 2.0], [4, 2.5]] and result.score == 77
    assert torch.equal(result.best, prompts[1]) and torch.equal(prompts[4], prompts[1])
    assert not torch.equal(prompts[3], prompts[1])  # the last one is another


def test_what_every_approach_starts_from_and_learns_from(few, tmp_path, monkeypatch):
    # The training is replaced by one that writes down what it was asked for; each
    # "trained" prompt is recognisable by its own number.
    setting = make_setting(tmp_path, "--source", "toy-nli", "--seeds", "2", "--first-seed", "7",
                           "--strength", "3", "--metric", "e_tok")
    asked, number = {}, iter(range(1, 100))

    def recorded(setting, task, runs, title):
        for run in runs:
            asked[run.name, run.seed] = run, torch.full((3, 128), float(next(number)))
        return [train.Result(50.0, asked[run.name, run.seed][1], [], 1.0) for run in runs]

    source = torch.full((3, 128), 0.25)
    monkeypatch.setattr(train, "train_runs", recorded)
    monkeypatch.setattr(train, "source_prompt", lambda setting, name: source)
    monkeypatch.setattr(train, "similarities", lambda setting, task, a, b: {
        "panda": -1, "on": -1, "e_avg": -1, "e_tok": 0.1 * b[0, 0].item()})
    task, found, similar = train.transfer(setting, "toy-cb", ["toy-nli"])
    for i, seed in enumerate((7, 8)):
        fresh = train.start(setting, task, seed)
        run = {name: asked[name, seed][0] for name, s in asked if s == seed}
        best = {name: asked[name, seed][1] for name in run}
        assert set(run) == {"prompt", "prompt_2x", "pot toy-nli", "panda toy-nli", "panda_self"}
        assert torch.equal(run["pot toy-nli"].start, source)
        for name in ("prompt", "prompt_2x", "panda toy-nli", "panda_self"):
            assert torch.equal(run[name].start, fresh)  # paired: the same start for a seed
        assert {name: r.steps for name, r in run.items()} == dict.fromkeys(run, 4) | {"prompt_2x": 8}
        assert torch.equal(run["panda toy-nli"].teacher, best["pot toy-nli"])
        assert torch.equal(run["panda_self"].teacher, best["prompt"])
        # weight = lambda * similarity of the source and this seed's own target prompt
        assert run["panda toy-nli"].kd_weight == pytest.approx(3 * 0.1 * (i + 1))
        assert run["panda_self"].kd_weight == 3
        assert all(r.teacher is None and r.kd_weight == 0 for name, r in run.items()
                   if not name.startswith("panda"))


def test_finetuning_learns(few, tmp_path):
    setting = make_setting(tmp_path, "--steps", "6", "--finetune-lr", "0.01")
    before = {name: p.clone() for name, p in setting.t5.state_dict().items()}
    task = train.TaskData(setting, "toy-qnli")
    batch = [task.train[i] for i in task.order(0, 0, 4)]
    trained = []
    whole = train.dev_scores
    train_scores = lambda setting, *rest: trained.append(setting.t5) or whole(setting, *rest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "dev_scores", train_scores)
        train.finetune(setting, task, seed=0)

    def loss(t5):
        ids, targets = (data.pad([row[k] for row in batch]) for k in (0, 1))
        memory = t5.encode(t5.embed(ids), ids != 0)
        logits = t5.decode(train.model.shift_right(targets), memory, ids != 0)
        return -train.model.target_log_probs(logits, targets).sum().item()

    assert loss(trained[-1]) < loss(setting.t5)
    assert all(torch.equal(p, before[name]) for name, p in setting.t5.state_dict().items())


def test_what_is_tuned_is_scored_unchanged_on_other_tasks(few, tmp_path):
    # Of the three labels that toy-cb's prompt knows, two are one to toy-rte: what it answers
    # there is ranked among its own three and scored in toy-rte's words.
    setting = make_setting(tmp_path, "--eval-on", "toy-rte,toy-cb,toy-nli", "--seeds", "1")
    assert setting.args.approach == ["prompt", "finetune"]
    task, found, _ = train.transfer(setting, "toy-cb", [])
    rte, nli = task.others
    assert (rte.name, nli.name) == ("toy-rte", "toy-nli")  # on itself it is scored anyway
    assert {example.target for _, example in rte.dev} == set(data.TASKS["toy-rte"].labels)
    coarse = {"neutral": "not_entailment", "contradiction": "not_entailment"}
    tuned = {"promptless": None, "prompt": train.prompt.PromptBank([found["prompt"][0].best]), "finetune": None}
    scores = {}
    for name, bank in tuned.items():
        if name == "finetune":  # the tuned weights, read again
            [folder] = (tmp_path / "passes").glob("toy-cb-finetune-0-*")
            setting.t5.load_state_dict(load_file(folder / "best.safetensors"))
        for other in (rte, nli):
            [texts] = train.predict(setting, other, bank, other.report)
            assert set(texts) <= {"entailment", "neutral", "contradiction"}
            right = sum(other.dev[i][1].target in (text, coarse.get(text)) for i, text in zip(other.report, texts))
            scores.setdefault(name, []).append(pytest.approx(100 * right / len(other.report)))
    assert [rte.promptless, nli.promptless] == scores["promptless"]
    assert [found[name][0].elsewhere for name in ("prompt", "finetune")] == [scores["prompt"], scores["finetune"]]
    folder = train.write_results(setting, task, "", found, {})
    written = json.loads((folder / "results.json").read_text())["elsewhere"]
    for k, other in enumerate((rte, nli)):
        assert written[other.name] == {"metric": "accuracy", "majority": other.majority, "promptless": other.promptless,
                                       "scores": {name: [scores[name][k]] for name in ("prompt", "finetune")}}
    assert rte.majority != task.majority  # of two words, not of three


def test_the_table_of_other_tasks():
    def scored(own, elsewhere):
        return train.Result(own, None, [], 1.0, elsewhere=[elsewhere])

    def named(name, majority):
        return types.SimpleNamespace(name=name, scored_as=name, majority=majority, promptless=1.0)

    task = named("mrpc", 68.0)
    task.others = [named("qqp", 0.0)]
    found = {"prompt": [scored(80, 60), scored(82, 60), scored(84, 63)],
             "pot rte": [scored(90, 50)] * 3, "finetune": [scored(70, 70), scored(72, 70), scored(75, 74)]}
    assert train.elsewhere(task, found) == [
        "| approach | source | mrpc, trained: accuracy | qqp, unchanged: f1 |", "|---|---|---|---|",
        "| majority class | – | 68.0 | 0.0 |", "| T5 without a prompt | – | 1.0 | 1.0 |",
        "| prompt | – | 82.0 ± 2.0 | 61.0 ± 1.7 |", "| pot | rte | 90.0 ± 0.0 | 50.0 ± 0.0 |",
        "| finetune | – | 72.3 ± 2.5 | 71.3 ± 2.3 |", "",
        "Prompt tuning against model tuning, seed by seed: on mrpc +9.7 ± 0.6, ahead in 3 of 3 seeds; "
        "on qqp -10.3 ± 0.6, ahead in 0 of 3 seeds."]


def test_free_text_is_scored_by_what_the_other_task_accepts(tmp_path, monkeypatch):
    # Two sets in SQuAD's form; the other one's answers are longer and there are two for its question.
    for name, answers in (("squad", ["rome"]), ("news", ["in old oslo", "oslo"])):
        monkeypatch.setitem(data.TASKS, name, dataclasses.replace(
            data.TASKS["squad"], files=(f"{name}/train-v1.1.json", f"{name}/dev-v1.1.json")))
        (tmp_path / name).mkdir()
        for split in ("train", "dev"):
            (tmp_path / name / f"{split}-v1.1.json").write_text(json.dumps({"data": [{"paragraphs": [{
                "context": "cats slept in rome and in old oslo", "qas": [{
                    "id": "1", "question": "where ?", "answers": [
                        {"text": answer, "answer_start": 0} for answer in answers]}]}]}]}))
    setting = make_setting(tmp_path, "--target", "squad", "--eval-on", "news", "--approach", "prompt",
                           "--model", str(train.TOY_MODEL), "--data", str(tmp_path))
    squad = train.TaskData(setting, "squad")
    news = train.TaskData(setting, "news", asked=squad)
    assert news.longest > squad.longest  # an answer may be as long as either task's
    assert train.TaskData(setting, "squad", asked=news).longest == news.longest
    said = iter([["Oslo."], ["rome"]])
    monkeypatch.setattr(train, "predict", lambda *_: [next(said)])
    assert [train.dev_scores(setting, news, None, news.report) for _ in range(2)] == [[100.0], [0.0]]


def test_what_a_run_costs(few, tmp_path):
    setting = make_setting(tmp_path, "--seeds", "2", "--approach", "prompt,finetune")
    _, found, _ = train.transfer(setting, "toy-cb", [])
    weights = sum(p.numel() for p in setting.t5.parameters())
    prompts, tuned = found["prompt"][0], found["finetune"][0]
    # A prompt of 3 vectors: 384 numbers of 4 bytes, as many for the gradient and for each of
    # AdamW's two moments, and AdamW's count of steps.
    assert prompts.trained == 3 * 128 and prompts.memory == 4 * 384 * 4 + 4
    # All weights and their gradients; Adafactor keeps a row and a column for a matrix, no more.
    assert tuned.trained == weights and 2 * 4 * weights < tuned.memory < 2.2 * 4 * weights
    assert train.cost(found)[2:4] == ["| prompt | 384 | 0.002 MB | 0.006 MB |",
                                     f"| finetune | 1,362,176 | 5.449 MB | {tuned.memory / 1e6:.3f} MB |"]


def test_model_tuning_starts_from_the_checkpoint_and_ends_with_its_best(few, tmp_path, monkeypatch):
    # In bf16 the frozen weights are rounded; those that are tuned are not.
    setting = make_setting(tmp_path, "--dtype", "bf16", "--dropout", "0", "--finetune-dropout", "0.5", "--evals", "4")
    task, frozen, weights, dropouts = train.TaskData(setting, "toy-cb"), setting.t5, [], []
    scores, whole = iter([1.0, 3.0, 2.0, 2.5, 77.0]), train.gradients

    def scripted(setting, *_):
        assert setting.t5.dropout == 0 and all(p.grad is None for p in setting.t5.parameters())
        weights.append({name: p.detach().clone() for name, p in setting.t5.state_dict().items()})
        return [next(scores)]

    def told(setting, *rest):
        dropouts.append(setting.t5.dropout)
        if not weights:
            weights.append({name: p.detach().clone() for name, p in setting.t5.state_dict().items()})
        return whole(setting, *rest)

    monkeypatch.setattr(train, "dev_scores", scripted)
    monkeypatch.setattr(train, "gradients", told)
    monkeypatch.setattr(train, "KEEP_EVERY", 0)
    result = train.finetune(setting, task, seed=0)
    assert same(weights[0], train.model.load(train.TOY_MODEL).state_dict()) and dropouts == [0.5] * 4
    assert result.score == 77 and result.best is None and setting.t5 is frozen
    assert same(weights[5], weights[2]) and not same(weights[4], weights[2])  # the second of four scored best
    [folder] = (tmp_path / "passes").glob("*")
    assert same(load_file(folder / "best.safetensors"), weights[2])
    assert {"trained", "optimizer"}.isdisjoint(torch.load(folder / "last.pt", weights_only=True))


def test_states_of_all_weights_are_written_at_evaluations_only(few, tmp_path, monkeypatch):
    written, whole = [], train.write_whole
    monkeypatch.setattr(train, "write_whole", lambda path, write: written.append(path.name) or whole(path, write))
    monkeypatch.setattr(train, "KEEP_EVERY", 0)
    setting = make_setting(tmp_path, "--evals", "1")
    task = train.TaskData(setting, "toy-cb")
    train.finetune(setting, task, seed=0)
    assert written.count("last.pt") == 2  # its one evaluation, its end
    train.train_runs(setting, task, some_runs(setting, task, count=1), "prompts")
    assert written.count("last.pt") == 2 + 5  # each of four steps, the end


def test_dropout_is_the_students_and_not_the_teachers(few, tmp_path, monkeypatch):
    setting = make_setting(tmp_path, "--dropout", "0.5", "--steps", "1", "--evals", "1")
    task = train.TaskData(setting, "toy-cb")
    run, seen = some_runs(setting, task, count=1)[0], {}
    whole_encode, whole_logits = setting.t5.encode, train.distill.Teachers.logits

    def encode(embedded, mask):
        seen.setdefault(seen.get("who", "student"), set()).add(setting.t5.dropout)
        return whole_encode(embedded, mask)

    def logits(self, *batch):
        seen["who"] = "teacher"
        answer = whole_logits(self, *batch)
        seen["who"] = "evaluation"  # what comes after the one step
        return answer

    monkeypatch.setattr(setting.t5, "encode", encode)
    monkeypatch.setattr(train.distill.Teachers, "logits", logits)
    train.train_runs(setting, task, [run], "pass")
    assert (seen["student"], seen["teacher"], seen["evaluation"]) == ({0.5}, {0.0}, {0.0})


def test_in_bf16_the_loss_is_nearly_that_in_fp32_and_prompts_stay_in_fp32(few, tmp_path):
    losses = []
    for dtype in ("fp32", "bf16"):
        setting = make_setting(tmp_path, "--dtype", dtype)
        setting.scaler = torch.amp.GradScaler("cpu", enabled=False)
        task = train.TaskData(setting, "toy-cb")
        [run] = some_runs(setting, task, count=1)
        bank, teacher = train.prompt.PromptBank([run.start]), train.prompt.PromptBank([run.teacher])
        [loss], _ = train.gradients(setting, task, bank, [run],
                                    train.distill.Teachers(setting.t5, teacher), step=0)
        losses.append(loss.item())
        assert bank.prompts[0].grad.dtype == torch.float32
    assert setting.t5.shared.weight.dtype == torch.bfloat16
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05)


# ------------------------------------------------------------ stopping, going on


class Killed(Exception):
    pass


def same(first, second):
    """Whether two prompts, or all weights by name, are equal bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("what", ["prompts", "all weights"])
def test_resume_equals_straight_through_bit_for_bit(what, few, tmp_path, monkeypatch):
    def run_in(folder):
        setting = make_setting(folder, "--evals", "4", "--finetune-dropout", "0.1")
        task = train.TaskData(setting, "toy-cb")
        runs = some_runs(setting, task)
        if what == "all weights":
            runs = [train.Run("finetune", 0, None, 4)]
            setting.t5.requires_grad_(True)
        return train.train_runs(setting, task, runs, "pass")

    straight = run_in(tmp_path / "straight")
    whole = train.gradients

    def killed_at_step_3(setting, task, bank, runs, teachers, step):
        if step == 3:
            raise Killed
        return whole(setting, task, bank, runs, teachers, step)

    monkeypatch.setattr(train, "gradients", killed_at_step_3)
    with pytest.raises(Killed):
        run_in(tmp_path / "resumed")
    monkeypatch.setattr(train, "gradients", whole)
    resumed = run_in(tmp_path / "resumed")
    for a, b in zip(straight, resumed):
        assert same(a.best, b.best) and a.curve == b.curve and a.score == b.score and a.memory == b.memory > 0
    if what == "prompts":
        assert same(*(bank_of(tmp_path / name, "pass") for name in ("straight", "resumed")))


@pytest.mark.parametrize("what, changes, passes", [
    ("prompt", ["--finetune-lr", "0.5"], 1), ("prompt", ["--tokens", "50"], 1), ("prompt", ["--batch", "3"], 2),
    ("prompt", ["--dropout", "0.1"], 2),
    ("finetune", ["--lr", "0.1", "--length", "2", "--strength", "2", "--dropout", "0.1"], 1),
    ("finetune", ["--tokens", "50"], 1), ("finetune", ["--finetune-lr", "0.5"], 2), ("finetune", ["--batch", "3"], 2),
    ("finetune", ["--finetune-dropout", "0.1"], 2)])
def test_a_pass_is_named_by_what_decides_it(what, changes, passes, few, tmp_path):
    for more in ([], changes):
        setting = make_setting(tmp_path, "--steps", "1", "--evals", "1", *more)
        task = train.TaskData(setting, "toy-cb")
        if what == "finetune":
            train.finetune(setting, task, 0)
        else:
            train.train_runs(setting, task, [train.Run("prompt", 0, torch.zeros(3, 128), 1)], "prompt")
    assert len(list((tmp_path / "passes").glob("*"))) == passes


def test_parts_are_in_the_name_of_a_pass_where_dropout_falls_on_them(few, tmp_path):
    for tokens in ("8192", "50"):
        setting = make_setting(tmp_path, "--steps", "1", "--evals", "1", "--dropout", "0.1", "--tokens", tokens)
        train.train_runs(setting, train.TaskData(setting, "toy-cb"), [train.Run("prompt", 0, torch.zeros(3, 128), 1)], "p")
    assert len(list((tmp_path / "passes").glob("*"))) == 2


def test_a_changed_recipe_does_not_go_on_from_an_old_state(few, tmp_path):
    for lr in ("0.1", "0.2"):
        setting = make_setting(tmp_path, "--lr", lr)
        task = train.TaskData(setting, "toy-cb")
        train.train_runs(setting, task, some_runs(setting, task), "pass")
    assert len(list((tmp_path / "passes").iterdir())) == 2


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
        few, tmp_path, monkeypatch):
    setting = make_setting(tmp_path, "--evals", "4")
    task = train.TaskData(setting, "toy-cb")
    whole = train.gradients

    def poisoned(*args):
        losses, tokens = whole(*args)
        return (losses * float("nan") if args[-1] == 2 else losses), tokens

    monkeypatch.setattr(train, "gradients", poisoned)
    with pytest.raises(ValueError, match="not finite at step 2"):
        train.train_runs(setting, task, some_runs(setting, task), "pass")
    assert all(torch.isfinite(p).all() for p in bank_of(tmp_path, "pass").values())


def test_a_source_prompt_is_read_again_unless_model_recipe_or_data_changed(
        few, tmp_path, monkeypatch, capsys):
    def said(*more):
        setting = make_setting(tmp_path, "--evals", "1", *more)
        capsys.readouterr()
        train.source_prompt(setting, "toy-nli")
        return capsys.readouterr().out

    assert "not read" in said()  # the shipped one was made by another recipe
    kept = f"read from {tmp_path / 'sources' / 'toy-nli-0'}"
    assert kept in said()
    assert kept not in said("--lr", "0.2")
    assert kept in said("--lr", "0.2")
    monkeypatch.setitem(world.SIZES, "nli", (30, 20))  # six examples more
    assert kept not in said("--lr", "0.2")
    assert kept not in said("--no-resume", "--lr", "0.2")


# ------------------------------------------------------------------ the report


def result(score):
    return train.Result(score, None, [], 1.0)


def test_the_sentence_says_what_was_found_whichever_way_it_went():
    found = {"prompt": [result(60), result(62), result(64)],
             "pot toy-nli": [result(70), result(72), result(75)],       # +10, +10, +11
             "pot toy-sst2": [result(50), result(52), result(53)],      # -10, -10, -11
             "panda toy-nli": [result(50), result(62), result(77)]}     # -10, 0, +13
    words = train.sentence(found)
    assert "plain prompt tuning (62.0)" in words
    assert "pot from toy-nli +10.3 ± 0.6, ahead in 3 of 3 seeds;" in words
    assert "pot from toy-sst2 -10.3 ± 0.6, ahead in 0 of 3 seeds;" in words
    assert "panda from toy-nli +1.0 ± 11.5, ahead in 1 of 3 seeds (may be chance)" in words
    # One seed has no deviation, and says so.
    one = {name: results[:1] for name, results in found.items()}
    assert "pot from toy-nli +10.0 ± ?, ahead in 1 of 1 seeds (may be chance)" in train.sentence(one)
    # +10, +10 and 0 mean 6.7 with deviation 5.8: two standard errors are passed
    # (2 * 5.8 / sqrt(3) = 6.7), but with three seeds it takes 4.30 of them.
    found["pot toy-nli"] = [result(70), result(72), result(64)]
    assert "pot from toy-nli +6.7 ± 5.8, ahead in 2 of 3 seeds (may be chance)" in train.sentence(found)


def test_ten_seeds_are_judged_by_students_t_of_ten():
    # Mean 1; t = 1 / (deviation / sqrt(10)). The 5 % point of ten is 2.26, of nine 2.31.
    def gains(t):
        spread = torch.tensor([-1.0, 1] * 5)
        return (1 + spread / spread.std() * 10 ** 0.5 / t).tolist()

    assert train.beyond_chance(gains(2.28)) and not train.beyond_chance(gains(2.24))
    assert not train.beyond_chance([5.0]) and not train.beyond_chance([0.0, 0.0])


def test_examples_in_the_docstrings():
    result = doctest.testmod(train)
    assert result.attempted > 0 and result.failed == 0


def test_what_runs_if_no_approach_is_given():
    def chosen(*arguments):
        args = train.parse_arguments(arguments)
        return args.approach, args.source

    assert chosen() == (["prompt", "pot", "panda", "controls"], ["toy-nli", "toy-sst2"])
    assert chosen("--eval-on", "toy-rte") == (["prompt", "finetune"], [])
    assert chosen("--eval-on", "toy-rte", "--source", "toy-nli") == (["prompt", "pot", "panda", "controls"], ["toy-nli"])
    assert chosen("--ensemble", "4", "--eval-on", "toy-rte") == (["prompt"], [])


def test_the_whole_method_writes_its_files_and_goes_on_where_it_stopped(few, tmp_path, capsys):
    arguments = [*FAST, "--device", "cpu", "--seeds", "2", "--out", str(tmp_path),
                 "--approach", "prompt,pot,panda,controls,finetune", "--source", "toy-nli"]
    train.main(arguments)
    results = json.loads((tmp_path / "toy-nli-to-toy-cb" / "results.json").read_text())
    assert set(results["scores"]) == {"prompt", "pot", "panda", "prompt_2x", "panda_self", "finetune"}
    assert all(len(scores) == 2 for scores in results["scores"].values())
    assert set(results["similarity"]) == {"panda", "e_avg", "e_tok", "on"}
    assert results["cost"]["prompt"] | {"training_bytes": 0} == {
        "trained": 3 * 128, "stored_bytes": 4 * 3 * 128, "training_bytes": 0}
    assert results["seeds"] == [0, 1] and results["metric"] == "accuracy"
    assert results["steps"]["prompt_2x"] == 2 * results["steps"]["panda"] == 8
    report = (tmp_path / "toy-nli-to-toy-cb" / "report.md").read_text()
    assert "| panda | toy-nli |" in report and "Against plain prompt tuning" in report
    assert report.splitlines()[-3] in capsys.readouterr().out  # the sentence
    assert report.splitlines()[-1].startswith("Recipe: length 3, init vocabulary, ")
    kept, made_by = train.prompt.load(tmp_path / "prompts" / "toy-cb-1")
    assert kept.shape == (3, 128) and made_by["task"] == "toy-cb" and made_by["recipe"]["length"] == 3
    steps = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"pass", "step", "loss", "dev"} <= set(steps[0])
    # Once more: nothing is trained again, and the scores are the same.
    train.main(arguments)
    again = json.loads((tmp_path / "toy-nli-to-toy-cb" / "results.json").read_text())
    assert again["scores"] == results["scores"] and again["cost"] == results["cost"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == len(steps)


# ------------------------------------------------------------------- bad input


@pytest.mark.parametrize("arguments, complaint", [
    (["--target", "toy-cv"], "unknown task 'toy-cv'; did you mean toy-cb"),
    (["--target", "cb", "--source", "toy-nli"], "cannot be mixed"),
    (["--target", "cb", "--source", "mnli"], "give --model"),
    (["--target", "cb"], "give --source"),
    (["--target", "cb", "--approach", "prompt"], "give --model"),
    (["--approach", "panda_self"], "controls are prompt_2x and panda_self"),
    (["--approach", "magic"], "unknown approach 'magic'"),
    (["--steps", "0"], "--steps is 0, wanted 1 or more"),
    (["--schedule", "linear"], "unknown schedule 'linear'"),
    (["--dtype", "fp16", "--device", "cpu"], "--dtype fp16 needs a GPU"),
    (["--model", "t5-smal"], "did you mean t5-small"),
    (["--device", "gpu"], "unknown device 'gpu'"),
    (["--held-out", "1"], "--held-out is 1.0, wanted from 0 to below 1"),
    (["--source", "toy-nli,toy-nli"], "names a task twice"),
    (["--source", "toy-cb"], "cannot be its own source"),
    (["--eval-on", "toy-sst2"], "toy-cb answers entailment, neutral, contradiction; toy-sst2 answers positive, negative"),
    (["--eval-on", "toy-ner"], "toy-ner answers free text for entity_f1: no labels in common"),
    (["--eval-on", "cb"], "cannot be mixed"),
    (["--eval-on", "toy-rte,toy-rte"], "--eval-on toy-rte,toy-rte names a task twice"),
    (["--eval-on", "toy-cb"], "scored on itself anyway"),
    (["--ensemble", "0"], "--ensemble is 0, wanted 2 or more"),
    (["--source", "toy-nli", "--approach", "prompt"], "only pot and panda have one"),
    (["--source", "toy-nli", "--ensemble", "3"], "only pot and panda have one"),
    (["--dtype", "bf16", "--out", "README.md"], "is a file, wanted a folder"),
])
def test_bad_input_is_named(arguments, complaint, tmp_path, few):
    with pytest.raises(ValueError, match=complaint.replace("?", r"\?")):
        train.main([*FAST, "--out", str(tmp_path), *arguments])


def test_at_the_command_line_an_error_is_one_line_and_status_2(tmp_path):
    done = subprocess.run([sys.executable, "train.py", "--target", "toy-cv", "--out", str(tmp_path)],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("train.py: unknown task 'toy-cv'") and done.stderr.count("\n") == 1
