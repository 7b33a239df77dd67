"""PANDA on trial, on the toy world: the tables of docs/panda.md.

    python experiments/study.py                   train what is missing, print all claims
    python experiments/study.py --claims a,g      some of them

Three targets, ten seeds (800 to 809) on which nothing was chosen. The recipe is that of
toy/t5/recipe.json, which experiments/search.py chose on seeds 100 to 104. Each seed has a source
prompt of its own, so that a test counts how much source prompts differ, too. A run keeps the best
of its checkpoints by one part of dev, and is scored on the other.

A gain is a difference of two scores, seed by seed, in points of a percentage: mean ± standard
deviation over the seeds. Its p is that of a paired t-test. A star: p below 5 % after Holm's
correction for all tests of the table.

Tables go to standard output, progress to standard error. Flags of train.py may follow: with
--target toy-cb --seeds 3 --steps 10 --out runs/try it is a short trial.
"""

import argparse
import collections
import contextlib
import dataclasses
import inspect
import itertools
import statistics
import sys
import unittest.mock
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import data
import distill
import train
import transferability
from plumbing import options
from plumbing.report import TEACHERS, by_run, markdown, of_teachers
from plumbing.stats import (differences, holm, mean_permutation_p, number, paired_p, plus_minus,
                            spearman)

RELATED = {"toy-cb": "toy-nli", "toy-qnli": "toy-nli", "toy-reviews": "toy-sst2"}
SOURCES = "toy-nli,toy-rte,toy-boolq,toy-qqp,toy-sst2,toy-cola,toy-ner"
FLAGS = ["--out", "runs/study", "--target", ",".join(RELATED), "--source", SOURCES,
         "--first-seed", "800", "--seeds", "10"]
LABELS = (32, 0)  # 0: all of the first target's, toy-cb's 250
STEPS = (100, 400)
FEW = 32  # labels
TUNING_SEEDS = range(300, 303)  # for kd_lambda and temperature
LAMBDAS = (0.3, 1.0, 3.0, 10.0)
TEMPERATURES = {"kl": (1.0, 2.0, 4.0)}  # of the distances that have one


# ------------------------------------------------------------------------- training


@dataclasses.dataclass
class Study:
    """What all claims share."""

    ctx: train.Context
    sources: list  # names
    targets: list
    seeds: list

    @property
    def distances(self):
        return options.names(self.ctx.recipe.kd)

    def source_prompts(self, name):
        """The source's prompts (P, D), one for each seed."""
        task = self.ctx.sources[name]
        steps = self.ctx.recipe.source_steps
        runs = [train.Run("source", "", seed, steps, train.fresh_prompt(self.ctx, task, seed))
                for seed in self.seeds]
        results = train.train_prompts(self.ctx, task, runs, f"source {name}")
        return [result.best for result in results]

    def related(self, wanted, **changes):
        """Each target with its related source."""
        return [Pair(self, name, RELATED[name], wanted, **changes) for name in self.targets]

    def related_with_controls(self, **changes):
        pairs = self.related(["panda", "controls"], **changes)
        if "labels" in self.distances:
            for pair in pairs:
                pair.train_without_teachers(self.seeds)
        return pairs


class Pair:
    """What train.py trains on a target from one source: results, approach -> one for each seed.

    wanted: of train.APPROACHES; changes: of the recipe. What was trained before, for another claim,
    is read from the run directory.
    """

    def __init__(self, study, name, source, wanted, **changes):
        recipe = dataclasses.replace(study.ctx.recipe, **changes)
        self.ctx = dataclasses.replace(study.ctx, recipe=recipe)
        self.name = name
        self.task = data.encode(name, self.ctx.tokenizer, recipe)
        self.results = collections.defaultdict(list)
        self.measures = []  # for each seed
        for seed, start in zip(study.seeds, study.source_prompts(source)):
            sources = {source: (study.ctx.sources[source], start)}
            results, measures = train.transfer(self.ctx, self.task, sources, wanted, [seed])
            for (approach, _), of_seed in results.items():
                self.results[approach] += of_seed
            self.measures += measures[source]

    def train_without_teachers(self, seeds):
        """no_teacher_labels: the loss `labels` with the right label in place of a teacher's scores.

        Its teacher is a stand-in: its own start, which nothing reads.
        """
        runs = []
        for seed in seeds:
            start = train.fresh_prompt(self.ctx, self.task, seed)
            teachers = ((start, self.ctx.recipe.kd_lambda),)
            runs.append(train.Run("no_teacher_labels", "", seed, self.ctx.recipe.steps, start,
                                  teachers))
        with unittest.mock.patch.object(distill.Teachers, "states_of", right_label):
            self.results["no_teacher_labels"] = train.train_prompts(
                self.ctx, self.task, runs, f"{self.name} without a teacher", "labels")

    def scores(self, approach):
        """For each seed."""
        return [result.score for result in self.results[approach]]

    def gains(self, approach, other="prompt"):
        """Over another approach, for each seed."""
        return differences(self.scores(approach), self.scores(other))


def right_label(teachers, batch, index):
    """In place of Teachers.states_of: (1, L) for each row, all of the probability on its label."""
    width = batch.targets.shape[1]
    is_right = (batch.targets[:, None] == teachers.labels[:, :width]).all(2)  # (B, L)
    scores = torch.where(is_right, 0.0, -30.0)
    return list(scores[:, None])


# --------------------------------------------------------------------------- tables


def p_value(gains):
    """Of the paired t-test. Of fewer than three seeds 1: they show nothing."""
    return paired_p(gains) if len(gains) > 2 else 1.0


def star(p):
    return " *" if p < 0.05 else ""


def starred(gains):
    """{key: gains by seed} -> {key: text}, with a star after Holm's correction for all of them.

    >>> starred({"a": [1.0, 1.5, 2.0], "b": [6.0, 6.1, 6.2], "c": [0.0, 0.1, -0.1]})
    {'a': '+1.5 ± 0.5', 'b': '+6.1 ± 0.1 *', 'c': '+0.0 ± 0.1'}
    """
    adjusted = holm([p_value(of_seeds) for of_seeds in gains.values()])
    texts = {}
    for (key, of_seeds), p in zip(gains.items(), adjusted):
        texts[key] = plus_minus(of_seeds, "+") + star(p)
    return texts


def with_ps(rows, ps):
    """Rows with two more cells: their p, and p after Holm's correction for all of them.

    >>> with_ps([["a"], ["b"]], [0.5, 0.01])
    [['a', '0.500', '0.500'], ['b', '0.010', '0.020 *']]
    """
    return [row + [f"{p:.3f}", f"{adjusted:.3f}{star(adjusted)}"]
            for row, p, adjusted in zip(rows, ps, holm(ps))]


def comparisons(pairs, rows):
    """Lines of a table: a row for each two approaches, the first minus the second.

    The test of a row is of the mean over the targets: one number for each seed.
    """
    cells = []
    ps = []
    for first, second in rows:
        gains = [pair.gains(first, second) for pair in pairs]
        gains.append([statistics.mean(of_seed) for of_seed in zip(*gains)])
        cells.append([first, second] + [plus_minus(each, "+") for each in gains])
        ps.append(p_value(gains[-1]))
    names = [pair.name for pair in pairs]
    header = ["first", "minus second", *names, "mean", "p", "after Holm"]
    return markdown((header, with_ps(cells, ps)))


# --------------------------------------------------------------------------- claims
# Each trains what it needs and returns lines. Its docstring is printed above them.


def related(study):
    """## a. Transfer and PANDA from the related source, at equal cost

    "Related": toy-nli for toy-cb and toy-qnli, toy-sst2 for toy-reviews. With all that it needs, a
    student costs three times the steps of plain prompt tuning, as prompt_3x and self_* do. pot
    costs its source prompt and as many steps as prompt. no_teacher_labels: the loss `labels` with
    the right label in the place of a teacher's scores.
    """
    return against_controls(study)


def few_labels(study):
    """## h. The same with 32 labels

    As (a), but only 32 training examples, drawn by the seed, keep their labels.
    """
    return against_controls(study, labelled=FEW)


def against_controls(study, **changes):
    """Lines: all scores, and transfer and PANDA less their controls."""
    pairs = study.related_with_controls(**changes)
    rows = [("pot", other) for other in ("prompt", "prompt_2x", "prompt_3x")]
    for distance in study.distances:
        for other in ("prompt", "prompt_3x", f"self_{distance}", "pot"):
            rows.append((f"panda_{distance}", other))
    students = [f"panda_{distance}" for distance in study.distances]
    rows += itertools.combinations(students, 2)
    if "labels" in study.distances:
        rows += [("no_teacher_labels", "prompt"), ("panda_labels", "no_teacher_labels")]
    scores = []
    for approach in pairs[0].results:
        scores.append([approach] + [plus_minus(pair.scores(approach)) for pair in pairs])
    return markdown((["score", *study.targets], scores)) + [""] + comparisons(pairs, rows)


def labels_and_steps(study):
    """## c. Fewer labels, more steps

    From the related source, with the loss `hidden`. Gain over plain prompt tuning with as many
    labels and steps. However few labels a run has, its checkpoint is chosen on the same part of
    dev.
    """
    name = study.targets[0]
    approaches = ["pot", "panda_hidden"]
    plain = {}
    gains = {}
    for labelled, steps in itertools.product(LABELS, STEPS):
        pair = Pair(study, name, RELATED[name], ["panda"], kd="hidden", labelled=labelled,
                    steps=steps)
        count = labelled or len(pair.task.inputs)
        plain[count, steps] = plus_minus(pair.scores("prompt"))
        for approach in approaches:
            gains[count, steps, approach] = pair.gains(approach)
    texts = starred(gains)
    rows = []
    for (count, steps), scores in plain.items():
        cells = [texts[count, steps, approach] for approach in approaches]
        rows.append([str(count), str(steps), scores, *cells])
    return markdown(([f"{name}: labels", "steps", "prompt", *approaches], rows))


def ranking(study):
    """## d. Does a similarity rank the sources?

    Spearman's correlation, over the sources of a target, of the similarity with the score of pot,
    both means over the seeds. p: by permuting the sources of each target. "panda" is centred,
    "panda_raw" is not. The first checkpoint is the paper's first epoch: on toy-cb and toy-reviews
    it is the first after it, toy-qnli's epoch is longer than a run.
    """
    scores = {"at the first checkpoint": lambda result: result.curve[0][1],
              "at the end": lambda result: result.score}
    of_targets = [[Pair(study, name, source, ["pot"]) for source in study.sources]
                  for name in study.targets]
    rows = []
    ps = []
    for measure, when in itertools.product(transferability.MEASURES, scores):
        lists = []  # of each target: the similarities and the scores of its sources
        for pairs in of_targets:
            similar = [statistics.mean(of_seed[measure] for of_seed in pair.measures)
                       for pair in pairs]
            means = [statistics.mean(map(scores[when], pair.results["pot"])) for pair in pairs]
            lists.append((similar, means))
        correlations = [spearman(*each) for each in lists]
        correlations.append(statistics.mean(correlations))
        rows.append([measure, when] + [number(each, "+", 2) for each in correlations])
        ps.append(mean_permutation_p(lists))
    header = ["measure", "pot's score", *study.targets, "mean", "p", "after Holm"]
    return markdown((header, with_ps(rows, ps)))


def tuning(study):
    """## f. Lambda and temperature

    From the related source, on three other seeds, so without a test: gain over plain prompt tuning.
    Lambda is in units of the distance.
    """
    study = dataclasses.replace(study, seeds=TUNING_SEEDS[:len(study.seeds)])
    rows = []
    for distance in study.distances:
        temperatures = TEMPERATURES.get(distance, (1.0,))
        for kd_lambda, temperature in itertools.product(LAMBDAS, temperatures):
            pairs = study.related(
                ["panda"], kd=distance, kd_lambda=kd_lambda, temperature=temperature)
            means = [statistics.mean(pair.gains(f"panda_{distance}")) for pair in pairs]
            means.append(statistics.mean(means))
            gains = [number(mean, "+") for mean in means]
            rows.append([distance, f"{kd_lambda:g}", f"{temperature:g}", *gains])
    return markdown((["distance", "lambda", "temperature", *study.targets, "mean"], rows))


def gradients(study):
    """## g. Does the teacher say anything new?

    Of the students of (a), means over the seeds that have a teacher (one of similarity 0 counts as
    none): how often the teacher's answer is the label on training examples, and the cosine of the
    gradients of CE and KD, which is near 1 if the teacher says what the labels say.
    """
    runs = []
    for pair in study.related_with_controls():
        for approach, results in pair.results.items():
            taught = [result for result in results if result.teacher_accuracy is not None]
            if taught:
                runs.append({
                    "approach": approach, "source": f"to {pair.name}",
                    "teacher_accuracy": [result.teacher_accuracy for result in taught],
                    "losses": [result.losses for result in taught]})
    return markdown(by_run(runs, TEACHERS, of_teachers))


CLAIMS = {"a": related, "c": labels_and_steps, "d": ranking, "f": tuning, "g": gradients,
          "h": few_labels}


# -------------------------------------------------------------------------- command


def open_study(args):
    """The Study of train.py's arguments."""
    for target in args.target:
        options.check("target", target, choices=tuple(RELATED))
        if RELATED[target] not in args.source:
            raise ValueError(f"--source lacks {RELATED[target]}, which is related to {target}")
    return Study(train.open_context(args), args.source, args.target, args.seeds)


def main(argv=None):
    parser = options.Parser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", default=",".join(CLAIMS), help="comma-separated (default: all)")
    own, flags = parser.parse_known_args(argv)
    claims = options.names(own.claims)
    for name in claims:
        options.check("claims", name, choices=tuple(CLAIMS))
    with contextlib.redirect_stdout(sys.stderr):
        study = open_study(train.parse_arguments(FLAGS + flags))
    for name in claims:
        with contextlib.redirect_stdout(sys.stderr):
            lines = CLAIMS[name](study)
        print(inspect.cleandoc(CLAIMS[name].__doc__), "", *lines, "", sep="\n", flush=True)


if __name__ == "__main__":
    options.run(main, "study.py")
