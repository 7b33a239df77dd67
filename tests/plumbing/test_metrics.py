"""plumbing/metrics.py: what counts as good.

    python -m pytest tests/plumbing/test_metrics.py    # a second

Oracle: metrics worked out by hand, in the comments; for STS-B and WSC what T5's own metrics
count for an answer that is none.
"""

import pytest

from plumbing import metrics
from plumbing.formats import Example
from plumbing.metrics import METRICS
from rows import C, E, N


def score(name, predictions, examples, labels=()):
    """One metric of METRICS. A string among the examples is the target of one."""
    examples = [Example("", e) if isinstance(e, str) else e for e in examples]
    return METRICS[name](predictions, examples, labels)


# -------------------------------------------------------------------------------- labels

# neutral is never predicted
TARGETS = [E, E, E, C, C, N]
PREDICTIONS = [E, E, C, C, C, C]


@pytest.mark.parametrize("label, precision, recall, f1, count", [
    (E, 2 / 2, 2 / 3, 4 / 5, 3),  # 2 right, 0 too many, 1 missed: 4 / (4 + 0 + 1)
    (C, 2 / 4, 2 / 2, 4 / 6, 2),  # 2 right, 2 too many, 0 missed: 4 / (4 + 2 + 0)
    (N, 0, 0, 0, 1),              # 0 right, 0 too many, 1 missed
    ("maybe", 0, 0, 0, 0)])
def test_precision_recall_and_f1_of_one_label(label, precision, recall, f1, count):
    expected = pytest.approx((precision, recall, f1, count))
    assert metrics.per_class(PREDICTIONS, TARGETS, (label,)) == {label: expected}
    assert score("f1", PREDICTIONS, TARGETS, ("other", label)) == pytest.approx(f1)


@pytest.mark.parametrize("name, predictions, targets, value", [
    ("accuracy", PREDICTIONS, TARGETS, 4 / 6),
    ("accuracy", ["Neutral", "neutral.", N], [N, N, N], 1 / 3),  # word for word
    # over the two predicted labels it would be 0.7333
    ("macro_f1", PREDICTIONS, TARGETS, (4 / 5 + 4 / 6 + 0) / 3),
    # 2 true and 1 false positive, 1 false and 1 true negative; 1 and 1, 2 and 1
    ("matthews", "yynny", "yyynn", (2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5),
    ("matthews", "nnyyn", "yyynn", (1 * 1 - 1 * 2) / (2 * 3 * 2 * 3) ** 0.5),
    ("entity_f1", ["place : oslo ; person : anna"], ["person : anna ; place : rome"],
     2 * 1 / (2 + 2)),
    ("argument_f1", ["place : oslo ; person : anna"], ["person : anna ; place : oslo"], 1),
    ("entity_f1", ["place : anna"], ["person : anna"], 0),
    ("entity_f1", ["person : ann"], ["person : anna"], 0),
    ("entity_f1", ["person : anna ; person : anna"], ["person : anna"], 2 * 1 / (2 + 1)),
    ("entity_f1", ["person anna ; rome ;  ; place : oslo"], ["place : oslo"], 1),  # no pair
    # 1 of 1 in the first, 0 of 1 in the second, which wanted 3; the third has none. The mean of
    # the sentences would be (1 + 0 + 1) / 3.
    ("entity_f1", ["person : anna", "place : rome", "none"],
     ["person : anna", "person : bob ; person : ida ; place : oslo", "none"], 2 * 1 / (2 + 4)),
    # where there is nothing to measure
    ("matthews", "yyy", "yny", 0), ("matthews", "yn", "yy", 0),
    ("f1", [N] * 2, [N] * 2, 0), ("entity_f1", ["none", ""], ["none", "none"], 0),
    ("pearson", ["3.7"] * 3, ["1.1", "2.3", "4.9"], 0),
    ("spearman", ["1.1", "2.3", "4.9"], ["3.7"] * 3, 0),
    # The mean of three 3.7 is not quite 3.7: a constant is known by its values
    ("pearson", ["3.7"] * 3, ["0.1"] * 3, 0), ("pearson", ["3.8"], ["3.8"], 0),
    ("answer_f1", [""], ["Ely"], 0)])
def test_a_metric_by_hand(name, predictions, targets, value):
    labels = {"matthews": ("n", "y"), "f1": (N, C)}.get(name, (E, C, N))
    assert score(name, predictions, targets, labels) == pytest.approx(value)


def test_a_question_of_multirc_is_right_when_all_its_answers_are():
    # of the questions 0 0, 0 1 and 1 0 only the first has all answers judged right
    examples = [Example("", target, group=group) for target, group in
                [("True", "0 0"), ("False", "0 1"), ("False", "0 0"), ("True", "0 1"),
                 ("True", "1 0")]]
    predictions = ["True", "True", "False", "True", "yes"]
    assert score("question_em", predictions, examples) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="question_em needs the group of every example"):
        score("question_em", ["True"], ["True"])


# ------------------------------------------------------------ scores, answers, referents


@pytest.mark.parametrize("text, number", [
    ("4.2", 4.2), (" 5 ", 5.0), ("5.2", 5.2), ("-0.5", -0.5),     # T5 clips nothing
    ("", -1.0), ("much", -1.0), ("3.0.", -1.0), ("nan", -1.0), ("inf", -1.0)])
def test_an_answer_of_stsb_that_is_no_number_is_minus_one(text, number):
    assert metrics.number_of(text) == number


def test_stsb_is_scored_by_the_score_of_the_file():
    # ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8
    examples = [Example("", "0.0", (gold,)) for gold in ["1.0", "3.0", "2.0", "4.0"]]
    assert score("pearson", ["1.0", "2.0", "3.0", "4.0"], examples) == pytest.approx(0.8)
    assert score("spearman", ["1.1", "2.0", "3.0", "40"], examples) == pytest.approx(0.8)
    # "?" counts as -1: numbers -1 3 2 less their mean 4/3, scores 1 3 2 less 2:
    # (7/3 + 5/3) / sqrt(78/9 * 2)
    assert score("pearson", ["?", "3", "2"], examples[:3]) == pytest.approx(4 / (52 / 3) ** 0.5)


def test_answers_are_compared_as_squad_does():
    assert metrics.normalise(" An  Ely-based,\tthe THEATRE a") == "elybased theatre"
    # 2 words in common, each as often as both have it, of 3 and 3
    assert metrics.words_f1("a red red kite", "red kite kite") == pytest.approx(2 / 3)
    assert metrics.words_f1("blue", "red") == metrics.words_f1("", "red") == 0


def test_the_best_of_several_answers_counts():
    # 3 words in common of 3 and 4, where the first answer has 1 of 3 and 1: 6/7, not 1/2
    predictions = ["mill in Ely", "The Barn!", "no", "the b"]
    examples = [Example("", "the mill", ("the mill", "old mill in Ely")),
                Example("", "Ely", ("Ely", "barn")), Example("", "yes", ("yes",)), "B"]
    assert score("answer_em", predictions, examples) == pytest.approx(2 / 4)
    assert score("answer_f1", predictions, examples) == pytest.approx((6 / 7 + 2) / 4)


@pytest.mark.parametrize("text, referent, same", [
    ("Eve", "Eve", True), ("eve", "Eve", True), ("the old cat", "cat", True),
    ("cat", "The old cat", True), ("my sister", "her sister", True), ("Eve's", "Eve", False),
    ("Eve's dog", "Eve's", True), ("old dog", "old cat", False), ("the", "the cat", False),
    ("", "cat", False), ("cats", "cat", False), ("eve.", "Eve", False),  # as in T5's metric
    ("cat", "this", False)])  # a referent of determiners only is named by nothing
def test_same_referent(text, referent, same):
    assert metrics.same_referent(text, referent) is same


def test_wsc_is_scored_by_whether_the_referent_is_named():
    # Right are the first and the third; without a word it is wrong whatever the label.
    rows = [("the cat", "cat", "True"), ("dog", "cat", "True"), ("dog", "cat", "False"),
            ("cat", "the cat", "False"), ("", "cat", "False"), ("the", "cat", "False"),
            (" ", "cat", "True"), ("my cat", "cat", "False")]
    predictions = [text for text, _, _ in rows]
    examples = [Example("", referent, (label,)) for _, referent, label in rows]
    assert score("referent_accuracy", predictions, examples) == pytest.approx(2 / 8)
