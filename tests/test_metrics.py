"""plumbing/metrics.py: what counts as good, task by task.

    python -m pytest tests/test_metrics.py    # seconds, nothing to download

Oracle: metrics worked out by hand, in the comments.
"""

import doctest

import pytest

import data
from data import Example
from plumbing import metrics
from rows import C, E, N


def percent(**values):
    return pytest.approx({name: 100 * value for name, value in values.items()})


def scored(name, rows):
    """The score of (prediction, Example) pairs."""
    return data.score(name, *map(list, zip(*rows)))


def test_examples_in_the_docstrings():
    result = doctest.testmod(metrics)
    assert result.attempted > 0 and result.failed == 0


# -------------------------------------------------------------------------------- labels


# neutral is never predicted
TARGETS = [E, E, E, C, C, N]
PREDICTIONS = [E, E, C, C, C, C]


def test_accuracy_is_word_for_word():
    assert metrics.accuracy(PREDICTIONS, TARGETS) == pytest.approx(4 / 6)
    assert metrics.accuracy(["Neutral", "neutral.", "neutral"], [N, N, N]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("label, expected", [
    (E, 4 / 5),  # 2 right, 0 too many, 1 missed: 4 / (4 + 0 + 1)
    (C, 4 / 6),  # 2 right, 2 too many, 0 missed: 4 / (4 + 2 + 0)
    (N, 0.0),    # 0 right, 0 too many, 1 missed
    ("maybe", 0.0)])
def test_f1_of_one_label(label, expected):
    assert metrics.f1(PREDICTIONS, TARGETS, label) == pytest.approx(expected)


def test_macro_f1_counts_a_label_that_is_never_predicted():
    # (4/5 + 4/6 + 0) / 3 = 0.4889; over the two predicted labels it would be 0.7333
    assert metrics.macro_f1(PREDICTIONS, TARGETS, (E, C, N)) == pytest.approx(0.48889, abs=1e-5)


def test_matthews_by_hand():
    # 2 true and 1 false positive, 1 false and 1 true negative:
    # (2 * 1 - 1 * 1) / sqrt(3 * 3 * 2 * 2)
    assert metrics.matthews(list("yynny"), list("yyynn"), "y") == pytest.approx(1 / 6)
    assert metrics.matthews(list("nnyyn"), list("yyynn"), "y") == pytest.approx(-1 / 6)


# ---------------------------------------------------------------- entities and arguments


@pytest.mark.parametrize("prediction, target, expected", [
    ("person : anna ; place : rome", "person : anna ; place : oslo", 2 * 1 / (2 + 2)),
    ("place : oslo ; person : anna", "person : anna ; place : oslo", 1.0),  # in any order
    ("place : anna", "person : anna", 0.0),                     # the wrong type
    ("person : ann", "person : anna", 0.0),                     # half a span
    ("person : anna ; person : anna", "person : anna", 2 * 1 / (2 + 1)),  # each counts once
    ("person : anna ; person : anna", "person : anna ; person : anna", 1.0),
    ("none", "none", 0.0),                    # nothing to find, nothing found: as in conlleval
    ("none", "person : anna", 0.0),
    ("person : anna", "none", 0.0),
    ("person anna ; rome ;  ; place : oslo", "place : oslo", 1.0),  # what is no pair is not there
    ("", "person : anna", 0.0)])
def test_entity_f1_of_one_sentence(prediction, target, expected):
    assert metrics.entity_f1([prediction], [target]) == pytest.approx(expected)


def test_entity_f1_counts_entities_and_not_sentences():
    # 1 of 1 in the first, 0 of 1 in the second, which wanted 3; the third has none:
    # 2 * 1 / (2 + 4). The mean of the sentences would be (1 + 0 + 1) / 3.
    predictions = ["person : anna", "place : rome", "none"]
    targets = ["person : anna", "person : bob ; person : ida ; place : oslo", "none"]
    assert metrics.entity_f1(predictions, targets) == pytest.approx(1 / 3)
    assert data.score("toy-ner", predictions, targets) == {"entity_f1": pytest.approx(100 / 3)}


def test_an_argument_is_right_with_its_role_and_its_words():
    # 1 right of 2 and 3, then 1 of 1 and 1: 2 * 2 / 7; a role named twice counts once
    predictions = ["A0 : Ada ; A1 : bread", "A0 : Eve"]
    targets = ["A0 : Ada ; A1 : the bread ; AM-TMP : now", "A0 : Eve"]
    assert data.score("conll05", predictions, targets) == percent(argument_f1=4 / 7)
    assert metrics.entity_f1(["A0 : Ada ; A0 : Ada"], ["A0 : Ada"]) == pytest.approx(2 / 3)


# ------------------------------------------------------------ scores, answers, referents


def test_a_score_that_is_none_is_as_wrong_as_can_be():
    texts = ["4.2", "5", "5.2", "-1.0", "", "nan", "3.0.", "1e0", "2.4 "]
    golds = [4.0, 5.0, 5.0, 1.0, 2.5, 2.6, 0.0, 4.0, 1.0]
    numbers = [4.2, 5.0, 0.0, 5.0, 5.0, 0.0, 5.0, 0.0, 5.0]
    assert metrics.similarity_scores(texts, map(str, golds)) == (numbers, golds)


def test_stsb_is_scored_by_the_score_of_the_file():
    rows = [(text, Example("", "0.0", (gold,))) for text, gold in
            zip(["1.0", "2.0", "3.0", "4.0"], ["1.0", "3.0", "2.0", "4.0"])]
    assert scored("stsb", rows) == percent(pearson=0.8, spearman=0.8)


def test_answers_are_compared_as_squad_does():
    assert metrics.normalise(" An  Ely-based,\tthe THEATRE a") == "elybased theatre"
    # 2 words in common, each as often as both have it, of 3 and 3
    assert metrics.words_f1("a red red kite", "red kite kite") == pytest.approx(2 / 3)
    assert metrics.words_f1("blue", "red") == metrics.words_f1("", "red") == 0


@pytest.mark.parametrize("name", ["squad", "record"])
def test_the_best_of_several_answers_counts(name):
    # 3 words in common of 3 and 4, where the first answer has 1 of 3 and 1: 6/7, not 1/2
    rows = [("mill in Ely", Example("", "the mill", ("the mill", "old mill in Ely"))),
            ("The Barn!", Example("", "Ely", ("Ely", "barn"))),
            ("no", Example("", "yes", ("yes",)))]
    assert scored(name, rows) == percent(answer_em=1 / 3, answer_f1=13 / 21)
    assert next(iter(scored(name, rows))) == data.TASKS[name].metrics[0]


def test_a_question_of_multirc_is_right_when_all_its_answers_are():
    # 2 true positives, a false one, and a false negative: what is no label counts as the other.
    rows = [("True", "True", "0 0"), ("True", "False", "0 1"), ("False", "False", "0 0"),
            ("True", "True", "0 1"), ("yes", "True", "1 0")]
    rows = [(text, Example("", target, group=group)) for text, target, group in rows]
    assert scored("multirc", rows) == percent(f1=2 / 3, question_em=1 / 3)


@pytest.mark.parametrize("text, referent, same", [
    ("Eve", "Eve", True), ("eve.", "Eve", True), ("the old cat", "cat", True),
    ("cat", "The old cat", True),
    ("my sister", "her sister", True), ("Eve's", "Eve", False), ("Eve's dog", "Eve's", True),
    ("old dog", "old cat", False), ("the", "the cat", False), ("", "cat", False),
    ("cats", "cat", False),
    ("cat", "this", False)])  # a referent of determiners only is named by nothing
def test_same_referent(text, referent, same):
    assert metrics.same_referent(text, referent) is same


def test_wsc_is_scored_by_whether_the_referent_is_named():
    rows = [("the cat", "cat", "True"), ("dog", "cat", "True"), ("dog", "cat", "False"),
            ("cat", "the cat", "False"), ("", "cat", "False")]
    rows = [(text, Example("", referent, (label,))) for text, referent, label in rows]
    assert scored("wsc", rows) == percent(referent_accuracy=3 / 5)


# ----------------------------------------------------- where there is nothing to measure


@pytest.mark.parametrize("name, predictions, targets, values", [
    ("cola", ["acceptable"] * 3, ["acceptable", "unacceptable", "acceptable"], {"matthews": 0}),
    ("cola", ["acceptable", "unacceptable"], ["acceptable"] * 2, {"matthews": 0}),
    ("stsb", ["3.7"] * 3, ["1.1", "2.3", "4.9"], {"pearson": 0, "spearman": 0}),
    ("stsb", ["1.1", "2.3", "4.9"], ["3.7"] * 3, {"pearson": 0, "spearman": 0}),
    # The mean of three 3.7 is not quite 3.7: a constant is told by its values, not by its spread
    ("stsb", ["3.7"] * 3, ["0.1"] * 3, {"pearson": 0, "spearman": 0}),
    ("stsb", ["3.8"], ["3.8"], {"pearson": 0, "spearman": 0}),
    ("qqp", ["not_duplicate"] * 2, ["not_duplicate"] * 2, {"f1": 0, "accuracy": 1}),
    ("conll03", ["none", ""], ["none", "none"], {"entity_f1": 0}),
    ("squad", [""], ["Ely"], {"answer_em": 0, "answer_f1": 0})])
def test_degenerate_cases_are_numbers(name, predictions, targets, values):
    assert data.score(name, predictions, targets) == pytest.approx(
        {metric: 100 * value for metric, value in values.items()}, abs=1e-6)
