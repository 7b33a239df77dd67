"""Students beside their teachers: a step's two terms, their gradients, a pass, and what is fused.

    python -m pytest tests/test_students.py

Oracle: gradients of the two terms taken apart, a run alone, a step without what is added. The model
is a tiny T5, the task toy-cb, cut down to 24 training and 20 dev examples.
"""

import dataclasses
import itertools
import json

import pytest
import torch

import distill
import model
import prompt
import train
import transferability
from distill import FORMS, Run
from workbench import (
    D, FAST, encoded, pass_of, same, shop_in, some_runs, step_of, teacher_of)

pytestmark = pytest.mark.usefixtures("few")


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


def both_terms(shop, task, run, form, step=0):
    """[(CE, KD)] of a run's first step, and the gradient of each, taken one after the other."""
    bank, device = prompt.PromptBank([run.start]).to(shop.t5.device), shop.t5.device
    rows = [((0, i), *task.train[i], True) for i in task.step(run.seed, step, shop.recipe.batch)]
    part = distill.Rows.of(rows, *distill.shares(rows, 1, FORMS[form], bank.length), device)
    embedded, seen = bank.prepend(shop.t5.embed(part.ids), part.ids != 0, part.index)
    memory = shop.t5.encode(embedded, seen)
    logits = shop.t5.decode(model.shift_right(part.targets), memory, seen)
    teaching = distill.Teachers(shop.t5, [run], form).teach(part)
    terms = distill.loss(distill.Made(memory, bank.length, logits), part, teaching, FORMS[form])
    return [(term.sum().item(), torch.autograd.grad(term.sum(), bank.prompts[0],
                                                    retain_graph=True)[0])
            for term in (terms.ce, terms.kd)]


# ------------------------------------------------------------------------ a step


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_that_of_ce_and_weight_times_kd(form, tmp_path):
    shop = shop_in(tmp_path)
    task = encoded(shop)
    [run] = some_runs(shop, task, count=1, weight=0.5)
    (ce, of_ce), (kd, of_kd) = both_terms(shop, task, run, form)
    assert ce > 0 and kd > 0.01
    for tokens in (8192, 60):  # two rows at a time are the same step as all at once
        [found_ce], [found_kd], _, bank, _ = step_of(shop, task, [run], form, tokens=tokens)
        assert (found_ce, found_kd) == pytest.approx((ce, kd), rel=1e-4)  # before its weight
        torch.testing.assert_close(bank.prompts[0].grad, of_ce + 0.5 * of_kd, rtol=1e-3, atol=1e-5)


def test_a_step_in_parts_is_averaged_over_valid_tokens_at_its_temperature(tmp_path):
    # Targets of two and of four tokens in one batch: what stands at the padding of the short
    # ones must not count, and a mean over 12 tokens is no mean of means over rows or parts.
    shop = shop_in(tmp_path, "--device", "cpu")
    task = encoded(shop)
    task.train = [(ids, [20 + i, 1] if i % 2 else [20 + i, 30, 40, 1])
                  for i, (ids, _) in enumerate(task.train)]
    [run] = some_runs(shop, task, count=1)
    rows = [task.train[i] for i in task.step(run.seed, 0, 4)]
    ids, targets = (model.pad([row[k] for row in rows]) for k in (0, 1))
    logits = []
    for vectors in (run.start, run.teachers[0][0]):
        embedded, seen = prompt.PromptBank([vectors]).prepend(
            shop.t5.embed(ids), ids != 0, torch.zeros(4, dtype=torch.long))
        memory = shop.t5.encode(embedded, seen)
        logits.append(shop.t5.decode(model.shift_right(targets), memory, seen)[targets != 0])
    ce = torch.nn.functional.cross_entropy(logits[0], targets[targets != 0]).item()
    kd = distill.kl(*(z[None] for z in logits), 2.0).mean().item()
    for tokens in (8192, 60):
        [found_ce], [found_kd], *_ = step_of(shop, task, [run], tokens=tokens, temperature=2.0)
        assert (found_ce, found_kd) == pytest.approx((ce, kd), rel=1e-4)


# ------------------------------------------------------- what the teacher adds, in a step


@pytest.mark.parametrize("form", ["kl", "states"])
@pytest.mark.parametrize("tokens", [8192, 60])  # in one part, and in several
def test_the_cosine_is_that_of_the_gradients_of_the_two_terms(form, tokens, tmp_path):
    shop = shop_in(tmp_path)
    task = encoded(shop)
    [run] = some_runs(shop, task, count=1)
    untaught = Run("prompt", 1, 4, run.start)
    (_, of_ce), (_, of_kd) = both_terms(shop, task, run, form)
    _, _, found, _, _ = step_of(shop, task, [untaught, run], form, explain=True, tokens=tokens)
    assert found == [None, pytest.approx(cosine(of_ce, of_kd), abs=1e-3)]
    assert abs(found[1]) < 0.99  # neither one direction nor its opposite
    # Its weight stretches a gradient and does not turn it.
    heavier = dataclasses.replace(run, teachers=((run.teachers[0][0], 3.0),))
    assert step_of(shop, task, [heavier], form, explain=True)[2] == [
        pytest.approx(found[1], abs=1e-3)]


def test_a_teacher_that_is_sure_of_the_labels_says_nothing_new(tmp_path, monkeypatch):
    # KL to a distribution that is all on the label is -log p(label): KD is CE, word for word.
    def sure(self, rows):
        logits = 1e4 * torch.nn.functional.one_hot(rows.targets, 384).float()
        return distill.Teaching(torch.arange(len(rows.ids)), logits, rows.targets != 0,
                                torch.full((len(rows.ids),), 0.5))

    monkeypatch.setattr(distill.Teachers, "teach", sure)
    shop = shop_in(tmp_path, "--device", "cpu")
    task = encoded(shop)
    [run] = some_runs(shop, task, count=1)
    [ce], [kd], [alike], _, _ = step_of(shop, task, [run], explain=True)
    assert kd == pytest.approx(ce) and ce > 0
    assert alike == pytest.approx(1)


@pytest.mark.parametrize("form", ["kl", "states"])
def test_to_ask_for_the_cosine_changes_nothing(form, tmp_path, monkeypatch):
    # The same bits, after a step and after a training.
    shop = shop_in(tmp_path / "asked", "--evals", "4")
    task = encoded(shop)
    runs = some_runs(shop, task)
    for tokens in (8192, 120):
        without, asked = (step_of(shop, task, runs, form, explain=explain, tokens=tokens)
                          for explain in (False, True))
        assert without[:2] == asked[:2] and without[2] == [None, None] != asked[2]
        assert all(same(a.grad, b.grad) for a, b in zip(without[3].prompts, asked[3].prompts))
    results = train.train_prompts(shop, task, runs, "pass", form)
    whole = train.gradients
    monkeypatch.setattr(train, "gradients", lambda *args: whole(*args[:4], False))
    silent = train.train_prompts(shop_in(tmp_path / "not", "--evals", "4"), task, runs, "pass",
                                 form)
    for a, b in zip(results, silent):
        assert same(a.best, b.best) and a.curve == b.curve
        assert [term[:3] for term in a.terms] == [term[:3] for term in b.terms]
    assert all(term[3] is not None for term in results[1].terms)


def test_the_terms_of_the_first_step_and_of_each_evaluation_are_in_the_result(
        tmp_path, monkeypatch):
    shop = shop_in(tmp_path)
    task, said, whole = encoded(shop), {}, train.gradients

    def told(shop, work, step, *rest):
        said[step + 1] = whole(shop, work, step, *rest)
        return said[step + 1]

    monkeypatch.setattr(train, "gradients", told)
    # Runs of 4 and of 6 steps, scored twice each; the second one has a teacher.
    for n, result in enumerate(train.train_prompts(shop, task, some_runs(shop, task), "pass")):
        steps = ([1, 2, 4], [1, 3, 6])[n]
        assert [step for step, _ in result.curve] == steps[1:]
        assert result.terms == [[step, *(said[step][k][n] for k in range(3))] for step in steps]
        assert all((cosine is None) == (n == 0) for _, _, _, cosine in result.terms)
        made_by = json.loads((result.folder / "prompt.json").read_text())
        assert made_by["result"]["terms"] == result.terms
        assert made_by["result"]["right"] == result.right
    assert result.right == round(100 * round(result.right * 24 / 100) / 24, 4)  # of 24 examples


# ------------------------------------------------------------ inputs without labels


def read(shop, work, step):
    """[(run, example, target ids, whether CE counts it)] of a step, without padding."""
    return [(n, i, [token for token in target.tolist() if token], bool(share))
            for part in itertools.chain(*train.parts(shop, work, step))
            for (n, i), target, share in zip(part.keys, part.targets, part.share)]


def test_inputs_without_labels_are_read_by_students_alone(tmp_path):
    shop = shop_in(tmp_path, "--labelled", "6", "--unlabelled", "rest")
    task = encoded(shop)
    plain, student = some_runs(shop, task)  # of 4 and of 6 steps
    for form in ("kl", "states"):
        work = pass_of(shop, task, [plain, student], form)
        rows = read(shop, work, 1)
        with_label = {n: {i for m, i, _, labelled in rows if m == n and labelled} for n in (0, 1)}
        assert with_label == {0: set(task.step(0, 1, 4)), 1: set(task.step(1, 1, 4))}
        assert all(with_label[n] <= set(task.mine(n)) for n in (0, 1))
        free = [(n, i) for n, i, _, labelled in rows if not labelled]
        assert sorted(free) == [(1, i) for i in sorted(task.free(1, 1, 4))] and len(free) == 4
        assert not set(task.mine(1)) & {i for _, i in free}
        for n, i, target, labelled in rows:
            if labelled:
                assert target == task.train[i][1]
            else:  # answers are compared at the teacher's own, states need none
                assert target == (work.teachers.told[1, i] if form == "kl" else [model.EOS])
                assert form == "states" or target in task.labels
        assert {n for n, *_ in read(shop, work, 4)} == {1}  # after its end a run reads nothing


@pytest.mark.parametrize("form", ["kl", "states"])
def test_inputs_without_labels_have_a_part_in_kd_and_none_in_ce(form, tmp_path):
    found = {}
    for more in ("", "rest"):
        shop = shop_in(tmp_path, "--labelled", "6", "--unlabelled", more)
        task = encoded(shop)
        [run] = some_runs(shop, task, count=1)
        found[more] = step_of(shop, task, [run], form, explain=True)
    assert found["rest"][0] == pytest.approx(found[""][0], rel=1e-5)  # CE
    assert found["rest"][1] != pytest.approx(found[""][1], rel=1e-2)  # KD
    assert found["rest"][4] > found[""][4]  # positions
    # KD is a mean over the units of all eight rows, four with a label and four without.
    teachers, KD, units = distill.Teachers(shop.t5, [run], form), 0.0, 0
    told = pass_of(shop, task, [run], form).teachers.told
    for i in (*task.step(0, 0, 4), *task.free(0, 0, 4)):
        target = task.train[i][1] if i in task.mine(0) else told.get((0, i), [model.EOS])
        rows = [((0, i), task.inputs[i], target, True)]
        part = distill.Rows.of(rows, [1.0], [1.0], shop.t5.device)
        bank = prompt.PromptBank([run.start]).to(shop.t5.device)
        embedded, seen = bank.prepend(shop.t5.embed(part.ids), part.ids != 0, part.index)
        memory = shop.t5.encode(embedded, seen)
        logits = shop.t5.decode(model.shift_right(part.targets), memory, seen)
        KD += distill.loss(distill.Made(memory, bank.length, logits), part, teachers.teach(part),
                           FORMS[form]).kd.item()
        units += FORMS[form].units(*rows[0][1:3], bank.length)
    assert found["rest"][1] == [pytest.approx(KD / units, rel=1e-3)]


# ------------------------------------------------------------------------ a pass


def last_bank(out):
    """The prompts in the last state of the one pass there."""
    [path] = out.glob("passes/*.pt")
    return torch.load(path, weights_only=True)["bank"]


def shop_that_keeps(out, *more):
    """One that does not forget the last state of a pass."""
    shop = shop_in(out, *more)
    shop.home.forget = lambda path: None
    return shop


@pytest.mark.parametrize("form, more", [("kl", []), ("states", []), ("kl", ["--unlabelled", "9"])])
def test_prompts_together_equal_prompts_alone(form, more, tmp_path):
    # Two seeds, one of them longer and with a teacher, in one pass of mixed rows, and a third run
    # with two teachers, one of which is the second's …
    shop = shop_that_keeps(tmp_path / "both", *more)
    task = encoded(shop)
    runs = some_runs(shop, task)
    other = train.fresh_prompt(shop, task, 7)
    runs.append(Run("late", 1, 4, runs[0].start, ((teacher_of(shop), 0.75), (other, 0.25))))
    together = train.train_prompts(shop, task, runs, "both", form)
    bank = last_bank(tmp_path / "both")
    for n, run in enumerate(runs):  # … and each by itself.
        [alone] = train.train_prompts(shop_that_keeps(tmp_path / f"{n}", *more), task, [run], "one",
                                      form)
        torch.testing.assert_close(bank[f"prompts.{n}"], last_bank(tmp_path / f"{n}")["prompts.0"],
                                   rtol=1e-3, atol=1e-3)
        assert together[n].curve == alone.curve and together[n].score == alone.score
        assert together[n].right == alone.right
        # A shorter run stands still after its end, momentum or not: the longer one's steps 5 and
        # 6 are behind it.
        assert [step for step, _ in alone.curve] == [run.steps // 2, run.steps]


def test_the_teacher_changes_its_student_and_so_does_the_form(tmp_path):
    shop = shop_in(tmp_path, "--evals", "1")
    task = encoded(shop)
    [taught] = some_runs(shop, task, count=1)
    untaught = dataclasses.replace(taught, teachers=())
    found = [train.train_prompts(shop, task, [run], "pass", form)[0].best
             for run, form in ((untaught, "kl"), *((taught, form) for form in FORMS))]
    assert not any(same(a, b) for i, a in enumerate(found) for b in found[:i])


def test_a_student_whose_teacher_weighs_nothing_is_read_and_not_trained(tmp_path, monkeypatch):
    # It is plain prompt tuning, and that is there.
    shop = shop_in(tmp_path, "--evals", "1")
    task = encoded(shop)
    [taught] = some_runs(shop, task, count=1)
    plain = dataclasses.replace(taught, name="prompt", teachers=())
    [trained] = train.train_prompts(shop, task, [plain], "prompts")
    student = dataclasses.replace(taught, teachers=tuple((p, 0.0) for p, _ in taught.teachers))
    monkeypatch.setattr(train, "gradients", None)  # no step is taken
    for form in FORMS:
        [read] = train.train_prompts(shop, task, [student], "students", form)
        assert same(read.best, trained.best) and read.folder == trained.folder
        assert read.score == trained.score and read.right is None


def test_dropout_is_the_students_and_not_the_teachers(tmp_path, monkeypatch):
    shop = shop_in(tmp_path, "--dropout", "0.5", "--steps", "1", "--evals", "1")
    task = encoded(shop)
    seen, who = {name: set() for name in ("asked", "student", "teacher", "evaluation")}, ["asked"]
    whole_encode, whole_teach, whole = shop.t5.encode, distill.Teachers.teach, train.gradients

    def encode(embedded, mask):
        seen[who[0]].add(shop.t5.dropout)
        return whole_encode(embedded, mask)

    def teach(self, *batch):
        who[0] = "teacher"
        answer = whole_teach(self, *batch)
        who[0] = "evaluation"  # what comes after the one step
        return answer

    def gradients(*args):
        who[0] = "student"  # what came before was `listen`
        return whole(*args)

    monkeypatch.setattr(shop.t5, "encode", encode)
    monkeypatch.setattr(distill.Teachers, "teach", teach)
    monkeypatch.setattr(train, "gradients", gradients)
    train.train_prompts(shop, task, some_runs(shop, task, count=1), "pass")
    assert seen == {"asked": {0.0}, "student": {0.5}, "teacher": {0.0}, "evaluation": {0.0}}


# ----------------------------------------------------------------- several sources


def sources_of(shop):
    return {name: train.fresh_prompt(shop, encoded(shop, name), 0)
            for name in ("toy-nli", "toy-sst2")}


def test_pot_early_starts_from_the_average_of_the_sources(tmp_path, monkeypatch):
    shop = shop_in(tmp_path, "--metric", "on", "--kd", "states")
    task, asked, whole = encoded(shop), {}, train.train_prompts
    sources = sources_of(shop)
    sims = {source[0, 0].item(): sim for source, sim in zip(sources.values(), (0.6, 0.2))}
    for name in transferability.MEASURES:
        monkeypatch.setitem(transferability.MEASURES, name,
                            lambda source, *_: sims[source[0, 0].item()])
    monkeypatch.setattr(train, "train_prompts", lambda shop, task, runs, title, form: asked.update(
        {run.name: run for run in runs}) or whole(shop, task, runs, title, form))
    found, _ = train.transfer(shop, task, sources, ["fusion"], [0])
    best = {name: results[0].best for name, results in found.items()}
    nli, sst2 = sources.values()
    torch.testing.assert_close(asked["pot_early"].start, 0.75 * nli + 0.25 * sst2)
    # Early: one teacher, as near as its parts are: 0.75 * 0.6 + 0.25 * 0.2 = 0.5; late: both
    [(teacher, weight)] = asked["panda_early_states"].teachers
    assert same(teacher, best["pot_early"]) and weight == pytest.approx(10 * 0.5)
    (first, a), (second, b) = asked["panda_late_states"].teachers
    assert same(first, best["pot toy-nli"]) and same(second, best["pot toy-sst2"])
    assert (a, b) == pytest.approx((7.5, 2.5))


def test_if_no_source_is_alike_fusion_is_plain_prompt_tuning(tmp_path, monkeypatch):
    shop, passes = shop_in(tmp_path), []
    task, whole = encoded(shop), train.train
    monkeypatch.setattr(transferability, "all_measures", lambda *_: {"panda": -0.3})
    monkeypatch.setattr(train, "train", lambda shop, work: passes.append(
        {run.name for run in work.runs}) or whole(shop, work))
    found, _ = train.transfer(shop, task, sources_of(shop), ["fusion"], [0, 1])
    assert passes == [{"prompt", "pot toy-nli", "pot toy-sst2"}]  # all else is there
    for name in ("pot_early", "panda_early", "panda_late", "panda_early_states",
                 "panda_late_states"):
        for result, plain in zip(found[name], found["prompt"]):
            assert same(result.best, plain.best) and result.folder == plain.folder


def test_fusion_from_the_command_line_to_its_files(tmp_path, capsys):
    train.main([*FAST, "--seeds", "2", "--out", str(tmp_path), "--source", "toy-nli,toy-sst2",
                "--target", "toy-cb", "--approach", "pot,fusion", "--metric", "none"])
    fused = {f"panda_{when}{kind}" for when in ("early", "late") for kind in ("", "_states")}
    found = json.loads((tmp_path / "toy-cb" / "results.json").read_text())
    assert {name for name in found["scores"] if " " not in name} == {"prompt", "pot_early", *fused}
    for name in fused:
        for seed in found["teaching"][name]:
            assert 0 <= seed["right"] <= 100 and [term[0] for term in seed["terms"]] == [1, 2, 4]
            assert all(-1.01 < term[3] < 1.01 for term in seed["terms"])
        vectors, made_by = prompt.load(tmp_path / "toy-cb" / "prompts" / f"{name}-1")
        assert vectors.shape == (3, D) and made_by["seed"] == 1
        # By any measure both sources count as much: halves of one, of the form's size
        size = 10.0 if name.endswith("states") else 1.0
        weights = [weight for _, weight in made_by["decided_by"]["teachers"]]
        assert weights == ([size] if "early" in name else [size / 2] * 2)
    report = (tmp_path / "toy-cb" / "report.md").read_text()
    assert all(report.count(f"\n| {name} | – |") == 2 for name in fused)  # and in the second table
    page = (tmp_path / "grid.md").read_text()  # of two pairs
    assert "| pot from | to toy-cb |" in page
    assert f"written to {tmp_path / 'grid.md'}" in capsys.readouterr().out
