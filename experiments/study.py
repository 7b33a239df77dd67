"""PANDA on trial, on the toy world: the tables and pictures of docs/panda.md.

    python experiments/study.py                   train what is missing, print all claims
    python experiments/study.py --claims a,g      some of them
    python experiments/study.py --page            print from what is trained, train nothing

Three targets, seven sources, ten seeds (800 to 809) on which nothing was chosen. The recipe is that
of toy/t5/recipe.json, which experiments/search.py chose on seeds 100 to 104. Each seed has a source
prompt of its own, so that a test counts how much source prompts differ, too. A run keeps the best
of its checkpoints by one part of dev, and is scored on the other.

A gain is a difference of two scores, seed by seed, in points of a percentage: mean ± standard
deviation over the seeds. Its p is that of a paired t-test. A star: p below 5 % after Holm's
correction for all tests of the table.

Tables go to standard output, progress to standard error. Flags of train.py may follow: with
--target toy-cb --seeds 3 --steps 10 --out runs/try it is a short trial.
"""

import argparse
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
from experiments import pictures
from model import pad
from plumbing import files, options
from plumbing.prompt_files import checksum
from plumbing.report import TEACHERS, by_run, markdown, of_teachers
from plumbing.run_files import RunDirectory, key_of
from plumbing.stats import (differences, holm, mean_permutation_p, number, paired_p, plus_minus,
                            spearman)
from toy import world

RELATED = {"toy-cb": "toy-nli", "toy-qnli": "toy-nli", "toy-reviews": "toy-sst2"}
SOURCES = "toy-nli,toy-rte,toy-boolq,toy-qqp,toy-sst2,toy-cola,toy-ner"
FLAGS = ["--out", "runs/study", "--target", ",".join(RELATED), "--source", SOURCES,
         "--first-seed", "800", "--seeds", "10"]
PLAIN = ("prompt", "")
MATCHED = "hidden"  # the distance of the claims that have time for one
LABELS = (32, 0)  # 0: all of the first target's, toy-cb's 250
STEPS = (100, 400)
FEW = 32  # labels
TUNING_SEEDS = range(300, 303)  # for kd_lambda and temperature
LAMBDAS = (0.3, 1.0, 3.0, 10.0)
TEMPERATURES = {"kl": (1.0, 2.0, 4.0)}  # of the distances that have one


# ------------------------------------------------------------------------- training


class NotTrained(Exception):
    """A training whose results are not all there."""


class ReadOnly(RunDirectory):
    """A run directory in which nothing is trained."""

    def lock(self):
        """The RunDirectory that this one stands for has the lock."""

    def find_all(self, title, configs, file, read):
        results, state = super().find_all(title, configs, file, read)
        if None in results:
            raise NotTrained(title)
        return results, state


@dataclasses.dataclass
class Study:
    """What all claims share."""

    ctx: train.Context
    sources: list
    targets: list  # their names
    seeds: list
    tasks: dict = dataclasses.field(default_factory=dict)  # (name, labelled) -> EncodedTask

    def task(self, name, labelled=0):
        key = (name, labelled)
        if key not in self.tasks:
            recipe = dataclasses.replace(self.ctx.recipe, labelled=labelled)
            self.tasks[key] = data.encode(name, self.ctx.tokenizer, recipe)
        return self.tasks[key]

    def source_prompts(self, name):
        """The source's prompts (P, D), one for each seed."""
        task = self.task(name)
        steps = self.ctx.recipe.source_steps
        runs = [train.Run("source", "", seed, steps, train.fresh_prompt(self.ctx, task, seed))
                for seed in self.seeds]
        results = train.train_prompts(self.ctx, task, runs, f"source {name}")
        return [result.best for result in results]

    def with_all_sources(self):
        return [Target(self, name, self.sources) for name in self.targets]

    def with_related_source(self, **changes):
        return [Target(self, name, [RELATED[name]], **changes) for name in self.targets]


class Target:
    """The runs on one target: (approach, source) -> a Result for each seed.

    Begins with plain prompt tuning, and prompt transfer from each of the sources. changes: of the
    recipe. What was trained before, for another claim, is read from the run directory.
    """

    def __init__(self, study, name, sources, **changes):
        recipe = dataclasses.replace(study.ctx.recipe, **changes)
        self.ctx = dataclasses.replace(study.ctx, recipe=recipe)
        self.study = study
        self.name = name
        self.task = study.task(name, recipe.labelled)
        self.seeds = study.seeds
        self.fresh = [train.fresh_prompt(self.ctx, self.task, seed) for seed in self.seeds]
        self.starts = {source: study.source_prompts(source) for source in sources}
        self.results = {}
        pots = {("pot", source): starts for source, starts in self.starts.items()}
        self.tune({PLAIN: self.fresh} | pots)

    def train(self, runs, distance="kl", suffix=""):
        """Train runs of equally many steps in one bank. suffix: to the name of their approach."""
        title = f"{self.name} {runs[0].approach}{suffix}"
        results = train.train_prompts(self.ctx, self.task, runs, title, distance)
        for run, result in zip(runs, results):
            of_seeds = self.results.setdefault((run.approach + suffix, run.source), [])
            of_seeds.append(result)

    def tune(self, starts, times=1):
        """Prompt tuning, of `times` the steps; starts: (approach, source) -> one for each seed."""
        steps = times * self.ctx.recipe.steps
        runs = []
        for (approach, source), of_seeds in starts.items():
            runs += [train.Run(approach, source, seed, steps, start)
                     for seed, start in zip(self.seeds, of_seeds)]
        self.train(runs)

    def teach(self, distance, weights=None, wanted=("panda",), suffix=""):
        """Students of `pot` from each source; with "controls" wanted, of prompt_2x, too.

        weights: source -> the similarity to use, for each seed; default: the measured one.
        """
        weights = weights or self.similarities()
        runs = []
        for i, seed in enumerate(self.seeds):
            similar = {source: of_seeds[i] for source, of_seeds in weights.items()}
            best = {key: of_seeds[i].best for key, of_seeds in self.results.items()}
            runs += train.students(self.ctx.recipe, distance, wanted, seed, self.fresh[i],
                                   similar, best)
        self.train(runs, distance, suffix)

    def add_controls(self):
        """Plain prompt tuning at the cost of a student, and students without a source."""
        for times in (2, 3):
            self.tune({(f"prompt_{times}x", ""): self.fresh}, times)
        for distance in distances(self.study):
            self.teach(distance, wanted=("panda", "controls"))
        if "labels" in distances(self.study):
            with teachers_who_know_the_labels():
                self.train([train.Run("no_teacher_labels", "", seed, self.ctx.recipe.steps, start,
                                      ((start, self.ctx.recipe.kd_lambda),))
                            for seed, start in zip(self.seeds, self.fresh)], "labels")

    def measures(self, source):
        """All measures of the source's prompt and the plain prompt, for each seed.

        They take half a second each, and are kept in <out>/similarity.
        """
        measures = []
        for start, plain, seed in zip(self.starts[source], self.results[PLAIN], self.seeds):
            key = key_of([checksum(start), checksum(plain.best), source, self.task.fingerprint,
                          seed, list(transferability.MEASURES)])
            path = self.ctx.run_directory.out / "similarity" / f"{key}.json"
            if not path.exists():
                probe = train.probe(self.ctx, self.study.task(source), self.task, seed)
                files.write_json(path, transferability.all_measures(start, plain.best, probe))
            measures.append(files.read_json(path))
        return measures

    def similarities(self):
        """source -> what weighs its students, for each seed."""
        return {source: [train.similarity(self.ctx.recipe, measures)
                         for measures in self.measures(source)] for source in self.starts}

    def scores(self, approach, source=""):
        """For each seed. source: its name, "related", "worst" for pot, or the "mean" of all."""
        if source == "mean":
            of_sources = [self.scores(approach, name) for name in self.starts]
            return [statistics.mean(of_seed) for of_seed in zip(*of_sources)]
        if source == "related":
            source = RELATED[self.name]
        if source == "worst":
            source = min(self.starts, key=self.pot_score)
        return [result.score for result in self.results[approach, source]]

    def pot_score(self, source):
        """At the end, the mean over the seeds."""
        return statistics.mean(self.scores("pot", source))

    def early_pot_score(self, source):
        """On the part of dev to choose by, after the first epoch."""
        epoch = len(self.task.inputs) / self.ctx.recipe.batch
        return statistics.mean(early_score(result.curve, epoch)
                               for result in self.results["pot", source])

    def gains(self, approach, source):
        """Over plain prompt tuning, for each seed."""
        return differences(self.scores(approach, source), self.scores(*PLAIN))


@contextlib.contextmanager
def teachers_who_know_the_labels():
    """In here a teacher of label scores says the right label: cross-entropy over the labels."""
    def right_label(teachers, batch, index):
        scores = []
        for row in batch.rows:
            target = pad([row.target, *teachers.labels.tolist()])[0].to(teachers.labels)
            is_right = (teachers.labels == target[:teachers.labels.shape[1]]).all(1)  # (L,)
            scores.append(torch.where(is_right, 0.0, -30.0)[None])  # (1, L)
        return scores

    with unittest.mock.patch.object(distill.Teachers, "states_of", right_label):
        yield


def distances(study):
    return options.names(study.ctx.recipe.kd)


# --------------------------------------------------------------------------- tables


def p_value(gains):
    """Of the paired t-test. Of fewer than three seeds 1: they show nothing."""
    return paired_p(gains) if len(gains) > 2 else 1.0


def star(p):
    return " *" if p < 0.05 else ""


def starred(gains):
    """{key: gains by seed} -> {key: text}, with a star after Holm's correction for all of them.

    >>> starred({"a": [1.0, 2.0, 3.0], "b": [6.0, 6.1, 6.2]})
    {'a': '+2.0 ± 1.0', 'b': '+6.1 ± 0.1 *'}
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


def comparisons(targets, pairs):
    """Lines of a table: a row for each pair of arguments of Target.scores, first minus second.

    The test of a row is of the mean over the targets: one number for each seed.
    """
    rows = []
    ps = []
    for pair in pairs:
        first, second = pair
        gains = [differences(target.scores(*first), target.scores(*second)) for target in targets]
        gains.append([statistics.mean(of_seed) for of_seed in zip(*gains)])
        names = [" ".join(each).strip() for each in pair]
        rows.append(names + [plus_minus(each, "+") for each in gains])
        ps.append(p_value(gains[-1]))
    header = ["first", "minus second", *names_of(targets), "mean", "p", "after Holm"]
    return markdown((header, with_ps(rows, ps)))


def names_of(targets):
    return [target.name for target in targets]


def early_score(curve, epoch):
    """A seed's dev score after the first epoch; the first one of a run that ends before that."""
    later = [score for step, score in curve if step >= epoch]
    return later[0] if later else curve[0][1]


# --------------------------------------------------------------------------- claims
# Each trains what it needs and returns lines. Its docstring is printed above them.


def related(study):
    """## a. Transfer and PANDA from the related source, at equal cost

    "Related": toy-nli for toy-cb and toy-qnli, toy-sst2 for toy-reviews. With all that it needs, a
    student costs three times the steps of plain prompt tuning, as prompt_3x and self_* do. pot
    costs its source prompt and as many steps as prompt. no_teacher_labels: the loss `labels` with
    the right label in the place of a teacher's scores.
    """
    return against_controls(study, study.with_related_source())


def few_labels(study):
    """## h. The same with 32 labels

    As (a), but only 32 training examples, drawn by the seed, keep their labels.
    """
    return against_controls(study, study.with_related_source(labelled=FEW))


def against_controls(study, targets):
    """Lines: all scores, and transfer and PANDA less their controls."""
    for target in targets:
        target.add_controls()
    pot = ("pot", "related")
    twice = ("prompt_2x",)
    thrice = ("prompt_3x",)
    approaches = [PLAIN, twice, thrice, pot]
    pairs = [(pot, PLAIN), (pot, twice), (pot, thrice)]
    students = [(f"panda_{distance}", "related") for distance in distances(study)]
    for student, distance in zip(students, distances(study)):
        control = (f"self_{distance}",)
        approaches += [student, control]
        pairs += [(student, other) for other in (PLAIN, thrice, control, pot)]
    pairs += itertools.combinations(students, 2)
    if "labels" in distances(study):
        no_teacher = ("no_teacher_labels",)
        approaches.append(no_teacher)
        pairs += [(no_teacher, PLAIN), (("panda_labels", "related"), no_teacher)]
    rows = []
    for approach in approaches:
        scores = [plus_minus(target.scores(*approach)) for target in targets]
        rows.append([" ".join(approach).strip(), *scores])
    scores_table = markdown((["score", *study.targets], rows))
    return scores_table + [""] + comparisons(targets, pairs)


def all_sources(study):
    """## b. The same from each source

    Gain over plain prompt tuning. The best and the worst source are known afterwards, so they have
    no test. Last table: the mean over the sources; "related" as above.
    """
    targets = study.with_all_sources()
    approaches = ["pot"]
    for distance in distances(study):
        approaches.append(f"panda_{distance}")
        for target in targets:
            target.teach(distance)
    lines = []
    means = {}  # (approach, target) -> source -> mean gain
    for approach in approaches:
        gains = {}
        for target, source in itertools.product(targets, study.sources):
            of_seeds = target.gains(approach, source)
            gains[source, target.name] = of_seeds
            of_sources = means.setdefault((approach, target.name), {})
            of_sources[source] = statistics.mean(of_seeds)
        lines += markdown(sources_table(study, approach, gains, means)) + [""]
    pictures.sources(means, study.ctx.run_directory.out)
    pairs = [((approach, "mean"), PLAIN) for approach in approaches]
    pairs += [((student, "mean"), ("pot", "mean")) for student in approaches[1:]]
    pairs += [((approach, "related"), (approach, "mean")) for approach in approaches]
    return lines + comparisons(targets, pairs)


def sources_table(study, approach, gains, means):
    """(header, rows): a row for each source, a column for each target; then best, worst and mean.

    gains: (source, target) -> by seed; means: (approach, target) -> source -> mean gain.
    """
    texts = starred(gains)
    rows = [[source, *[texts[source, name] for name in study.targets]]
            for source in study.sources]
    best = ["best source"]
    worst = ["worst source"]
    mean = ["mean over the sources"]
    for name in study.targets:
        of_sources = means[approach, name]
        ranked = sorted(of_sources, key=of_sources.get)
        worst.append(f"{number(of_sources[ranked[0]], '+')} {ranked[0]}")
        best.append(f"{number(of_sources[ranked[-1]], '+')} {ranked[-1]}")
        mean.append(number(statistics.mean(of_sources.values()), "+"))
    return [f"{approach} from", *study.targets], [*rows, best, worst, mean]


def labels_and_steps(study):
    """## c. Fewer labels, more steps

    From the related source. Gain over plain prompt tuning with as many labels and steps. However
    few labels a run has, its checkpoint is chosen on the same part of dev.
    """
    name = study.targets[0]
    approaches = ["pot", f"panda_{MATCHED}"]
    plain = {}
    gains = {}
    for labelled, steps in itertools.product(LABELS, STEPS):
        target = Target(study, name, [RELATED[name]], labelled=labelled, steps=steps)
        target.teach(MATCHED)
        count = labelled or len(target.task.inputs)
        plain[count, steps] = plus_minus(target.scores(*PLAIN))
        for approach in approaches:
            gains[count, steps, approach] = target.gains(approach, "related")
    pictures.labels(gains, study.ctx.run_directory.out)
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
    "panda_raw" is not. The first epoch of a target that is longer than a run: its first checkpoint.
    """
    targets = study.with_all_sources()
    measured = {}  # (target, source) -> all measures for each seed
    for target, source in itertools.product(targets, study.sources):
        measured[target.name, source] = target.measures(source)
    rows = []
    ps = []
    scores_of = {"after the first epoch": Target.early_pot_score, "at the end": Target.pot_score}
    for measure, when in itertools.product(transferability.MEASURES, scores_of):
        pairs = []
        for target in targets:
            similar = []
            for source in study.sources:
                of_seeds = [of_seed[measure] for of_seed in measured[target.name, source]]
                similar.append(statistics.mean(of_seeds))
            scores = [scores_of[when](target, source) for source in study.sources]
            pairs.append((similar, scores))
        correlations = [spearman(*pair) for pair in pairs]
        correlations.append(statistics.mean(correlations))
        rows.append([measure, when] + [number(each, "+", 2) for each in correlations])
        ps.append(mean_permutation_p(pairs))
    header = ["measure", "pot's score", *study.targets, "mean", "p", "after Holm"]
    return markdown((header, with_ps(rows, ps)))


def weights(study):
    """## e. Does the weight protect from a bad source?

    The weight by similarity beside two others: "fixed", 1 for every source (`--similarity none`),
    and "moved", by the similarity of the next source in the list: as strong in all, but of another
    source. "worst": the source whose pot has the lowest score on a target.
    """
    targets = study.with_all_sources()
    for target in targets:
        measured = target.similarities()
        following = study.sources[1:] + study.sources[:1]
        fixed = {source: [1.0] * len(study.seeds) for source in study.sources}
        moved = {source: measured[other] for source, other in zip(study.sources, following)}
        target.teach(MATCHED)
        target.teach(MATCHED, fixed, suffix=" fixed")
        target.teach(MATCHED, moved, suffix=" moved")
    student = f"panda_{MATCHED}"
    pairs = []
    for which in ("worst", "mean"):
        others = [(f"{student} fixed", which), (f"{student} moved", which), PLAIN]
        pairs += [((student, which), other) for other in others]
    return comparisons(targets, pairs)


def tuning(study):
    """## f. Lambda and temperature

    From the related source, on three other seeds, so without a test: gain over plain prompt tuning.
    Lambda is in units of the distance.
    """
    study = dataclasses.replace(study, seeds=TUNING_SEEDS[:len(study.seeds)])
    rows = []
    for distance in distances(study):
        temperatures = TEMPERATURES.get(distance, (1.0,))
        for kd_lambda, temperature in itertools.product(LAMBDAS, temperatures):
            means = []
            for target in study.with_related_source(kd_lambda=kd_lambda, temperature=temperature):
                target.teach(distance)
                means.append(statistics.mean(target.gains(f"panda_{distance}", "related")))
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
    for target in study.with_related_source():
        target.add_controls()
        for (approach, source), results in target.results.items():
            taught = [result for result in results if result.teacher_accuracy is not None]
            if taught:
                runs.append({
                    "approach": approach, "source": f"{source} to {target.name}".strip(),
                    "teacher_accuracy": [result.teacher_accuracy for result in taught],
                    "losses": [result.losses for result in taught]})
    return markdown(by_run(runs, TEACHERS, of_teachers))


CLAIMS = {"a": related, "b": all_sources, "c": labels_and_steps, "d": ranking, "e": weights,
          "f": tuning, "g": gradients, "h": few_labels}


# -------------------------------------------------------------------------- command


def open_study(args, page):
    """The Study of train.py's arguments; page: whether it trains nothing."""
    for target in args.target:
        options.check("target", target, choices=tuple(RELATED))
        if RELATED[target] not in args.source:
            raise ValueError(f"--source lacks {RELATED[target]}, which is related to {target}")
    ctx = train.open_context(args)
    if page:
        ctx = dataclasses.replace(ctx, run_directory=ReadOnly(args.out, shipped=world.PROMPTS))
    return Study(ctx, args.source, args.target, args.seeds)


def main(argv=None):
    parser = options.Parser(description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", default=",".join(CLAIMS), help="comma-separated (default: all)")
    parser.add_argument("--page", action="store_true", help="train nothing")
    own, flags = parser.parse_known_args(argv)
    claims = options.names(own.claims)
    for name in claims:
        options.check("claims", name, choices=tuple(CLAIMS))
    with contextlib.redirect_stdout(sys.stderr):
        study = open_study(train.parse_arguments(FLAGS + flags), own.page)
    for name in claims:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                lines = CLAIMS[name](study)
        except NotTrained as title:
            lines = [f"Not trained yet: {title}"]
        print(inspect.cleandoc(CLAIMS[name].__doc__), "", *lines, "", sep="\n", flush=True)


if __name__ == "__main__":
    options.run(main, "study.py")
