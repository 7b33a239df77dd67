"""The loss of PANDA: distillation, its weight, and the teachers' memory.

    python -m pytest tests/test_distill.py

Oracle: distributions over two words, worked out by hand.
"""

import doctest
import math

import pytest
import torch

import distill
import model
import prompt


def test_kl_of_two_small_distributions():
    # Teacher (0.8, 0.2), student (0.5, 0.5):
    # 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5) = 0.8 * 0.4700 + 0.2 * -0.9163 = 0.1927
    teacher, student = torch.tensor([[[0.8, 0.2]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()
    valid = torch.tensor([[True]])
    assert distill.kd_loss(student, teacher, valid).item() == pytest.approx(0.19274, abs=1e-5)
    # The other way round: 0.5 ln(0.5 / 0.8) + 0.5 ln(0.5 / 0.2) = 0.2231. The order matters.
    assert distill.kd_loss(teacher, student, valid).item() == pytest.approx(0.22314, abs=1e-5)
    assert distill.kd_loss(teacher, teacher, valid).item() == pytest.approx(0, abs=1e-7)


def test_temperature_flattens_both_and_its_square_restores_the_size():
    # Logits (ln 4, 0) are (0.8, 0.2); at temperature 2 they are (ln 2, 0), so (2/3, 1/3).
    # KL((2/3, 1/3) || (1/2, 1/2)) = 2/3 ln(4/3) + 1/3 ln(2/3) = 0.0566, times 2^2 = 0.2265
    teacher, student = torch.tensor([[[math.log(4), 0.0]]]), torch.tensor([[[0.0, 0.0]]])
    loss = distill.kd_loss(student, teacher, torch.tensor([[True]]), temperature=2.0)
    assert loss.item() == pytest.approx(4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)))


def test_padding_does_not_count():
    teacher, student = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    valid = torch.tensor([[True, True, False], [True, False, False]])
    loss = distill.kd_loss(student, teacher, valid)
    # the three valid tokens alone
    tokens = distill.kd_tokens(student, teacher)
    assert loss.item() == pytest.approx((tokens[0, 0] + tokens[0, 1] + tokens[1, 0]).item() / 3)
    teacher[0, 2] = 1e4  # anything at all may stand at the padding
    assert distill.kd_loss(student, teacher, valid).item() == pytest.approx(loss.item())
    with pytest.raises(ValueError, match="no valid target token"):
        distill.kd_loss(student, teacher, torch.zeros(2, 3))


def test_a_batch_in_parts_adds_up_to_the_whole():
    teacher, student = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    valid = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 0]]).bool()
    parts = [distill.kd_loss(student[p], teacher[p], valid[p]) * valid[p].sum() / valid.sum()
             for p in (slice(0, 1), slice(1, 4))]
    assert sum(parts).item() == pytest.approx(distill.kd_loss(student, teacher, valid).item())


def test_only_the_student_gets_a_gradient():
    teacher, student = torch.randn(1, 1, 3), torch.randn(1, 1, 3, requires_grad=True)
    distill.kd_loss(student, teacher, torch.tensor([[True]])).backward()
    # d KL / d z_student = softmax(student) - softmax(teacher)
    torch.testing.assert_close(student.grad, student.detach().softmax(-1) - teacher.softmax(-1))


@pytest.mark.parametrize("similarity, expected", [(-0.2, 0.0), (0.0, 0.0), (0.5, 1.0), (1.0, 2.0)])
def test_weight_of_a_teacher(similarity, expected):
    assert distill.weight(similarity, strength=2.0) == expected


def test_teachers_answer_once_and_alike():
    t5 = model.initialise(model.Config(40, 8, 4, 16, 2, 2, 2), seed=1).requires_grad_(False)
    bank = prompt.PromptBank(torch.randn(2, 3, 8))
    teachers = distill.Teachers(t5, bank)
    ids = torch.tensor([[5, 6, 1], [7, 1, 0], [5, 6, 1]])
    targets = torch.tensor([[9, 4, 1], [8, 1, 0], [9, 4, 1]])
    index, keys = torch.tensor([0, 1, 1]), [(0, 10), (1, 11), (1, 10)]
    decoder_ids = model.shift_right(targets)
    first = teachers.logits(keys, ids, ids != 0, index, decoder_ids)
    embedded, seen = bank.prepend(t5.embed(ids), ids != 0, index)
    plain = t5.decode(decoder_ids, t5.encode(embedded, seen), seen)
    valid = targets != 0
    torch.testing.assert_close(first[valid], plain[valid])
    # Asked again, in another batch, the T5 is not used at all: it could be gone.
    teachers.t5 = None
    again = teachers.logits(keys[1:], ids[1:], ids[1:] != 0, index[1:], decoder_ids[1:])
    torch.testing.assert_close(again[valid[1:]], plain[1:][valid[1:]])


def test_teachers_beyond_their_limit_are_computed_again():
    t5 = model.initialise(model.Config(40, 8, 4, 16, 2, 2, 2), seed=1).requires_grad_(False)
    teachers = distill.Teachers(t5, prompt.PromptBank(torch.randn(1, 3, 8)), limit=0)
    ids, targets = torch.tensor([[5, 1]]), torch.tensor([[9, 1]])
    for _ in range(2):
        teachers.logits([(0, 0)], ids, ids != 0, torch.tensor([0]), model.shift_right(targets))
        assert not teachers.kept


def test_examples_in_the_docstrings():
    assert doctest.testmod(distill).failed == 0
