"""The loss of PANDA: what two prompts' answers or states differ by, its weight, and all of it.

    python -m pytest tests/test_distill.py

Oracle: two numbers at a time, worked out by hand. The teachers themselves, and what they remember,
are in tests/test_teachers.py.
"""

import doctest
import math
import types

import pytest
import torch

import distill
from distill import FORMS

LN4 = math.log(4)  # logits (ln 4, 0) are the distribution (0.8, 0.2)


def compared(form, student, teacher, temperature=1.0):
    """(value, gradient of the student's numbers) at a single token or position."""
    student, teacher = (torch.tensor([[z]], requires_grad=True) for z in (student, teacher))
    value = FORMS[form].distance(student, teacher.detach(), temperature)
    assert value.shape == (1, 1)
    value.sum().backward()
    return value.item(), student.grad.flatten().tolist()


# --------------------------------------------------------------------- the forms


def test_kl_of_two_small_distributions():
    # Teacher (0.8, 0.2), student (0.5, 0.5):
    # 0.8 ln(0.8 / 0.5) + 0.2 ln(0.2 / 0.5) = 0.8 * 0.4700 + 0.2 * -0.9163 = 0.1927
    assert compared("kl", [0.0, 0.0], [LN4, 0.0])[0] == pytest.approx(0.19274, abs=1e-5)
    # The other way round: 0.5 ln(0.5 / 0.8) + 0.5 ln(0.5 / 0.2) = 0.2231. The order matters.
    assert compared("kl", [LN4, 0.0], [0.0, 0.0])[0] == pytest.approx(0.22314, abs=1e-5)
    assert compared("kl", [LN4, 0.0], [LN4, 0.0])[0] == pytest.approx(0, abs=1e-7)


def test_the_gradient_of_kl_is_the_difference_of_the_two_distributions():
    # (0.5, 0.5) - (0.8, 0.2): the first logit is to rise, the second to fall.
    assert compared("kl", [0.0, 0.0], [LN4, 0.0])[1] == pytest.approx([-0.3, 0.3])
    # So once a student is as sure as its teacher, an answer teaches nothing any more.
    assert compared("kl", [20.0, 0.0], [25.0, 0.0])[1] == pytest.approx([0, 0], abs=1e-6)


def test_temperature_flattens_both_and_its_square_restores_the_size():
    # At temperature 2 the logits (ln 4, 0) are (ln 2, 0), so (2/3, 1/3).
    # KL((2/3, 1/3) || (1/2, 1/2)) = 2/3 ln(4/3) + 1/3 ln(2/3) = 0.0566, times 2^2 = 0.2265
    by_hand = 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    value, gradient = compared("kl", [0.0, 0.0], [LN4, 0.0], temperature=2.0)
    assert value == pytest.approx(by_hand) == pytest.approx(0.2265, abs=1e-4)
    # 2^2 / 2 * ((1/2, 1/2) - (2/3, 1/3)): of the size of that at temperature 1, which is 0.3
    assert gradient == pytest.approx([-1 / 3, 1 / 3])


def test_mse_of_two_logits():
    # Squares 1 and 9, their mean; 2 (student - teacher) / V with V = 2
    assert compared("mse", [1.0, 2.0], [0.0, 5.0]) == (5.0, [1.0, -3.0])
    assert compared("mse", [1.0, 2.0], [0.0, 5.0], temperature=7.0) == (5.0, [1.0, -3.0])
    # The same distribution, (e, 1) / (e + 1) twice, is not the same logits: it is shifted by 3.
    assert compared("mse", [1.0, 0.0], [4.0, 3.0])[0] == 9.0
    assert compared("kl", [1.0, 0.0], [4.0, 3.0])[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("form", ["states", "text"])
def test_states_of_two_numbers(form):
    # |student - teacher|^2 / |teacher|^2 = (4 + 0) / 16; 2 (student - teacher) / 16
    assert compared(form, [2.0, 4.0], [0.0, 4.0]) == (0.25, [0.25, 0.0])
    # A T5 whose states are ten times as large has the same loss, and a tenth of the gradient.
    assert compared(form, [20.0, 40.0], [0.0, 40.0]) == (0.25, pytest.approx([0.025, 0.0]))
    # At a right angle and as long: 2. A teacher of zeros: large, but a number.
    assert compared(form, [3.0, 0.0], [0.0, 3.0])[0] == 2.0
    assert math.isfinite(compared(form, [1.0, 0.0], [0.0, 0.0])[0])


@pytest.mark.parametrize("form", FORMS)
def test_who_is_as_the_teacher_has_nothing_to_learn(form):
    value, gradient = compared(form, [3.0, -1.0], [3.0, -1.0])
    assert value == pytest.approx(0, abs=1e-6) and gradient == pytest.approx([0, 0], abs=1e-6)


# ---------------------------------------------------------------------- the weight


@pytest.mark.parametrize("similarity, expected", [(-0.2, 0.0), (0.0, 0.0), (0.5, 1.0), (1.0, 2.0),
                                                  (1.0000001, 2.0)])
def test_weight_of_a_teacher(similarity, expected):
    # lambda = 2 times the similarity; a state counts ten times that
    assert distill.weight(similarity, strength=2.0) == expected
    for form in ("states", "text"):
        assert distill.weight(similarity, 2.0, form) == 10 * expected


def test_the_weight_of_mse_is_the_same_for_every_source():
    # The released code's 0.01 / batch, whatever the similarity
    for similarity in (-0.2, 0.0, 1.0):
        assert distill.weight(similarity, form="mse", batch=4) == 0.0025
    assert distill.weight(1.0, strength=3.0, form="mse", batch=1) == pytest.approx(0.03)
    assert distill.weight(1.0, strength=0.0, form="mse", batch=4) == 0


# ------------------------------------------------------------------ several sources


def test_weights_of_several_teachers_sum_to_one():
    assert distill.normalised({"a": 0.6, "b": 0.2}) == pytest.approx({"a": 0.75, "b": 0.25})
    # An opposite one is not subtracted, it is left out.
    assert distill.normalised({"a": 0.6, "b": -0.6}) == {"a": 1.0, "b": 0.0}
    # None above 0: nobody is heard.
    assert distill.normalised({"a": 0.0, "b": -0.6}) == {"a": 0.0, "b": 0.0}


def test_prompts_are_fused_by_their_similarities():
    prompts = {"a": torch.tensor([[4.0, 0.0]]), "b": torch.tensor([[0.0, 8.0]])}
    # 0.75 (4, 0) + 0.25 (0, 8)
    assert distill.fuse(prompts, {"a": 0.6, "b": 0.2}).tolist() == [pytest.approx([3.0, 2.0])]
    assert distill.fuse(prompts, {"a": -1.0, "b": 0.2}).tolist() == [[0.0, 8.0]]
    otherwise = torch.tensor([[1.0, 1.0]])
    assert distill.fuse(prompts, {"a": -1.0, "b": 0.0}, otherwise) is otherwise


# ------------------------------------------------------------------------- the runs


FRESH, A, B = (torch.full((1, 2), float(k)) for k in range(3))  # fresh start, sources a and b
BEST = {name: torch.full((1, 2), k) for name, k in (
    ("pot a", 11.0), ("pot b", 12.0), ("prompt_2x", 13.0), ("pot_early", 14.0))}


def students(*wanted, form="kl", sims=(0.6, 0.2), strength=1.0, **recipe):
    """name -> (first number of its start, [(that of a teacher, weight)])."""
    recipe = types.SimpleNamespace(**{"steps": 5, "batch": 4, "strength": strength,
                                      "student_init": "fresh"} | recipe)
    runs = distill.students(recipe, form, wanted, 7, FRESH, {"a": A, "b": B},
                            dict(zip("ab", sims)), BEST)
    assert all(run.seed == 7 and run.steps == 5 for run in runs)
    return {run.name: (run.start[0, 0].item(), [
        (prompt[0, 0].item(), pytest.approx(weight)) for prompt, weight in run.teachers])
        for run in runs}


def test_a_student_learns_from_its_sources_pot():
    assert students("panda") == {"panda a": (0, [(11, 0.6)]), "panda b": (0, [(12, 0.2)])}
    # lambda 2, in sizes of the form; an opposite source's pot, of weight 0, is no teacher.
    assert students("panda", form="states", sims=(0.6, -0.2), strength=2.0) == {
        "panda_states a": (0, [(11, 12.0)]), "panda_states b": (0, [])}
    assert students("panda", form="mse", sims=(0.6, -0.2)) == {
        "panda_mse a": (0, [(11, 0.0025)]), "panda_mse b": (0, [(12, 0.0025)])}


def test_a_student_may_start_from_its_source():
    assert students("panda", "controls", student_init="source") == {
        "panda a": (1, [(11, 0.6)]), "panda b": (2, [(12, 0.2)]), "panda_self": (0, [(13, 1.0)])}


def test_the_controls_teacher_saw_no_source():
    assert students("controls") == {"panda_self": (0, [(13, 1.0)])}
    assert students("controls", form="text") == {"panda_self_text": (0, [(13, 10.0)])}


def test_fusion_is_of_the_prompts_or_of_the_teachers():
    # Early: one teacher, as near as its parts are, 0.75 * 0.6 + 0.25 * 0.2 = 0.5. Late: both,
    # with weights that sum to one, or to the size of the form.
    assert students("fusion") == {"panda_early": (0, [(14, 0.5)]),
                                  "panda_late": (0, [(11, 0.75), (12, 0.25)])}
    assert students("fusion", form="states", sims=(0.6, -0.2)) == {
        "panda_early_states": (0, [(14, 6.0)]), "panda_late_states": (0, [(11, 10.0)])}
    assert students("fusion", form="mse")["panda_late_mse"] == (
        0, [(11, 0.75 * 0.0025), (12, 0.25 * 0.0025)])
    # No source is alike: no teacher, so plain prompt tuning
    assert students("fusion", sims=(-0.6, 0.0)) == {"panda_early": (0, []), "panda_late": (0, [])}


def test_only_what_is_wanted():
    assert students("prompt", "pot") == {}
    assert len(students("panda", "controls", "fusion")) == 2 + 1 + 2


# ------------------------------------------------------------------------- the loss


def made(logits=None, memory=None, length=1):
    """What the students make: logits (B, T, V), or states (B, P+S, D) behind P = 1 vector."""
    logits = torch.zeros(len(memory), 2, 5) if logits is None else logits
    memory = torch.zeros(len(logits), 3, 2) if memory is None else memory
    return distill.Made(memory, length, logits)


def rows_of(targets, keys=None, labelled=None, form="kl", inputs=None):
    """Rows of these targets with the shares of their students, of whom keys tell."""
    keys = keys or [(0, i) for i in range(len(targets))]
    labelled, inputs = labelled or [True] * len(keys), inputs or [[5, 1]] * len(keys)
    rows = list(zip(keys, inputs, targets, labelled))
    return distill.Rows.of(rows, *distill.shares(rows, 1 + max(n for n, _ in keys), FORMS[form], 1))


def teach(made, weight, rows=None, valid=None):
    """A Teaching of these rows, each at all its units unless valid says at which."""
    rows = torch.arange(len(made)) if rows is None else torch.tensor(rows)
    valid = torch.ones(made.shape[:2], dtype=torch.bool) if valid is None else valid
    weights = torch.as_tensor(weight).float().expand(len(rows))
    return distill.Teaching(rows, made, valid, weights)


def test_the_step_in_the_docstring():
    # A student of two rows with a target token each; V = 3, but word 0 is padding, and out of it.
    student = torch.tensor([[[-1e9, 0.0, 0.0]], [[-1e9, 0.0, 0.0]]])
    teacher = torch.tensor([[[-1e9, LN4, 0.0]], [[-1e9, 0.0, 0.0]]])
    for label in (1, 2):
        terms = distill.loss(made(student), rows_of([[label], [label]]), teach(teacher, 0.5))
        # CE: ln 2 for each row, and so their mean. KD: (0.1927 + 0) / 2. L: 0.6931 + 0.5 * 0.0964
        assert terms.ce.tolist() == pytest.approx([0.3466, 0.3466], abs=1e-4)
        assert terms.kd.tolist() == pytest.approx([0.0964, 0.0], abs=1e-4)
        found = [term.sum().item() for term in (terms.ce, terms.kd, terms.total)]
        assert found == pytest.approx([0.6931, 0.0964, 0.7413], abs=1e-4)
    for number in ("0.6931", "0.0964", "0.7413"):
        assert number in distill.__doc__


TARGETS = [[2, 3, 1], [1], [4, 3, 1], [3, 1]]  # nine target tokens


def random_batch():
    """Logits of the student (4, 3, 5), of the teacher, and where a target token is (4, 3)."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 5, generator=generator)
    return student, teacher, rows_of(TARGETS).targets != 0


def test_padding_does_not_count():
    student, teacher, valid = random_batch()
    rows = rows_of(TARGETS)
    terms = distill.loss(made(student), rows, teach(teacher, 0.5, valid=valid))
    # the nine valid tokens alone
    log_p = student.log_softmax(-1)
    ce = -log_p.gather(-1, rows.targets[..., None])[..., 0][valid].sum() / 9
    kd = distill.kl(student, teacher, 1.0)[valid].sum() / 9
    assert terms.ce.sum().item() == pytest.approx(ce.item())
    assert terms.kd.sum().item() == pytest.approx(kd.item())
    assert terms.total.sum().item() == pytest.approx((ce + 0.5 * kd).item())
    teacher[1, 2], student[1, 1] = 1e4, -1e4  # anything at all may stand at the padding
    again = distill.loss(made(student), rows, teach(teacher, 0.5, valid=valid))
    assert again.total.tolist() == pytest.approx(terms.total.tolist())


@pytest.mark.parametrize("form", FORMS)
def test_a_step_in_parts_adds_up_to_the_whole(form):
    # Inputs of 2, 4 and 3 tokens behind a prompt of one vector, targets of 3, 1 and 3.
    inputs, targets = [[5, 1], [5, 6, 7, 1], [8, 9, 1]], TARGETS[:3]
    keys = [(0, 10), (1, 10), (0, 11)]
    rows = list(zip(keys, inputs, targets, [True, True, False]))
    shares = distill.shares(rows, 2, FORMS[form], 1)
    generator = torch.Generator().manual_seed(0)
    wide = {"targets": (3, 5), "text": (4, 2), "all": (5, 2)}[FORMS[form].at]
    logits, memory = (torch.randn(3, *size, generator=generator) for size in ((3, 5), (5, 2)))
    teacher = torch.randn(3, *wide, generator=generator)
    units = torch.tensor([FORMS[form].units(ids, target, 1) for _, ids, target, _ in rows])
    valid = torch.arange(wide[0]) < units[:, None]

    def loss(part):
        mine = distill.Rows.of([rows[r] for r in part], *shares)
        T = mine.targets.shape[1]  # a part is as wide as its own rows
        return distill.loss(made(logits[part][:, :T], memory[part]), mine, teach(
            teacher[part][:, :T] if FORMS[form].at == "targets" else teacher[part], 0.5,
            valid=valid[part][:, :T] if FORMS[form].at == "targets" else valid[part]),
            FORMS[form], temperature=2.0)

    whole, parts = loss([0, 1, 2]), [loss([1]), loss([0, 2])]
    for term in ("ce", "kd", "total"):
        assert torch.cat([getattr(part, term) for part in parts])[[1, 0, 2]].tolist() == (
            pytest.approx(getattr(whole, term).tolist()))


def test_states_count_at_the_text_or_at_the_prompts_own_positions_too():
    # One vector and a text of two tokens: at each of the three positions the student is off by
    # 1, 2 and 3 in one of two numbers, where the teacher has (0, 1): squares 1, 4 and 9.
    teacher = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    memory = teacher + torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    for form, there, kd in (("states", teacher, (1 + 4 + 9) / 3),
                            ("text", teacher[:, 1:], (4 + 9) / 2)):
        rows = rows_of([[2, 1]], form=form)
        assert rows.unit.tolist() == [pytest.approx(1 / there.shape[1])]
        terms = distill.loss(made(memory=memory), rows, teach(there, 10.0), FORMS[form])
        assert terms.kd.item() == pytest.approx(kd)
        assert (terms.total - terms.ce).item() == pytest.approx(10 * kd, rel=1e-5)
    # The second token is padding: it has no part in the mean, 1 / 2 and 1 positions.
    for form, there, kd in (("states", teacher, (1 + 4) / 2), ("text", teacher[:, 1:], 4.0)):
        rows = rows_of([[2, 1]], form=form, inputs=[[1]])
        valid = torch.tensor([[True] * (there.shape[1] - 1) + [False]])
        terms = distill.loss(made(memory=memory), rows, teach(there, 10.0, valid=valid),
                             FORMS[form])
        assert terms.kd.item() == pytest.approx(kd)


def test_a_share_is_of_a_students_own_rows():
    # Student 0: targets of 3, 1 and 2 tokens, the last one without a label; student 1: of 4.
    # Inputs of 2, 5, 3 and 7 tokens, behind a prompt of 10 vectors.
    rows = [((0, 0), [5] * 2, [2, 3, 1], True), ((0, 1), [5] * 5, [1], True),
            ((0, 2), [5] * 3, [3, 1], False), ((1, 0), [5] * 7, [2, 3, 4, 1], True)]
    assert distill.shares(rows, 3, FORMS["kl"], 10) == [[1 / 4, 1 / 4, 0.0], [1 / 6, 1 / 4, 0.0]]
    assert distill.shares(rows, 2, FORMS["text"], 10)[1] == [1 / 10, 1 / 7]
    assert distill.shares(rows, 2, FORMS["states"], 10)[1] == [1 / 40, 1 / 17]
    part = distill.Rows.of(rows[2:], [1 / 4, 1 / 4], [1 / 6, 1 / 4])
    assert list(part.keys) == [(0, 2), (1, 0)] and part.index.tolist() == [0, 1]
    assert part.share.tolist() == [0, 1 / 4]  # no label, no part in CE
    assert part.unit.tolist() == pytest.approx([1 / 6, 1 / 4])
    assert part.targets.tolist() == [[3, 1, 0, 0], [2, 3, 4, 1]]


def test_rows_without_a_teacher_have_only_their_labels():
    student, teacher, valid = random_batch()
    rows = rows_of(TARGETS, keys=[(n, 0) for n in range(4)])  # of four prompts: 1/3, 1, 1/3, 1/2
    plain = distill.loss(made(student), rows)
    assert plain.kd.tolist() == [0] * 4 and plain.total.tolist() == plain.ce.tolist()
    # Rows 3 and 1 have one, in this order, of weights 0.5 and 2.
    some = [3, 1]
    terms = distill.loss(made(student), rows, teach(teacher[some], [0.5, 2.0], some, valid[some]))
    assert terms.ce.tolist() == plain.ce.tolist()
    assert terms.kd[[0, 2]].tolist() == [0, 0] and (terms.kd[[1, 3]] > 0).all()
    by_hand = distill.kl(student, teacher, 1.0)
    assert terms.kd[1].item() == pytest.approx(by_hand[1, 0].item())
    assert terms.kd[3].item() == pytest.approx(by_hand[3, :2].sum().item() / 2)
    assert (terms.total - terms.ce).tolist() == pytest.approx(
        [0, 2 * terms.kd[1].item(), 0, 0.5 * terms.kd[3].item()], abs=1e-6)


def test_a_row_without_a_label_has_only_its_teacher():
    student, teacher, valid = random_batch()
    rows = rows_of(TARGETS, labelled=[True, True, False, False])
    terms = distill.loss(made(student), rows, teach(teacher, 0.5, valid=valid))
    # CE: the four tokens of the first two rows, whatever stands in the others. KD: all nine
    assert terms.ce[2:].tolist() == [0, 0]
    log_p = student.log_softmax(-1)
    by_hand = -(log_p[0, 0, 2] + log_p[0, 1, 3] + log_p[0, 2, 1] + log_p[1, 0, 1]) / 4
    assert terms.ce.sum().item() == pytest.approx(by_hand.item())
    assert terms.kd.sum().item() == pytest.approx(
        distill.kl(student, teacher, 1.0)[valid].sum().item() / 9)


def test_a_row_of_two_teachers_is_there_twice():
    # KL to (0.8, 0.2) is 0.1927, to (0.5, 0.5) it is 0; lambda times their weights 0.75 and 0.25.
    student = torch.tensor([[[-1e9, 0.0, 0.0]]])
    both = torch.tensor([[[-1e9, LN4, 0.0]], [[-1e9, 0.0, 0.0]]])
    terms = distill.loss(made(student), rows_of([[1]]), teach(both, [0.75, 0.25], rows=[0, 0]))
    assert terms.kd.tolist() == pytest.approx([0.1927], abs=1e-4)  # their sum
    assert terms.total.item() == pytest.approx(0.6931 + 0.75 * 0.1927, abs=1e-4)
    # Two equal ones with weights that sum to one teach what one of weight 1 does.
    for teaching in (teach(both[:1].repeat(2, 1, 1), [0.75, 0.25], rows=[0, 0]),
                     teach(both[:1], 1.0)):
        terms = distill.loss(made(student), rows_of([[1]]), teaching)
        assert (terms.total - terms.ce).item() == pytest.approx(0.1927, abs=1e-4)


def test_the_gradient_of_the_loss_is_that_of_its_terms():
    # d KL / d z_student = softmax(student) - softmax(teacher); of CE, softmax(student) - label.
    student, teacher, _ = random_batch()
    student, teacher = (z[:1, :1].clone().requires_grad_(True) for z in (student, teacher))
    terms = distill.loss(made(student), rows_of([[3]]), teach(teacher.detach(), 0.5))
    terms.total.sum().backward(retain_graph=True)
    p, q = student.detach().softmax(-1), teacher.detach().softmax(-1)
    label = torch.nn.functional.one_hot(torch.tensor([[3]]), 5)
    torch.testing.assert_close(student.grad, (p - label) + 0.5 * (p - q))
    for term, by_hand in ((terms.ce, p - label), (terms.kd, p - q)):  # for their cosine
        torch.testing.assert_close(torch.autograd.grad(term.sum(), student, retain_graph=True)[0],
                                   by_hand)


def test_another_form_is_one_entry():
    gap = distill.Form(lambda student, teacher, t: t * (student - teacher).abs().sum(-1), "targets")
    student, teacher = torch.tensor([[[0.0, 1.0, 2.0]]]), torch.tensor([[[0.0, 1.0, 4.5]]])
    terms = distill.loss(made(student), rows_of([[2]]), teach(teacher, 3.0), gap, temperature=2.0)
    assert terms.kd.item() == 5 and (terms.total - terms.ce).item() == pytest.approx(15)


def test_examples_in_the_docstrings():
    result = doctest.testmod(distill)
    assert result.attempted > 0 and result.failed == 0
