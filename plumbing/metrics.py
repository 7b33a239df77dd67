"""What counts as good: the metrics of the 21 tasks, in one table, METRICS.

Shares of 1, of lists of strings. Degenerate cases get the published convention: a class that is
neither there nor predicted has F1 0 (scikit-learn), so have entities (conlleval), and a constant
has correlation 0 (where the formula divides 0 by 0).

STS-B, WSC, MultiRC, ReCoRD and SQuAD are scored as T5's own metrics score them. One difference:
an answer "nan" or "inf" to STS-B is no number here.

A new metric is one function here and one entry in METRICS.
"""

import math
import re
import string
from collections import Counter

from plumbing.stats import pearson, spearman

# ------------------------------------------------------------------------------------- labels


def accuracy(predictions, targets):
    """Share of predictions that are the target, word for word.

    >>> accuracy(["yes", "no"], ["yes", "yes"])
    0.5
    """
    right = sum(p == t for p, t in zip(predictions, targets))
    return right / len(targets)


def confusion(predictions, targets, positive):
    """True positives, false positives, false negatives and true negatives of one class.

    >>> confusion(["yes", "yes", "no"], ["yes", "no", "yes"], "yes")
    (1, 1, 1, 0)
    """
    counts = Counter((p == positive, t == positive) for p, t in zip(predictions, targets))
    return counts[True, True], counts[True, False], counts[False, True], counts[False, False]


def f1(predictions, targets, positive):
    """2 tp / (2 tp + fp + fn) of one class."""
    tp, fp, fn, _ = confusion(predictions, targets, positive)
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def macro_f1(predictions, targets, labels):
    """The mean of the labels' F1 (CB in SuperGLUE: Wang et al. 2019)."""
    return sum(f1(predictions, targets, label) for label in labels) / len(labels)


def per_class(predictions, targets, labels):
    """label -> (precision, recall, F1, how often it is the target); 0 where there is nothing.

    >>> per_class(["yes", "yes", "no"], ["yes", "no", "no"], ("yes", "no"))["no"]
    (1.0, 0.5, 0.6666666666666666, 2)
    """
    scores = {}
    for label in labels:
        tp, fp, fn, _ = confusion(predictions, targets, label)
        precision = tp / (tp + fp) if tp else 0.0
        recall = tp / (tp + fn) if tp else 0.0
        scores[label] = (precision, recall, f1(predictions, targets, label), tp + fn)
    return scores


def matthews(predictions, targets, positive):
    """Matthews' correlation of two classes (CoLA: Warstadt et al. 2018)."""
    tp, fp, fn, tn = confusion(predictions, targets, positive)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0


def question_match(predictions, examples, labels):
    """Share of the questions with all answers judged right (MultiRC: Khashabi et al. 2018)."""
    solved = {}
    for prediction, example in zip(predictions, examples):
        if not example.group:
            raise ValueError("question_em needs the group of every example, its question")
        is_right = prediction == example.target
        solved[example.group] = solved.get(example.group, True) and is_right
    return sum(solved.values()) / len(solved)


# ------------------------------------------------------------------------- numbers and answers


def number_of(text):
    """STS-B's answer as a number; -1 for what is none, as T5's metric has it.

    >>> number_of("4.2"), number_of("much")
    (4.2, -1.0)
    """
    try:
        number = float(text)
    except ValueError:
        return -1.0
    return number if math.isfinite(number) else -1.0


def normalise(answer):
    """An answer as SQuAD compares it: lower case, no punctuation, no article, single spaces.

    >>> normalise("The  Broncos, of Denver!")
    'broncos of denver'
    """
    answer = "".join(c for c in answer.lower() if c not in string.punctuation)
    answer = re.sub(r"\b(a|an|the)\b", " ", answer)
    return " ".join(answer.split())


def words_f1(prediction, gold):
    """F1 of the words of two normalised answers, each word as often as it occurs.

    >>> words_f1("the Denver Broncos", "Broncos")
    0.6666666666666666
    """
    predicted = Counter(normalise(prediction).split())
    wanted = Counter(normalise(gold).split())
    both = (predicted & wanted).total()
    return 2 * both / (predicted.total() + wanted.total()) if both else 0.0


def exact(prediction, gold):
    """1 if two answers are the same once normalised, else 0."""
    return float(normalise(prediction) == normalise(gold))


def golds_of(example):
    """What a prediction is compared with: the golds, or the target of a row without them."""
    return example.golds or (example.target,)


def best_gold(function, predictions, examples):
    """Mean over the examples of the best value against any right answer (Rajpurkar et al. 2016)."""
    total = 0.0
    for prediction, example in zip(predictions, examples):
        total += max(function(prediction, gold) for gold in golds_of(example))
    return total / len(examples)


def correlation_of(function, predictions, examples):
    """A correlation of STS-B's answers with the file's scores."""
    numbers = [number_of(prediction) for prediction in predictions]
    scores = [float(golds_of(example)[0]) for example in examples]
    return function(numbers, scores)


# --------------------------------------------------------------------- entities and referents


def entities(text):
    """The (type, span) pairs of a NER string; what has no " : " is no entity.

    >>> entities("person : anna ; place : rome")
    [('person', 'anna'), ('place', 'rome')]
    >>> entities("none")
    []
    """
    pairs = []
    for entity in text.split(" ; "):
        kind, colon, span = entity.partition(" : ")
        if colon:
            pairs.append((kind.strip(), span.strip()))
    return pairs


def entity_f1(predictions, examples, labels):
    """Micro-F1 over exact (type, span): 2 * right / (predicted + wanted)."""
    right = total = 0
    for prediction, example in zip(predictions, examples):
        predicted = Counter(entities(prediction))
        wanted = Counter(entities(example.target))
        right += (predicted & wanted).total()
        total += predicted.total() + wanted.total()
    return 2 * right / total if total else 0.0


DETERMINERS = set("a an the this that these those which whose some many much few each every "
                  "my your his her our their".split())


def content_words(text):
    """The set of a text's words in lower case, without determiners.

    >>> sorted(content_words("The fuzzy bunny"))
    ['bunny', 'fuzzy']
    """
    return set(text.lower().split()) - DETERMINERS


def same_referent(prediction, referent):
    """Whether a text names this referent: the words of one are all in the other (WSC).

    "the fuzzy bunny" names "bunny"; "Bob" does not name "Bob's dog".

    >>> same_referent("The fuzzy bunny", "bunny"), same_referent("Bob", "Bob's dog")
    (True, False)
    """
    predicted = content_words(prediction)
    wanted = content_words(referent)
    if not predicted or not wanted:
        return False
    if ("'" in "".join(predicted)) != ("'" in "".join(wanted)):
        return False
    return predicted <= wanted or wanted <= predicted


def referent_accuracy(predictions, examples, labels):
    """Share of the answers that name the referent (the target) where the row is labelled True (its
    gold), and do not elsewhere.

    An answer without a word but determiners is wrong whatever the label, as in T5's metric:
    else a model that writes nothing would be right on each row labelled False.
    """
    right = 0
    for prediction, example in zip(predictions, examples):
        named = same_referent(prediction, example.target)
        right += bool(content_words(prediction)) and str(named) == example.golds[0]
    return right / len(examples)


# --------------------------------------------------------------------------------- the table


def targets_of(examples):
    return [example.target for example in examples]


# name -> function of the predictions, the Examples and the task's labels. The class that counts
# as positive is the last label.
METRICS = {
    "accuracy": lambda p, examples, labels: accuracy(p, targets_of(examples)),
    "f1": lambda p, examples, labels: f1(p, targets_of(examples), labels[-1]),
    "macro_f1": lambda p, examples, labels: macro_f1(p, targets_of(examples), labels),
    "matthews": lambda p, examples, labels: matthews(p, targets_of(examples), labels[-1]),
    "pearson": lambda p, examples, labels: correlation_of(pearson, p, examples),
    "spearman": lambda p, examples, labels: correlation_of(spearman, p, examples),
    "answer_em": lambda p, examples, labels: best_gold(exact, p, examples),
    "answer_f1": lambda p, examples, labels: best_gold(words_f1, p, examples),
    "question_em": question_match,
    "entity_f1": entity_f1,
    "argument_f1": entity_f1,
    "referent_accuracy": referent_accuracy,
}
