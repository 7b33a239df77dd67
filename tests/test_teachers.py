"""The frozen teachers: what they make of a student's rows, what they remember, what they are asked.

    python -m pytest tests/test_teachers.py

Oracle: the T5 asked again, without any memory; answers and labels counted by hand. The model is
drawn at random and tiny: D = 8, V = 40, prompts of three vectors.
"""

import types

import pytest
import torch

import distill
import model
import prompt
from distill import FORMS, Run

ROWS = [((0, 10), [5, 6, 1], [9, 4, 1], True), ((1, 11), [7, 1], [8, 1], True),
        ((1, 10), [5, 6, 1], [9, 4, 1], True)]  # two students, of whom both read example 10
P, D = 3, 8


class Guarded(dict):
    """What teachers keep: to be written to by one thread at a time."""

    def __setitem__(self, key, states):
        assert self.teachers.lock.locked()
        super().__setitem__(key, states)


@pytest.fixture(scope="module")
def t5():
    return model.initialise(model.Config(40, D, 4, 16, 2, 2, 2), seed=1).requires_grad_(False)


def runs(*weights):
    """Students, each with teachers of such weights: a number, several, or none."""
    generator = torch.Generator().manual_seed(0)
    return [Run("p", n, 4, torch.zeros(P, D), tuple(
        (torch.randn(P, D, generator=generator), weight)
        for weight in (each if isinstance(each, tuple) else (each,))))
        for n, each in enumerate(weights)]


def teach(teachers, places=(0, 1, 2), form="kl"):
    rows = [ROWS[r] for r in places]
    return teachers.teach(distill.Rows.of(rows, *distill.shares(rows, 2, FORMS[form], P)))


def plainly(t5, prompt_, row, form):
    """What this prompt makes of one row alone, without any memory: (U, V) or (U, D)."""
    _, ids, target, _ = row
    ids, target = torch.tensor([ids]), torch.tensor([target])
    embedded, seen = prompt.PromptBank([prompt_]).prepend(
        t5.embed(ids), ids != 0, torch.tensor([0]))
    memory = t5.encode(embedded, seen)
    logits = t5.decode(model.shift_right(target), memory, seen)
    return {"kl": logits, "mse": logits, "states": memory, "text": memory[:, P:]}[form][0].detach()


def agrees(t5, teaching, prompts, places, form):
    """Whether a Teaching is what these prompts make of these rows: where it is valid."""
    assert len(teaching.made) == len(prompts)
    for made, valid, vectors, r in zip(teaching.made, teaching.valid, prompts, places):
        plain = plainly(t5, vectors, ROWS[r], form)
        assert valid.tolist() == [u < len(plain) for u in range(len(valid))]
        torch.testing.assert_close(made[valid], plain)


# --------------------------------------------------------------------------- teaching


@pytest.mark.parametrize("form", FORMS)
def test_teachers_answer_once_and_alike(t5, form, monkeypatch):
    students = runs(0.5, 2.0)
    [(a, _)], [(b, _)] = (run.teachers for run in students)
    teachers = distill.Teachers(t5, students, form)
    first = teach(teachers, form=form)
    assert first.rows.tolist() == [0, 1, 2] and first.weight.tolist() == [0.5, 2.0, 2.0]
    assert not first.made.requires_grad
    agrees(t5, first, [a, b, b], [0, 1, 2], form)
    # Students who read the same example have teachers of their own.
    assert not torch.allclose(first.made[0], first.made[2])
    # Asked again, in another batch, only the T5's last product is needed: the rest could be gone.
    teachers.t5 = types.SimpleNamespace(output=t5.output)
    agrees(t5, teach(teachers, [2, 1], form), [b, b], [2, 1], form)


@pytest.mark.parametrize("form, sizes", [
    # units of the rows (0, 10), (1, 11) and (1, 10), eos counted: target tokens; positions of the
    # prompt and the text; of the text. The vocabulary's 40 logits are not kept.
    ("kl", (3, 2, 3)), ("mse", (3, 2, 3)), ("states", (6, 5, 6)), ("text", (3, 2, 3))])
def test_what_is_kept_is_states_without_their_padding(t5, form, sizes):
    teachers = distill.Teachers(t5, runs(0.5, 2.0), form)
    teach(teachers, form=form)
    # Under (teacher, example); here the teachers' numbers are their students'.
    assert {key: tuple(kept.shape) for key, kept in teachers.kept.items()} == {
        (0, 10): (sizes[0], D), (1, 11): (sizes[1], D), (1, 10): (sizes[2], D)}
    assert teachers.bytes == 4 * D * sum(sizes)
    # None of them holds on to the memory of its batch.
    assert all(kept.untyped_storage().nbytes() == 4 * kept.numel()
               for kept in teachers.kept.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_kept_answer_serves_in_a_narrower_and_a_wider_batch(t5, form):
    students = runs(0.5, 2.0)
    [(a, _)], [(b, _)] = (run.teachers for run in students)
    teachers = distill.Teachers(t5, students, form)
    for places, prompts in (([1], [b]), ([0, 1], [a, b]), ([1], [b]), ([1, 2], [b, b])):
        agrees(t5, teach(teachers, places, form), prompts, places, form)  # old and new in one batch


@pytest.mark.parametrize("form", FORMS)
def test_two_teachers_of_one_student(t5, form):
    [student] = runs((0.75, 0.25))
    (a, _), (b, _) = student.teachers
    teachers, other = distill.Teachers(t5, [student], form), ((0, 12), *ROWS[1][1:])
    rows = [ROWS[0], other]
    for _ in range(2):  # computed, and remembered: the same example, two answers
        teaching = teachers.teach(distill.Rows.of(rows, *distill.shares(rows, 1, FORMS[form], P)))
        assert teaching.rows.tolist() == [0, 0, 1, 1]
        assert teaching.weight.tolist() == [0.75, 0.25, 0.75, 0.25]
        agrees(t5, teaching, [a, b, a, b], [0, 0, 1, 1], form)
    assert set(teachers.kept) == {(0, 10), (1, 10), (0, 12), (1, 12)}


@pytest.mark.parametrize("form", ["kl", "states"])
def test_beyond_the_limit_they_are_computed_again_which_is_said_once(t5, form, monkeypatch, capsys):
    calls, encode = [], t5.encode
    monkeypatch.setattr(t5, "encode", lambda *args: calls.append(len(args[0])) or encode(*args))
    # Rows computed in each of three passes; of a limit of one byte the first answer is over it.
    for limit, expected, kept in ((2 << 30, [3], 3), (1, [3, 2, 2], 1), (0, [3, 3, 3], 0)):
        teachers = distill.Teachers(t5, runs(0.5, 2.0), form, limit)
        teachers.kept = Guarded()
        teachers.kept.teachers = teachers
        calls.clear()
        first, *later = (teach(teachers, form=form) for _ in range(3))
        assert calls == expected and len(teachers.kept) == kept
        for again in later:
            torch.testing.assert_close(first.made[first.valid], again.made[again.valid])
        said = "the teachers' memory is full (0.0 GiB, 1 answers); the rest is computed again\n"
        assert capsys.readouterr().out == (said if limit == 1 else "")


def test_who_has_no_teacher_or_one_of_weight_0_is_not_taught(t5):
    assert teach(distill.Teachers(t5, runs((), 0.0))) is None
    assert teach(distill.Teachers(t5, runs((), 2.0)), [0]) is None  # no row of the second one's
    students = runs((), (0.0, 2.0))
    teaching = teach(distill.Teachers(t5, students))
    assert teaching.rows.tolist() == [1, 2] and teaching.weight.tolist() == [2.0, 2.0]
    [(only, _)] = students[1].teachers  # that of weight 0 is none
    agrees(t5, teaching, [only] * 2, [1, 2], "kl")


@pytest.mark.parametrize("form", FORMS)
def test_a_teacher_runs_without_the_students_dropout(t5, form):
    students = runs(0.5, 2.0)
    [(a, _)], [(b, _)] = (run.teachers for run in students)
    t5.dropout = 0.5
    try:
        found = teach(distill.Teachers(t5, students, form), form=form)
        assert t5.dropout == 0.5  # the student's, afterwards
    finally:
        t5.dropout = 0.0
    agrees(t5, found, [a, b, b], [0, 1, 2], form)


# --------------------------------------------------------------- asked before a pass


class Answers:
    """A task of labels 20, 21 and 22. Examples 0 to 3 have 20, 21, 20 and 22; 4 to 6 none."""

    inputs = [[30 + i, 1] for i in range(7)]
    train = list(zip(inputs, ([20, 1], [21, 1], [20, 1], [22, 1])))

    def mine(self, seed):
        return range(4) if seed == 0 else [3]

    def free(self, seed, step, batch):
        return [4 + (step + k) % 3 for k in range(batch)]

    def input(self, place):
        return self.inputs[place]

    def kind(self, device):
        return None, 2

    def told(self, answers):
        return answers


@pytest.fixture
def listened(t5, monkeypatch):
    """Teachers of such weights, and one free row a step, after they have been asked.

    Teacher 0 answers [20, 1] to everything, teacher 1 [21, 1], and so on.
    """
    def listen(weights, form="kl", steps=3):
        students = [Run("p", run.seed, steps, run.start, run.teachers) for run in runs(*weights)]
        teachers = distill.Teachers(t5, students, form)
        monkeypatch.setattr(distill, "ask", lambda t5, bank, rows, kinds, tokens: [
            [20 + k, 1] for k, _, _ in rows])
        teachers.listen(Answers(), students, 1, 8192, lambda do, each: asked.append([*each]) or [
            do(n) for n in asked[-1]])
        return teachers

    asked = listen.asked = []  # which students' teachers were handed out to the cores
    return listen


def test_each_students_teachers_can_be_asked_by_a_core_of_their_own(listened):
    listened([1.0, (), 0.5])
    assert listened.asked == [[0, 2]]  # the second has none


@pytest.mark.parametrize("form", FORMS)
def test_how_often_a_teacher_gives_the_label(listened, form):
    # Of run 0's labels 20, 21, 20, 22 teacher 0 has two, and teacher 1 one; run 1 has example 3's
    # alone, and none of its teacher 1; run 2 has no teacher.
    assert listened([1.0, 1.0, ()], form).right == [50.0, 0.0, None]
    # A mean by weight: (3 * 50 + 1 * 25) / 4
    assert listened([(3.0, 1.0)], form).right == [43.75]


@pytest.mark.parametrize("form", FORMS)
def test_the_heaviest_teachers_answer_is_the_target_of_an_input_without_a_label(listened, form):
    # Three steps read the inputs 4, 5 and 6. States have no need of a target.
    answers = {"kl": True, "mse": True, "states": False, "text": False}[form]
    assert listened([1.0], form).told == ({(0, i): [20, 1] for i in (4, 5, 6)} if answers else {})
    # Of weights 1 and 3 teacher 1 is the heaviest; run 1's teacher is number 2.
    told = listened([(1.0, 3.0), 0.5], form, steps=1).told
    assert told == ({(0, 4): [21, 1], (1, 4): [22, 1]} if answers else {})


def test_a_teachers_answer_is_its_own(t5):
    # Asked in earnest: the likeliest label of this very prompt, as the T5 ranks them.
    class Ranked(Answers):
        labels = torch.tensor([[20, 1], [21, 1], [22, 1]])

        def kind(self, device):
            return self.labels, None

        def told(self, answers):
            return [self.labels[answer.argmax()].tolist() for answer in answers]

    task, students = Ranked(), runs(1.0, 1.0)
    teachers = distill.Teachers(t5, students)
    teachers.listen(task, students, 1, 8192)
    for n, run in enumerate(students):
        best = {}
        for i in (*range(4), 4, 5, 6):
            scores = [torch.log_softmax(plainly(t5, run.teachers[0][0], (
                None, task.inputs[i], label, True), "kl"), -1)[[0, 1], label].sum().item()
                for label in task.labels.tolist()]
            best[i] = [20 + scores.index(max(scores)), 1]
        assert {i: teachers.told[n, i] for i in (4, 5, 6)} == {i: best[i] for i in (4, 5, 6)}
        mine = task.mine(n)
        right = 100 * sum(best[i] == task.train[i][1] for i in mine) / len(mine)
        assert teachers.right[n] == right
    assert not teachers.kept  # what is asked in every step is another question
