"""The loss of PANDA: cross-entropy, distillation, its weight, and the teachers' memory.

    python -m pytest tests/test_distill.py

Oracle: distributions over two words, worked out by hand; for the memory, the T5 asked again.
"""

import doctest
import math
import types

import pytest
import torch

import distill
import model
import prompt

LN4 = math.log(4)  # logits (ln 4, 0) are the distribution (0.8, 0.2)


def kl(student, teacher, temperature=1.0):
    """Of a single token."""
    return distill.kl(*(torch.tensor([[z]]) for z in (student, teacher)), temperature).item()


def teach(logits, weight, rows=None):
    rows = torch.arange(len(logits)) if rows is None else torch.tensor(rows)
    return distill.Teaching(rows, logits, torch.full((len(rows),), float(weight)))


# --------------------------------------------------------------------- distillation


def test_kl_of_two_small_distributions():
    # Teacher (0.8, 0.2), student (0.5, 0.5):
    # 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5) = 0.8 * 0.4700 + 0.2 * -0.9163 = 0.1927
    assert kl([0.0, 0.0], [LN4, 0.0]) == pytest.approx(0.19274, abs=1e-5)
    # The other way round: 0.5 ln(0.5 / 0.8) + 0.5 ln(0.5 / 0.2) = 0.2231. The order matters.
    assert kl([LN4, 0.0], [0.0, 0.0]) == pytest.approx(0.22314, abs=1e-5)
    assert kl([LN4, 0.0], [LN4, 0.0]) == pytest.approx(0, abs=1e-7)


def test_temperature_flattens_both_and_its_square_restores_the_size():
    # At temperature 2 the logits (ln 4, 0) are (ln 2, 0), so (2/3, 1/3).
    # KL((2/3, 1/3) || (1/2, 1/2)) = 2/3 ln(4/3) + 1/3 ln(2/3) = 0.0566, times 2^2 = 0.2265
    by_hand = 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    assert kl([0.0, 0.0], [LN4, 0.0], temperature=2.0) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.2265, abs=1e-4)


@pytest.mark.parametrize("similarity, expected", [(-0.2, 0.0), (0.0, 0.0), (0.5, 1.0), (1.0, 2.0),
                                                  (1.0000001, 2.0)])
def test_weight_of_a_teacher(similarity, expected):
    assert distill.weight(similarity, strength=2.0) == expected


# ------------------------------------------------------------------------- the loss


def test_the_step_in_the_docstring():
    # A student of two rows with a target token each; V = 3, but word 0 is padding, and out of it.
    student = torch.tensor([[[-1e9, 0.0, 0.0]], [[-1e9, 0.0, 0.0]]])
    teacher = torch.tensor([[[-1e9, LN4, 0.0]], [[-1e9, 0.0, 0.0]]])
    for label in (1, 2):
        targets, share = torch.tensor([[label], [label]]), torch.tensor([1 / 2, 1 / 2])
        terms = distill.loss(student, targets, share, teach(teacher, 0.5))
        # CE: ln 2 for each row, and so their mean. KD: (0.1927 + 0) / 2. L: 0.6931 + 0.5 * 0.0964
        assert terms.ce.tolist() == pytest.approx([0.3466, 0.3466], abs=1e-4)
        assert terms.kd.tolist() == pytest.approx([0.0964, 0.0], abs=1e-4)
        found = [term.sum().item() for term in (terms.ce, terms.kd, terms.total)]
        assert found == pytest.approx([0.6931, 0.0964, 0.7413], abs=1e-4)
    for number in ("0.6931", "0.0964", "0.7413"):
        assert number in distill.__doc__


def random_batch():
    """(logits of the student (4, 3, 5), of the teacher, targets): nine target tokens."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 5, generator=generator)
    return student, teacher, torch.tensor([[2, 3, 1], [1, 0, 0], [4, 3, 1], [3, 1, 0]])


def test_padding_does_not_count():
    student, teacher, targets = random_batch()
    share = torch.full((4,), 1 / 9)
    terms = distill.loss(student, targets, share, teach(teacher, 0.5))
    # the nine valid tokens alone
    valid = targets != 0
    log_p = student.log_softmax(-1)
    ce = -log_p.gather(-1, targets[..., None])[..., 0][valid].sum() / 9
    kd = distill.kl(student, teacher, 1.0)[valid].sum() / 9
    assert terms.ce.sum().item() == pytest.approx(ce.item())
    assert terms.kd.sum().item() == pytest.approx(kd.item())
    assert terms.total.sum().item() == pytest.approx((ce + 0.5 * kd).item())
    teacher[1, 2], student[1, 1] = 1e4, -1e4  # anything at all may stand at the padding
    again = distill.loss(student, targets, share, teach(teacher, 0.5))
    assert again.total.tolist() == pytest.approx(terms.total.tolist())


def test_a_batch_in_parts_adds_up_to_the_whole():
    student, teacher, targets = random_batch()
    share = torch.full((4,), 1 / 9)
    whole = distill.loss(student, targets, share, teach(teacher, 0.5), temperature=2.0)
    parts = [distill.loss(student[p], targets[p], share[p], teach(teacher[p], 0.5), temperature=2.0)
             for p in (slice(0, 1), slice(1, 4))]
    for term in ("ce", "kd", "total"):
        assert torch.cat([getattr(part, term) for part in parts]).tolist() == pytest.approx(
            getattr(whole, term).tolist())


def test_rows_without_a_teacher_have_only_their_labels():
    student, teacher, targets = random_batch()
    share = torch.tensor([1 / 4, 1 / 3, 1 / 5, 1 / 6])  # of four prompts
    plain = distill.loss(student, targets, share)
    assert plain.kd.tolist() == [0] * 4 and plain.total.tolist() == plain.ce.tolist()
    # Rows 3 and 1 have one, in this order, of weights 0.5 and 2.
    teaching = distill.Teaching(torch.tensor([3, 1]), teacher[[3, 1]], torch.tensor([0.5, 2.0]))
    terms = distill.loss(student, targets, share, teaching)
    assert terms.ce.tolist() == plain.ce.tolist()
    assert terms.kd[[0, 2]].tolist() == [0, 0] and (terms.kd[[1, 3]] > 0).all()
    by_hand = distill.kl(student, teacher, 1.0)
    assert terms.kd[1].item() == pytest.approx(by_hand[1, 0].item() / 3)
    assert terms.kd[3].item() == pytest.approx(by_hand[3, :2].sum().item() / 6)
    assert (terms.total - terms.ce).tolist() == pytest.approx(
        [0, 2 * terms.kd[1].item(), 0, 0.5 * terms.kd[3].item()], abs=1e-6)


def test_only_the_student_gets_a_gradient():
    # d KL / d z_student = softmax(student) - softmax(teacher); of CE, softmax(student) - label.
    student, teacher, _ = random_batch()
    student, teacher = (z[:1, :1].clone().requires_grad_(True) for z in (student, teacher))
    targets, share = torch.tensor([[3]]), torch.ones(1)
    terms = distill.loss(student, targets, share, teach(teacher.detach(), 0.5))
    terms.total.sum().backward()
    p, q = student.detach().softmax(-1), teacher.detach().softmax(-1)
    label = torch.nn.functional.one_hot(targets, 5)
    torch.testing.assert_close(student.grad, (p - label) + 0.5 * (p - q))
    assert teacher.grad is None
    assert not terms.ce.requires_grad and not terms.kd.requires_grad  # for the report only


def test_another_form_is_one_entry(monkeypatch):
    monkeypatch.setitem(distill.FORMS, "gap", lambda student, teacher, t:
                        t * (student - teacher).abs().sum(-1))
    student, teacher = torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[[0.0, 1.0, 4.5]]])
    terms = distill.loss(student, torch.tensor([[2]]), torch.ones(1), teach(teacher, 3.0), "gap",
                         temperature=2.0)
    assert terms.kd.item() == 5 and (terms.total - terms.ce).item() == pytest.approx(15)
    with pytest.raises(KeyError, match="squares"):
        distill.loss(student, torch.tensor([[2]]), torch.ones(1), teach(teacher, 3.0), "squares")


def test_a_teacher_of_another_vocabulary_is_refused():
    student, teacher, targets = random_batch()
    with pytest.raises(ValueError, match=r"student's logits are \(4, 3, 5\), .* \(4, 3, 4\)"):
        distill.loss(student, targets, torch.ones(4), teach(teacher[..., :4], 1.0))


# ---------------------------------------------------------------------- the teachers


@pytest.fixture(scope="module")
def t5():
    return model.initialise(model.Config(40, 8, 4, 16, 2, 2, 2), seed=1).requires_grad_(False)


def runs(*weights):
    """Students, each with a teacher of three vectors, but those of weight None."""
    generator = torch.Generator().manual_seed(0)
    return [types.SimpleNamespace(
        start=torch.randn(3, 8, generator=generator), weight=weight or 0.0,
        teacher=None if weight is None else torch.randn(3, 8, generator=generator))
        for weight in weights]


IDS = torch.tensor([[5, 6, 1], [7, 1, 0], [5, 6, 1]])
TARGETS = torch.tensor([[9, 4, 1], [8, 1, 0], [9, 4, 1]])
INDEX, KEYS = torch.tensor([0, 1, 1]), [(0, 10), (1, 11), (1, 10)]


def ask(teachers, rows=(0, 1, 2)):
    rows = list(rows)
    return teachers.teach([KEYS[r] for r in rows], IDS[rows], IDS[rows] != 0, INDEX[rows],
                          model.shift_right(TARGETS)[rows])


def plainly(t5, students):
    """What these teachers say, without any memory."""
    bank = prompt.PromptBank([run.teacher for run in students])
    embedded, seen = bank.prepend(t5.embed(IDS), IDS != 0, INDEX)
    return t5.decode(model.shift_right(TARGETS), t5.encode(embedded, seen), seen).detach()


def test_teachers_answer_once_and_alike(t5, monkeypatch):
    students = runs(0.5, 2.0)
    teachers, plain, valid = distill.Teachers(t5, students), plainly(t5, students), TARGETS != 0
    first = ask(teachers)
    assert first.rows.tolist() == [0, 1, 2] and first.weight.tolist() == [0.5, 2.0, 2.0]
    torch.testing.assert_close(first.logits[valid], plain[valid])
    assert not first.logits.requires_grad
    # Students who read the same example have teachers of their own.
    assert not torch.allclose(first.logits[0], first.logits[2])
    # Asked again, in another batch, only the T5's last product is needed: the rest could be gone.
    teachers.t5 = types.SimpleNamespace(output=t5.output)
    again = ask(teachers, [2, 1])
    torch.testing.assert_close(again.logits[valid[[2, 1]]], plain[[2, 1]][valid[[2, 1]]])


def test_states_are_kept_and_not_logits(t5):
    teachers = distill.Teachers(t5, runs(0.5, 2.0))
    ask(teachers)
    # (T, D) of each row's own target, eos counted; D = 8, where the vocabulary is 40
    assert {key: tuple(kept.shape) for key, kept in teachers.kept.items()} == {
        (0, 10): (3, 8), (1, 11): (2, 8), (1, 10): (3, 8)}
    assert teachers.bytes == 4 * 8 * (3 + 2 + 3)
    # None of them holds on to the memory of its batch.
    assert all(kept.untyped_storage().nbytes() == 4 * kept.numel()
               for kept in teachers.kept.values())


def test_a_kept_answer_serves_in_a_narrower_and_a_wider_batch(t5):
    students = runs(0.5, 2.0)
    teachers, plain = distill.Teachers(t5, students), plainly(t5, students)
    for width in (3, 2, 3):  # row 1 alone needs two columns
        found = teachers.teach([KEYS[1]], IDS[1:2], IDS[1:2] != 0, INDEX[1:2],
                               model.shift_right(TARGETS)[1:2, :width]).logits
        assert found.shape == (1, width, 40)
        torch.testing.assert_close(found[0, :2], plain[1, :2])


def test_old_and_new_rows_in_one_batch(t5):
    students = runs(0.5, 2.0)
    teachers, plain, valid = distill.Teachers(t5, students), plainly(t5, students), TARGETS != 0
    ask(teachers, [1])
    mixed = ask(teachers)
    torch.testing.assert_close(mixed.logits[valid], plain[valid])


def test_teachers_beyond_their_limit_are_computed_again(t5, monkeypatch):
    calls, encode = [], t5.encode
    monkeypatch.setattr(t5, "encode", lambda *args: calls.append(len(args[0])) or encode(*args))
    for limit, expected in ((0, [3, 3]), (1, [3, 2]), (2 << 30, [3])):
        teachers = distill.Teachers(t5, runs(0.5, 2.0), limit=limit)
        calls.clear()
        first, again = ask(teachers), ask(teachers)
        assert calls == expected
        torch.testing.assert_close(first.logits[TARGETS != 0], again.logits[TARGETS != 0])
        assert len(teachers.kept) == {0: 0, 1: 1}.get(limit, 3)


def test_who_has_no_teacher_or_one_of_weight_0_is_not_taught(t5, monkeypatch):
    assert ask(distill.Teachers(t5, runs(None, 0.0))) is None
    teaching = ask(distill.Teachers(t5, runs(None, 2.0)))
    assert teaching.rows.tolist() == [1, 2] and teaching.weight.tolist() == [2.0, 2.0]
    assert teaching.logits.shape == (2, 3, 40)


def test_a_teacher_runs_without_the_students_dropout(t5):
    students = runs(0.5, 2.0)
    t5.dropout = 0.5
    try:
        found = ask(distill.Teachers(t5, students)).logits
        assert t5.dropout == 0.5  # the student's, afterwards
    finally:
        t5.dropout = 0.0
    valid = TARGETS != 0
    torch.testing.assert_close(found[valid], plainly(t5, students)[valid])


def test_examples_in_the_docstrings():
    result = doctest.testmod(distill)
    assert result.attempted > 0 and result.failed == 0
