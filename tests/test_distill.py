"""distill.py: one step worked out, then the distances, the weight, the loss, the teachers.

    python -m pytest tests/test_distill.py

Oracle: two numbers at a time, worked out by hand; and for what teachers cache, the T5 without a
cache.
"""

import dataclasses
import math

import pytest
import torch

import distill
import model
from distill import DISTANCES, Distance, TeacherTargets, Teachers
from prompt import PromptBank, Row, collate, count

LN4 = math.log(4)  # logits (ln 4, 0) are the distribution (0.8, 0.2)


def batch_of(targets, inputs=None, prompts=None):
    """A Batch with these targets."""
    inputs = inputs or [[5, 1]] * len(targets)
    prompts = prompts or [0] * len(targets)
    return collate([Row(n, b, inputs[b], targets[b]) for b, n in enumerate(prompts)])


def teacher_of(outputs, weight, rows=None, valid=None):
    """TeacherTargets of weight lambda * sim; by default one for each row, valid everywhere."""
    if rows is None:
        rows = range(len(outputs))
    if valid is None:
        valid = torch.ones(outputs.shape[:2], dtype=torch.bool)
    weights = torch.as_tensor(weight, dtype=torch.float).expand(len(rows))
    return TeacherTargets(torch.tensor(list(rows)), outputs, valid, weights)


def counts_of(batch):
    """The Counts of a step that is this batch, for a bank of two prompts of one vector."""
    return count(batch.rows, PromptBank(torch.zeros(2, 1, D)))


def loss_of(logits, batch, *args, **kwargs):
    """The loss where only logits are compared."""
    return distill.loss(distill.Outputs(None, logits), batch, counts_of(batch), *args, **kwargs)


# ------------------------------------------------------------- one step, with numbers


def test_the_step_in_the_docstring():
    # A student of two rows with one target token each. V is 2, after a token 0 that is padding
    # and never probable.
    student = torch.tensor([[[-1e9, 0.0, 0.0]], [[-1e9, 0.0, 0.0]]])
    teacher = torch.tensor([[[-1e9, LN4, 0.0]], [[-1e9, 0.0, 0.0]]])
    for label in (1, 2):
        batch = batch_of([[label], [label]])
        terms = loss_of(student, batch, teacher_of(teacher, weight=0.5))
        # CE: ln 2 for each row, so half of it is each row's share of the mean.
        assert terms.ce.tolist() == pytest.approx([0.3466, 0.3466], abs=1e-4)
        # KL((.8, .2) || (.5, .5)) = .8 ln(.8 / .5) + .2 ln(.2 / .5) = 0.1927, and 0
        assert terms.kd.tolist() == pytest.approx([0.1927 / 2, 0], abs=1e-4)
        # 0.6931 + 0.5 * 0.0964
        assert terms.total.sum().item() == pytest.approx(0.7413, abs=1e-4)


# --------------------------------------------------------------------- the distances


def compared(name, student, teacher, temperature=1.0):
    """(distance, its gradient by the student's numbers) at a single token or position."""
    student = torch.tensor([[student]], requires_grad=True)
    value = DISTANCES[name].between(student, torch.tensor([[teacher]]), temperature)
    assert value.shape == (1, 1)
    value.sum().backward()
    return value.item(), student.grad.flatten().tolist()


def test_kl_of_two_small_distributions():
    value, gradient = compared("kl", [0.0, 0.0], [LN4, 0.0])
    assert value == pytest.approx(0.19274, abs=1e-5)
    # softmax(student) - softmax(teacher): the first logit is to rise, the second to fall.
    assert gradient == pytest.approx([0.5 - 0.8, 0.5 - 0.2])
    # The other way round it is another number: 0.5 ln(0.5 / 0.8) + 0.5 ln(0.5 / 0.2) = 0.2231
    assert compared("kl", [LN4, 0.0], [0.0, 0.0])[0] == pytest.approx(0.22314, abs=1e-5)
    # Once a student is as sure as its teacher, an answer teaches nothing any more.
    assert compared("kl", [20.0, 0.0], [25.0, 0.0])[1] == pytest.approx([0, 0], abs=1e-6)


def test_kl_at_another_temperature():
    # At temperature 2 the logits (ln 4, 0) are (ln 2, 0), so (2/3, 1/3).
    # KL((2/3, 1/3) || (1/2, 1/2)) = 2/3 ln(4/3) + 1/3 ln(2/3) = 0.0566, times 2^2
    value, gradient = compared("kl", [0.0, 0.0], [LN4, 0.0], temperature=2.0)
    assert value == pytest.approx(4 * 0.05663, abs=1e-4)
    # 2^2 / 2 * ((1/2, 1/2) - (2/3, 1/3)): of the size that it has at temperature 1, 0.3
    assert gradient == pytest.approx([-1 / 3, 1 / 3])


def test_mse_of_two_logits():
    # Squares 1 and 9, their mean; the gradient 2 (student - teacher) / V
    assert compared("mse", [1.0, 2.0], [0.0, 5.0]) == (5.0, [1.0, -3.0])
    assert compared("mse", [1.0, 2.0], [0.0, 5.0], temperature=7.0) == (5.0, [1.0, -3.0])
    # Logits that are all 3 higher are the same distribution, so the same to kl, not to mse.
    assert compared("mse", [1.0, 0.0], [4.0, 3.0])[0] == 9.0
    assert compared("kl", [1.0, 0.0], [4.0, 3.0])[0] == pytest.approx(0, abs=1e-6)


def test_hidden_states_of_two_numbers():
    # |student - teacher|^2 / |teacher|^2 = (4 + 0) / 16; its gradient 2 (student - teacher) / 16
    assert compared("hidden", [2.0, 4.0], [0.0, 4.0]) == (0.25, [0.25, 0.0])
    # A T5 whose states are ten times as large has the same loss.
    assert compared("hidden", [20.0, 40.0], [0.0, 40.0])[0] == 0.25
    # At a right angle and as long: 2. A teacher of zeros: a number all the same.
    assert compared("hidden", [3.0, 0.0], [0.0, 3.0])[0] == 2.0
    assert math.isfinite(compared("hidden", [1.0, 0.0], [0.0, 0.0])[0])


@pytest.mark.parametrize("name", DISTANCES)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(name):
    value, gradient = compared(name, [3.0, -1.0], [3.0, -1.0])
    assert value == pytest.approx(0, abs=1e-6)
    assert gradient == pytest.approx([0, 0], abs=1e-6)


# --------------------------------------------------------------------- the weight


def test_weight_of_a_teacher():
    # lambda times the similarity, clamped to [0, 1]: an opposite source teaches nothing.
    similarities = [-0.2, 0.0, 0.5, 1.0, 1.0000001]
    assert [distill.weight(sim, kd_lambda=2.0) for sim in similarities] == [0, 0, 1, 2, 2]
    assert [distill.weight(sim, 2.0, "hidden") for sim in similarities] == [0, 0, 10, 20, 20]
    # mse: the released code's 0.01 / batch for every source
    assert [distill.weight(sim, 2.0, "mse", batch=4) for sim in similarities] == [0.005] * 5
    assert distill.weight(1.0, 0.0) == distill.weight(1.0, 0.0, "mse") == 0


def test_early_fusion_is_an_average_by_similarity():
    assert distill.normalised({"a": 0.6, "b": 0.2}) == pytest.approx({"a": 0.75, "b": 0.25})
    assert distill.normalised({"a": 0.6, "b": -0.6}) == {"a": 1.0, "b": 0.0}  # not subtracted
    assert distill.normalised({"a": 0.0, "b": -0.6}) == {"a": 0.0, "b": 0.0}
    prompts = {"a": torch.tensor([[4.0, 0.0]]), "b": torch.tensor([[0.0, 8.0]])}
    # 0.75 (4, 0) + 0.25 (0, 8)
    [vector] = distill.fuse(prompts, {"a": 0.6, "b": 0.2}).tolist()
    assert vector == pytest.approx([3.0, 2.0])
    fresh = torch.tensor([[1.0, 1.0]])
    assert distill.fuse(prompts, {"a": -1.0, "b": 0.0}, fresh) is fresh


# ----------------------------------------------------------------------- the loss


TARGETS = [[2, 3, 1], [1], [4, 3, 1], [3, 1]]  # nine target tokens


def random_logits():
    """Logits of the student and of the teacher, (4, 3, 5), and where a target token is, (4, 3)."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 5, generator=generator)
    return student, teacher, batch_of(TARGETS).targets != 0


def test_padding_does_not_count():
    student, teacher, valid = random_logits()
    batch = batch_of(TARGETS)
    terms = loss_of(student, batch, teacher_of(teacher, 0.5, valid=valid))
    # By hand: the mean over the nine target tokens
    log_p = student.log_softmax(-1)
    of_targets = log_p.gather(-1, batch.targets[..., None])[..., 0]
    ce = -of_targets[valid].sum().item() / 9
    kd = distill.kl(student, teacher, 1.0)[valid].sum().item() / 9
    assert terms.ce.sum().item() == pytest.approx(ce)
    assert terms.kd.sum().item() == pytest.approx(kd)
    assert terms.total.sum().item() == pytest.approx(ce + 0.5 * kd)
    # Anything at all may stand at the padding.
    teacher[1, 2] = 1e4
    student[1, 1] = -1e4
    again = loss_of(student, batch, teacher_of(teacher, 0.5, valid=valid))
    assert again.total.tolist() == pytest.approx(terms.total.tolist())


def test_each_prompts_loss_is_a_mean_over_its_own_rows():
    # Prompt 0 has targets of 3 and 1 tokens, prompt 1 of 3 and 2. Even logits cost ln 5 a token.
    batch = batch_of(TARGETS, prompts=[0, 0, 1, 1])
    assert counts_of(batch).tokens.tolist() == [4, 5]
    terms = loss_of(torch.zeros(4, 3, 5), batch)
    assert terms.ce.tolist() == pytest.approx([math.log(5) * f for f in (3/4, 1/4, 3/5, 2/5)])
    ce, kd = terms.of_each_prompt(batch.index, N=2)
    assert ce.tolist() == pytest.approx([math.log(5)] * 2)
    assert kd.tolist() == [0, 0]


def test_hidden_states_count_at_all_positions_prompt_included():
    # A prompt of one vector and a text of two tokens. At the three positions the student is off
    # by 1, 2 and 3 in one of two numbers, where the teacher has (0, 1).
    teacher = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    memory = teacher + torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    logits = torch.zeros(1, 2, 5)
    hidden = DISTANCES["hidden"]
    batch = batch_of([[2, 1]])
    outputs = distill.Outputs(memory, logits)
    terms = distill.loss(outputs, batch, counts_of(batch), teacher_of(teacher, 10.0), hidden)
    assert terms.kd.item() == pytest.approx((1 + 4 + 9) / 3)
    assert terms.weighted_kd.item() == pytest.approx(10 * (1 + 4 + 9) / 3)
    # Where the second token is padding, it does not count, nor in the mean.
    batch = batch_of([[2, 1]], inputs=[[1]])
    valid = torch.tensor([[True, True, False]])
    targets = teacher_of(teacher, 10.0, valid=valid)
    terms = distill.loss(outputs, batch, counts_of(batch), targets, hidden)
    assert terms.kd.item() == pytest.approx((1 + 4) / 2)


def test_without_a_teacher_or_with_one_of_weight_0_the_loss_is_ce():
    student, teacher, valid = random_logits()
    batch = batch_of(TARGETS)
    plain = loss_of(student, batch)
    assert plain.kd.tolist() == [0] * 4
    assert plain.total.tolist() == plain.ce.tolist()
    of_weight_0 = loss_of(student, batch, teacher_of(teacher, 0.0, valid=valid))
    assert of_weight_0.total.tolist() == plain.total.tolist()
    assert of_weight_0.kd.sum() > 0  # it is reported before its weight
    # Of four rows 3 and 1 have a teacher, in this order, of weights 0.5 and 2.
    some = [3, 1]
    targets = teacher_of(teacher[some], [0.5, 2.0], some, valid[some])
    terms = loss_of(student, batch, targets)
    assert terms.ce.tolist() == plain.ce.tolist()
    by_hand = (distill.kl(student, teacher, 1.0) * valid).sum(1) / 9
    assert terms.kd.tolist() == pytest.approx([0, by_hand[1].item(), 0, by_hand[3].item()])
    expected = [0, 2 * by_hand[1].item(), 0, 0.5 * by_hand[3].item()]
    assert terms.weighted_kd.tolist() == pytest.approx(expected)


def test_late_fusion_is_a_row_with_two_teachers():
    # KL to (0.8, 0.2) is 0.1927, to (0.5, 0.5) it is 0; weights 0.75 and 0.25.
    student = torch.tensor([[[-1e9, 0.0, 0.0]]])
    both = torch.tensor([[[-1e9, LN4, 0.0]], [[-1e9, 0.0, 0.0]]])
    batch = batch_of([[1]])
    terms = loss_of(student, batch, teacher_of(both, [0.75, 0.25], rows=[0, 0]))
    assert terms.kd.tolist() == pytest.approx([0.1927 + 0], abs=1e-4)
    assert terms.weighted_kd.tolist() == pytest.approx([0.75 * 0.1927], abs=1e-4)
    # Two equal teachers whose weights sum to 1 teach what one of weight 1 does.
    twice = both[:1].repeat(2, 1, 1)
    terms = loss_of(student, batch, teacher_of(twice, [0.75, 0.25], rows=[0, 0]))
    assert terms.weighted_kd.tolist() == pytest.approx([0.1927], abs=1e-4)


def test_the_gradient_of_the_loss_is_the_sum_of_its_terms_gradients():
    student, teacher, _ = random_logits()
    student = student[:1, :1].clone().requires_grad_()
    teacher = teacher[:1, :1]
    terms = loss_of(student, batch_of([[3]]), teacher_of(teacher, 0.5))
    terms.total.sum().backward()
    p = student.detach().softmax(-1)
    q = teacher.softmax(-1)
    label = torch.eye(5)[3]
    torch.testing.assert_close(student.grad, (p - label) + 0.5 * (p - q))


def test_a_new_distance_is_one_function():
    gap = Distance(lambda student, teacher, t: t * (student - teacher).abs().sum(-1), "logits")
    student = torch.tensor([[[0.0, 1.0, 2.0]]])
    teacher = torch.tensor([[[0.0, 1.0, 4.5]]])
    terms = loss_of(student, batch_of([[2]]), teacher_of(teacher, 3.0), gap, 2.0)
    assert (terms.kd.item(), terms.weighted_kd.item()) == (5, 15)


# -------------------------------------------------------------------- the teachers


P, D = 3, 8
# Two students, who both read example 10.
ROWS = [Row(0, 10, [5, 6, 1], [9, 4, 1]), Row(1, 11, [7, 1], [8, 1]),
        Row(1, 10, [5, 6, 1], [9, 4, 1])]


@pytest.fixture
def t5():
    return model.initialise(model.Config(40, D, 4, 16, 2, 2, 2), seed=1).requires_grad_(False)


def some_teachers(*weights):
    """For each student teachers of these weights: (prompt (P, D), weight) pairs."""
    generator = torch.Generator().manual_seed(0)
    return [[(torch.randn(P, D, generator=generator), weight) for weight in of_student]
            for of_student in weights]


LABELS = torch.tensor([[5, 1], [6, 1], [7, 1]])  # label ids (L, T), for a distance of labels


def plainly(t5, vectors, row, distance):
    """What T5 makes of one row alone behind a prompt: what the distance compares, (U, ·)."""
    batch = collate([row])
    index = torch.tensor([0])
    embedded, mask = PromptBank([vectors]).prepend(t5.embed(batch.ids), batch.mask, index)
    memory, logits = t5(embedded, mask, model.shift_right(batch.targets))
    if distance.compares == "labels":
        return t5.score_labels(memory, mask, LABELS)
    return logits[0] if distance.compares == "logits" else memory[0]


def check(t5, targets, expected, distance):
    """Whether TeacherTargets are what these (prompt, row) pairs give without any cache."""
    assert len(targets.outputs) == len(expected)
    for output, valid, (vectors, row) in zip(targets.outputs, targets.valid, expected):
        plain = plainly(t5, vectors, row, distance)
        assert valid.tolist() == [u < len(plain) for u in range(len(valid))]
        torch.testing.assert_close(output[valid], plain.detach())


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("how", ["computed", "cached", "mixed"])
def test_a_cached_answer_equals_a_computed_one(t5, name, how, monkeypatch):
    distance = DISTANCES[name]
    pairs = some_teachers([0.5], [2.0])
    [(a, _)], [(b, _)] = pairs
    teachers = Teachers(t5, pairs, distance, LABELS)
    cached = {"computed": [], "cached": ROWS, "mixed": ROWS[1:2]}[how]
    if cached:
        teachers.precompute(collate(cached))
    with monkeypatch.context() as patch:
        if how == "cached":
            patch.setattr(t5, "encode", None)  # is no longer needed
        targets = teachers.targets(collate(ROWS))
    assert targets.rows.tolist() == [0, 1, 2]
    assert targets.weight.tolist() == [0.5, 2.0, 2.0]
    check(t5, targets, [(a, ROWS[0]), (b, ROWS[1]), (b, ROWS[2])], distance)


@pytest.mark.parametrize("name", DISTANCES)
def test_what_is_cached_is_hidden_states_without_padding(t5, name):
    teachers = Teachers(t5, some_teachers([0.5], [2.0]), DISTANCES[name], LABELS)
    teachers.precompute(collate(ROWS))
    # Target tokens, or the positions of prompt and text, or one number a label; never V logits.
    lengths = {"logits": [3, 2, 3], "memory": [P + 3, P + 2, P + 3], "labels": [1, 1, 1]}
    width = len(LABELS) if DISTANCES[name].compares == "labels" else D
    shapes = [(length, width) for length in lengths[DISTANCES[name].compares]]
    assert [tuple(states.shape) for states in teachers.cache.values()] == shapes
    assert list(teachers.cache) == [(0, 10), (1, 11), (1, 10)]
    assert teachers.cached_bytes == 4 * sum(length * width for length, width in shapes)


def test_labels_are_compared_as_they_are_ranked():
    """Two labels with log p of ln .1 and ln .3: a quarter and three quarters of the two."""
    scores = torch.tensor([[0.1, 0.3], [0.2, 0.2]]).log()
    outputs = distill.Outputs(None, torch.zeros(2, 2, 5), scores)
    batch = batch_of([[3, 1], [3, 1]])  # the second row has no teacher
    teacher = teacher_of(torch.tensor([[[0.5, 0.5]]]).log(), weight=2.0)
    terms = distill.loss(outputs, batch, counts_of(batch), teacher, DISTANCES["labels"])
    kl = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert terms.kd.tolist() == pytest.approx([kl / 2, 0])  # a mean over the two rows
    assert terms.weighted_kd.tolist() == pytest.approx([kl, 0])


def test_a_distance_says_what_it_compares():
    with pytest.raises(ValueError, match="compares logits, labels or memory, not 'states'"):
        Distance(distill.kl, "states")


def test_free_text_has_no_labels_to_compare(t5):
    with pytest.raises(ValueError, match="^a distance of label scores needs a task with labels"):
        Teachers(t5, some_teachers([0.5]), DISTANCES["labels"])


def test_beyond_its_limit_the_cache_does_not_grow(t5):
    size = 4 * D * 3  # of one row of three target tokens
    teachers = Teachers(t5, some_teachers([0.5], [2.0]), limit=size)
    teachers.precompute(collate(ROWS))
    assert list(teachers.cache) == [(0, 10)] and teachers.cached_bytes == size
    unlimited = Teachers(t5, some_teachers([0.5], [2.0]))
    unlimited.precompute(collate(ROWS))
    expected = unlimited.targets(collate(ROWS)).outputs
    torch.testing.assert_close(teachers.targets(collate(ROWS)).outputs, expected)


def test_two_teachers_of_one_student(t5):
    pairs = some_teachers([0.75, 0.25], [])
    (a, _), (b, _) = pairs[0]
    teachers = Teachers(t5, pairs)
    targets = teachers.targets(collate(ROWS))
    # Row 0 is there twice; student 1 has no teacher, so rows 1 and 2 are not there.
    assert targets.rows.tolist() == [0, 0]
    assert targets.weight.tolist() == [0.75, 0.25]
    check(t5, targets, [(a, ROWS[0]), (b, ROWS[0])], DISTANCES["kl"])
    assert teachers.targets(collate(ROWS[1:])) is None
    assert Teachers(t5, [[], []]).targets(collate(ROWS)) is None


def test_a_teacher_runs_without_the_students_dropout(t5):
    pairs = some_teachers([0.5], [2.0])
    [(a, _)], [(b, _)] = pairs
    t5.set_dropout(0.5)
    t5.train()
    targets = Teachers(t5, pairs).targets(collate(ROWS))
    assert t5.training  # for the student, afterwards
    t5.eval()
    Teachers(t5, pairs).targets(collate(ROWS))
    assert not t5.training  # nor is it left in another mode
    check(t5, targets, [(a, ROWS[0]), (b, ROWS[1]), (b, ROWS[2])], DISTANCES["kl"])
