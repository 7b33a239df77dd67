"""What counts as good: the metrics of the 21 tasks, in one table, METRICS.

Functions of lists of strings, as shares of 1. Degenerate cases get the published convention: a
class that is neither there nor predicted has F1 0 (scikit-learn), so have entities
(conlleval), and a constant has correlation 0 (where the formula divides 0 by 0).

A new metric is one function here and one entry in METRICS.
"""

import math
import re
import string
from collections import Counter

from plumbing.stats import pearson, spearman


def accuracy(predictions, targets):
    """Share of predictions that are the target, word for word."""
    return sum(p == t for p, t in zip(predictions, targets)) / len(targets)


def confusion(predictions, targets, positive):
    """True positives, false positives, false negatives and true negatives of one class."""
    counts = Counter((p == positive, t == positive) for p, t in zip(predictions, targets))
    return [counts[cell] for cell in ((True, True), (True, False), (False, True), (False, False))]


def f1(predictions, targets, positive):
    """2 tp / (2 tp + fp + fn) of one class."""
    tp, fp, fn, _ = confusion(predictions, targets, positive)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def macro_f1(predictions, targets, labels):
    """The mean of the labels' F1 (CB in SuperGLUE: Wang et al. 2019)."""
    return sum(f1(predictions, targets, label) for label in labels) / len(labels)


def matthews(predictions, targets, positive):
    """Matthews' correlation of two classes (CoLA: Warstadt et al. 2018)."""
    tp, fp, fn, tn = confusion(predictions, targets, positive)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0


def similarity_scores(predictions, golds):
    """STS-B's texts and scores as numbers; a text that is no number from 0 to 5 is taken as the
    end of the scale that is farther from the score.

    >>> similarity_scores(["4.2", "much"], ["4.0", "4.5"])
    ([4.2, 0.0], [4.0, 4.5])
    """
    golds = [float(gold) for gold in golds]
    numbers = []
    for text, gold in zip(predictions, golds):
        number = float(text) if re.fullmatch(r"\d(\.\d+)?", text) else -1.0
        numbers.append(number if 0 <= number <= 5 else 0.0 if gold > 2.5 else 5.0)
    return numbers, golds


def normalise(answer):
    """An answer as SQuAD compares it: lower case, no punctuation, no article, single spaces.

    >>> normalise("The  Broncos, of Denver!")
    'broncos of denver'
    """
    answer = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def words_f1(prediction, gold):
    """F1 of the words of two normalised answers, each word as often as it occurs.

    >>> words_f1("the Denver Broncos", "Broncos")
    0.6666666666666666
    """
    prediction, gold = Counter(normalise(prediction).split()), Counter(normalise(gold).split())
    both = (prediction & gold).total()
    return 2 * both / (prediction.total() + gold.total()) if both else 0.0


def best_gold(function, predictions, answers):
    """Mean over the examples of the best value against any right answer (Rajpurkar et al. 2016)."""
    return sum(max(function(p, gold) for gold in golds)
               for p, golds in zip(predictions, answers)) / len(answers)


def exact(prediction, gold):
    return float(normalise(prediction) == normalise(gold))


def question_match(predictions, targets, groups):
    """Share of the questions with all answers judged right (MultiRC: Khashabi et al. 2018)."""
    if not all(groups):
        raise ValueError("question_em needs the group of every example, its question")
    solved = {}
    for p, t, group in zip(predictions, targets, groups):
        solved[group] = solved.get(group, True) and p == t
    return sum(solved.values()) / len(solved)


def entities(text):
    """The (type, span) pairs of a NER string; a part without " : " is no entity.

    >>> entities("person : anna ; place : rome")
    [('person', 'anna'), ('place', 'rome')]
    >>> entities("none")
    []
    """
    parts = [part.split(" : ", 1) for part in text.split(" ; ")]
    return [(part[0].strip(), part[1].strip()) for part in parts if len(part) == 2]


def entity_f1(predictions, targets):
    """Micro-F1 over exact (type, span): 2 * right / (predicted + wanted)."""
    right = total = 0
    for prediction, target in zip(predictions, targets):
        found, gold = Counter(entities(prediction)), Counter(entities(target))
        right += (found & gold).total()
        total += found.total() + gold.total()
    return 2 * right / total if total else 0.0


DETERMINERS = set("a an the this that these those which whose some many much few each every "
                  "my your his her its our their".split())


def same_referent(prediction, referent):
    """Whether a text names this referent: the words of one are all in the other (WSC).

    Case, punctuation, determiners and possessives at the front do not count, so that
    "the fuzzy bunny" names "bunny"; "bob" and "bob's" are two.

    >>> same_referent("The fuzzy bunny.", "bunny"), same_referent("Bob", "Bob's dog")
    (True, False)
    """
    words = [set(re.sub(r"[^\w' ]", " ", text.lower()).split()) - DETERMINERS
             for text in (prediction, referent)]
    possessive = [any("'" in word for word in one) for one in words]
    return all(words) and possessive[0] == possessive[1] and (
        words[0] <= words[1] or words[1] <= words[0])


def right(example):
    """What a prediction is compared with: the golds, or the target if a row has none beside it."""
    return example.golds or (example.target,)


def similarities(predictions, examples):
    """STS-B's predictions and scores, as the correlations take them."""
    return similarity_scores(predictions, [right(e)[0] for e in examples])


# name -> function of the predictions, the examples and the task's labels; the class that
# counts as positive is the last label.
METRICS = {
    "accuracy": lambda p, examples, _: accuracy(p, [e.target for e in examples]),
    "f1": lambda p, examples, labels: f1(p, [e.target for e in examples], labels[-1]),
    "macro_f1": lambda p, examples, labels: macro_f1(p, [e.target for e in examples], labels),
    "matthews": lambda p, examples, labels: matthews(p, [e.target for e in examples], labels[-1]),
    "pearson": lambda p, examples, _: pearson(*similarities(p, examples)),
    "spearman": lambda p, examples, _: spearman(*similarities(p, examples)),
    "answer_em": lambda p, examples, _: best_gold(exact, p, [right(e) for e in examples]),
    "answer_f1": lambda p, examples, _: best_gold(words_f1, p, [right(e) for e in examples]),
    "question_em": lambda p, examples, _: question_match(p, [e.target for e in examples],
                                                         [e.group for e in examples]),
    "entity_f1": lambda p, examples, _: entity_f1(p, [e.target for e in examples]),
    "referent_accuracy": lambda p, examples, _: accuracy(
        [str(same_referent(text, e.target)) for text, e in zip(p, examples)],
        [e.golds[0] for e in examples]),
}
METRICS["argument_f1"] = METRICS["entity_f1"]  # the same over (role, span)
