"""The whole method from one command: prompt tuning, transfer, PANDA, and a report.

    python train.py                                        the toy world, about two minutes
    python train.py --source mnli --target cb --model t5-base --data FOLDER

First each source prompt is tuned on its source task (`source`). Then these approaches run on each
target. A name with _kl stands for one name for each distance in --kd (distill.DISTANCES).

    prompt        plain prompt tuning: a fresh prompt
    pot           prompt transfer: starts from a source prompt
    prompt_2x     control: a fresh prompt with twice the steps
    prompt_3x     control: a fresh prompt with three times the steps. A student costs as much,
                  because it needs a `prompt` for its similarity and a `pot` as its teacher
    panda_kl      a student: a fresh prompt that learns from the labels and from its `pot`, weighted
                  by the similarity of the source prompt and `prompt`
    self_kl       control: a student without a source. Its teacher is `prompt_2x`. It has no
                  similarity, so its weight is lambda
    pot_early     on request (fusion): `pot` from the average of the source prompts
    early_kl      on request (fusion): the student of `pot_early`
    late_kl       on request (fusion): a student with the `pot` of every source as a teacher; the
                  weights of these teachers sum to lambda
    finetune      on request: model tuning, that is, training all weights of T5

A *run* is the training of one prompt. A *training* is several runs on one task, trained together in
a bank. A seed decides the order of the examples and the start of a fresh prompt. Both are the same
for all approaches, so that none has better luck. Each source has one prompt, of seed 0, from which
the `pot` of every seed starts. A run is trained again only if something that decides its result has
changed. Two runs that agree in all of this share one result, even if their approaches differ.

Begin at `train`. plumbing/engine.py carries out a step: batches by length, precision, several
processes, CUDA graphs. plumbing/run_files.py holds what is written to disk.

Dimensions: B batch, S source, T target tokens, P prompt length, D model, N prompts in a bank.
"""

import dataclasses
import functools
import random
from pathlib import Path

import torch

import data
import distill
import model
import prompt
import transferability
from model import pad, shift_right
from plumbing import files, options, processes, report
from plumbing.download import model_folder
from plumbing.engine import DTYPES, Engine, choose_device, choose_dtype
from plumbing.options import option
from plumbing.optimizer import of_prompts, set_rate
from plumbing.prompt_files import checksum
from plumbing.run_files import Result, RunDirectory, key_of
from prompt import NoPrompt, PromptBank, Row, collate, count
from toy import world

# -------------------------------------------------------------------- the recipe

LESTER = "Lester et al. 2021, section 3"
STARTS = ("uniform", "vocabulary", "labels")
APPROACHES = ("prompt", "pot", "panda", "controls", "fusion", "finetune")


def is_start(how):
    """Whether --init names a text or a trained prompt."""
    return how.startswith("text:") or (how != "" and options.path_flag(how).exists())


def are_distances(kd):
    """Whether --kd names one distance or several."""
    names = options.names(kd)
    return bool(names) and set(names) <= set(distill.DISTANCES)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The numbers of the recipe: their defaults, meanings, sources and ranges.

    Precedence: flag, the model's recipe.json, default. The defaults are those of Lester et al. if
    their paper has the number. `init` is an exception (docs/papers.md). Numbers inside an
    optimiser, such as Adafactor's 0.8, are in plumbing/optimizer.py.
    """

    # free: whether another value than the choices is good; words: how --help describes such values.
    length: int = option(100, f"vectors in a prompt ({LESTER}: 100; little gain beyond 20)",
                         at_least=1, at_most=1e4)
    init: str = option("vocabulary", "start of a fresh prompt (Lester et al. 2021, section 3.2)",
                       choices=STARTS, free=is_start, words=", text:SOME WORDS, or a trained "
                       "prompt: a folder of ours or of PEFT, a .npy or a .pt file")
    # Adafactor for prompts (plumbing/optimizer.py) is not torch's, which multiplies lr by the size
    # of a tensor, and so takes small steps where the tensor is small. Here the step's root mean
    # square is at most lr, for each prompt by itself. Its weight_decay is not multiplied by lr;
    # that of adamw, which is torch's, is.
    optimizer: str = option("adafactor", f"optimiser of prompts ({LESTER}: adafactor; PANDA's "
                            "code: adamw)", choices=("adafactor", "adamw"))
    lr: float = option(0.3, f"learning rate of prompts ({LESTER}: 0.3)", above=0, at_most=1e3)
    schedule: str = option("constant", f"schedule of the learning rate ({LESTER}: constant; cosine "
                           "goes down to 0)", choices=("constant", "cosine"))
    weight_decay: float = option(1e-5, f"weight decay of prompts ({LESTER}: 1e-5)",
                                 at_least=0, at_most=1)
    steps: int = option(30000, f"training steps on the target ({LESTER}: 30,000)",
                        at_least=1, at_most=1e8)
    source_steps: int = option(30000, "training steps of a source prompt", at_least=1, at_most=1e8)
    batch: int = option(32, f"examples in a step of each prompt ({LESTER}: 32)",
                        at_least=1, at_most=1e5)
    kd: str = option("kl,hidden", "PANDA's distances, one or more, comma-separated",
                     choices=tuple(distill.DISTANCES), free=are_distances)
    kd_lambda: float = option(1.0, "weight of PANDA's distance, before the similarity multiplies "
                              "it, in units of the distance's scale (distill.DISTANCES)",
                              at_least=0, at_most=1e6)
    temperature: float = option(1.0, "temperature of the distances kl and labels",
                                above=1e-3, at_most=1e3)
    similarity: str = option("panda", "measure that weighs PANDA's distance; none: the "
                             "similarity is 1 for every source",
                             choices=(*transferability.MEASURES, "none"))
    probe: int = option(100, "how many inputs of a source and of a target the measures of transfer "
                        "read", at_least=1, at_most=1e5)
    dropout: float = option(0.0, "dropout in the frozen T5 while a prompt is trained (0 in Lester "
                            "et al.'s code, 0.1 in PANDA's)", at_least=0, at_most=0.9)
    evals: int = option(20, "how many times a run is scored on dev; the best checkpoint is kept",
                        at_least=1, at_most=1e5)
    held_out: float = option(0.0, "share of dev used only for the reported score, not to choose a "
                             "checkpoint; 0: all of dev for both, as in the papers",
                             at_least=0, below=1)
    max_input: int = option(512, "most tokens of an input; a longer one loses the end of its long "
                            "part (a premise)", at_least=2)
    max_dev: int = option(0, "number of dev examples used, evenly spaced over the file; 0: all",
                          at_least=0)
    labelled: int = option(0, "number of training examples of a target that keep their labels, "
                           "drawn by the seed, not balanced; 0: all", at_least=0, at_most=1e6)
    finetune_lr: float = option(1e-3, "learning rate of `finetune` (Lester et al. 2021, section "
                                "3.1: 0.001)", above=0, at_most=10)
    finetune_dropout: float = option(0.1, "dropout of `finetune` (T5's own: Raffel et al. 2020, "
                                     "section 3.1.1)", at_least=0, at_most=0.9)


# --quick: other defaults, for a first look at a real task. Without --seeds it also means one seed.
QUICK = {"length": 10, "batch": 4, "steps": 10, "source_steps": 10, "evals": 2, "max_dev": 10,
         "probe": 10}
# The fields of the recipe that decide the result of a prompt, besides its model, examples, start,
# teachers, seed and steps (configs_of). Then the same for a T5 that `finetune` has tuned.
DECIDE_A_PROMPT = ("length", "optimizer", "lr", "schedule", "weight_decay", "batch", "dropout",
                   "evals", "held_out")
DECIDE_A_TUNED_T5 = ("batch", "evals", "held_out", "finetune_lr", "finetune_dropout")


@dataclasses.dataclass(frozen=True)
class Context:
    """What all trainings of one command share."""

    engine: Engine  # with the frozen T5
    tokenizer: data.Tokenizer
    folder: Path  # of the T5
    name: str  # of the T5, as the user gave it
    dtype: str
    recipe: Recipe
    run_directory: RunDirectory
    sources: dict  # name -> EncodedTask
    targets: dict

    @property
    def t5(self):
        return self.engine.t5

    @property
    def fingerprint(self):
        return f"{self.t5.fingerprint}-{self.tokenizer.fingerprint}"


@dataclasses.dataclass(frozen=True)
class Run:
    """One prompt to be trained. Without a start: all weights of T5."""

    approach: str
    source: str  # "" for none
    seed: int
    steps: int
    start: torch.Tensor = None  # (P, D)
    teachers: tuple = ()  # pairs of (prompt (P, D), weight), the weight being lambda * similarity

    @property
    def name(self):
        return " ".join(filter(None, [self.approach, self.source, f"seed {self.seed}"]))


# ------------------------------------------------------------------------ a training


@dataclasses.dataclass
class Training:
    """N runs with the same number of steps on one task, and all that trains them."""

    task: data.EncodedTask
    runs: list
    engine: Engine
    bank: object  # a PromptBank with a prompt for each run, or NoPrompt around the T5
    optimizer: torch.optim.Optimizer
    lr: float
    schedule: str
    distance: str  # of distill.DISTANCES


def train(training, recipe, journal, state=None):
    """Train the N prompts of a bank together, each as if it were alone.

    journal: a plumbing.run_files.Journal, which stores the step, losses, scores and the best
    checkpoint of each run. Its `steps` restores bank, optimiser and scaler (the loss scale of fp16)
    from `state`, what a stopped training has saved, and yields the steps that are left. After each
    evaluation and every minute it saves the three with all that it stores. Nothing else is needed
    to resume, because seed and step decide which examples a step visits. Returns what
    `teacher_accuracies` returns.
    """
    task = training.task
    engine = training.engine
    bank = training.bank
    distance = distill.DISTANCES[training.distance]
    labels = task.label_tensor(engine.device)
    teachers = distill.Teachers(
        engine.t5, [run.teachers for run in training.runs], distance, labels)
    precompute(training, teachers, recipe.batch)

    def batch_loss(rows, counts, term="total"):
        batch = collate(rows, engine.multiple, bank.length).to(engine.device)
        embedded, mask = bank.prepend(engine.t5.embed(batch.ids), batch.mask, batch.index)
        memory, logits = engine.forward(embedded, mask, shift_right(batch.targets))
        outputs = distill.Outputs(memory, logits)
        if distance.compares == "labels":
            outputs.label_scores = engine.t5.score_labels(memory, mask, labels)
        terms = distill.loss(
            outputs, batch, counts, teachers.targets(batch), distance, recipe.temperature)
        return getattr(terms, term).sum(), terms.of_each_prompt(batch.index, len(bank))

    for step in journal.steps(state, bank=bank, optimizer=training.optimizer, scaler=engine.scaler):
        set_rate(training.optimizer, training.schedule, training.lr, step, journal.total)
        rows = step_rows(training, step, recipe.batch)
        loss_of = functools.partial(batch_loss, counts=count(rows, bank))
        is_scored = journal.is_due(step)
        is_noted = is_scored or step == 0
        if is_noted:
            cosines = gradient_cosines(training, loss_of, rows, step)
        # Computes the gradient of each prompt, in micro-batches. Returns CE and KD of each prompt,
        # (2, N). With dropout, T5 is in train() mode only here, and `step` is the random seed.
        losses = engine.backward(loss_of, rows, step, bank)
        engine.update(training.optimizer)  # the optimiser's step; then the gradients are cleared
        if is_noted:
            ce, kd = losses.tolist()
            journal.record_losses(step, ce, kd, cosines)
        if is_scored:
            journal.record_scores(step, dev_scores(training), bank.snapshot)
    return teacher_accuracies(training, teachers, recipe.batch)


def step_rows(training, step, batch):
    """The rows of a step: `batch` examples for each run; the run's seed decides which ones."""
    task = training.task
    rows = []
    for n, run in enumerate(training.runs):
        examples = task.at_step(run.seed, step, batch)
        rows += [Row(n, i, task.inputs[i], task.targets[i]) for i in examples]
    return rows


def dev_scores(training):
    """Each run's score, in percent, on the dev examples by which a checkpoint is chosen."""
    task = training.task
    metrics = data.dev_metrics(training.engine, training.bank, task, task.choose)
    return [of_run[task.task.metrics[0]] for of_run in metrics]


def gradient_cosines(training, loss_of, rows, step):
    """For each run the cosine of the gradients of CE and of weighted KD; None without a teacher.

    Near 1, both pull the prompt in the same direction, so KD adds little. (At the first steps it is
    near 1 for kl even if the labels are wrong: docs/one-step.md.) It costs two more backward
    passes.
    """
    if not any(run.teachers for run in training.runs):
        return [None] * len(training.runs)
    gradients = []
    for term in ("ce", "weighted_kd"):
        term_of = functools.partial(loss_of, term=term)
        training.engine.backward(term_of, rows, step, training.bank)
        gradients.append(training.bank.prompts.grad)  # (N, P, D)
        training.bank.prompts.grad = None
    return [transferability.cosine(ce, kd) if run.teachers else None
            for run, ce, kd in zip(training.runs, *gradients)]


# --------------------------------------------------------------- the teachers' answers


def precompute(training, teachers, batch):
    """Before the first step, run each teacher once on the examples that its student will visit."""
    task = training.task
    engine = training.engine
    rows = []
    for run, numbers in zip(training.runs, teachers.of_student):
        examples = task.labelled_examples(run.seed)
        if run.steps * batch < len(examples):  # the student will visit only a part of them
            examples = []
            for step in range(run.steps):
                examples += task.at_step(run.seed, step, batch)
        for k in numbers:
            rows += [Row(k, i, task.inputs[i], task.targets[i]) for i in examples]

    def cache(rows):
        teachers.precompute(collate(rows).to(engine.device))

    engine.for_each(cache, rows, training.bank.length)


def teacher_accuracies(training, teachers, batch, most=200):
    """How many of a run's first labelled examples its teachers answer right, in percent.

    For each run the mean over its teachers, or None if it has no teacher.
    """
    task = training.task
    accuracies = []
    for run, numbers in zip(training.runs, teachers.of_student):
        if not numbers:
            accuracies.append(None)
            continue
        count = min(most, run.steps * batch)  # no more than its student reads in all steps
        examples = task.labelled_examples(run.seed)[:count]
        rows = [Row(k, i, task.inputs[i]) for k in numbers for i in examples]
        texts = data.answers(training.engine, teachers.bank, task, rows)
        right = [text == task.tokenizer.decode(task.targets[row.example])
                 for text, row in zip(texts, rows)]
        accuracies.append(100 * sum(right) / len(right))
    return accuracies


# ------------------------------------------------------------------ runs and their results


def fresh_prompt(ctx, task, seed):
    """A fresh prompt (P, D) of a task for a seed. With --init text or file all seeds start alike.

    The task's name and the seed decide what is drawn. With the seed alone, a source prompt and a
    target prompt would start from the same vectors, and would look similar for that reason only.
    """
    recipe = ctx.recipe
    embedding = ctx.t5.shared.weight
    how, _, text = recipe.init.partition(":")
    if how not in (*STARTS, "text"):
        shape = recipe.length, embedding.shape[1]
        return prompt.from_file(recipe.init, ctx.fingerprint, shape)
    drawn = random.Random(f"start {task.name} {seed}").getrandbits(48)
    labels = [ids[:-1] for ids in task.labels]  # without eos
    text_ids = ctx.tokenizer.encode(text)[:-1]
    pieces = ctx.tokenizer.pieces
    return prompt.initialise(how, embedding, recipe.length, drawn, pieces, labels, text_ids)


def configs_of(ctx, task, runs, distance):
    """For each run a dict of all that decides its result, and nothing else.

    With dropout or fp16 this includes the other runs in its bank: dropout is drawn for a whole
    batch, and in fp16 an overflow skips the step of all runs. (Rounding always depends on the other
    runs; it is not counted here.)
    """
    recipe = ctx.recipe
    configs = []
    for run in runs:
        config = {"model": ctx.fingerprint, "dtype": ctx.dtype, "task": task.name,
                  "examples": task.fingerprint, "seed": run.seed, "steps": run.steps}
        names = DECIDE_A_TUNED_T5 if run.start is None else DECIDE_A_PROMPT
        config.update({name: getattr(recipe, name) for name in names})
        if run.start is not None:
            config["start"] = checksum(run.start)
        if run.teachers:
            config["distance"] = distance
            config["temperature"] = recipe.temperature
            config["teachers"] = [[checksum(teacher), weight] for teacher, weight in run.teachers]
        configs.append(config)
    # Micro-batches and processes draw dropout each by themselves. So the largest size of a
    # micro-batch counts as well (engine.tokens, of --tokens), and the number of processes.
    dropout = recipe.finetune_dropout if runs[0].start is None else recipe.dropout
    if dropout or ctx.dtype == "fp16":
        beside = key_of([configs, ctx.engine.tokens, processes.size()])
        configs = [config | {"beside": beside} for config in configs]
    return configs


def read_prompt(folder, made_by):
    """The Result of a prompt that was trained before."""
    vectors, _ = prompt.load(folder)
    return Result(**made_by["result"], folder=folder, best=vectors)


def read_tuned(folder, made_by):
    """The Result of a T5 that was tuned before."""
    return Result(**made_by["result"], folder=folder)


def train_prompts(ctx, task, runs, title, distance="kl"):
    """Train, in one bank, the runs that have no result yet. Returns a Result for each run."""
    recipe = ctx.recipe
    configs = configs_of(ctx, task, runs, distance)
    # Results that are in --out, or in toy/prompts (two source prompts that come with the code, for
    # the toy recipe), and the state of a stopped training.
    results, state = ctx.run_directory.find_all(title, configs, "prompt.json", read_prompt)
    todo = [n for n, result in enumerate(results) if result is None]
    if not todo:
        return results
    bank = PromptBank([runs[n].start for n in todo]).to(ctx.engine.device)
    optimizer = of_prompts(recipe.optimizer, bank.parameters(), recipe.lr, recipe.weight_decay)
    training = Training(task, [runs[n] for n in todo], ctx.engine, bank, optimizer, recipe.lr,
                        recipe.schedule, distance)
    journal = ctx.run_directory.journal(title, configs, todo, training, recipe.evals, state)
    accuracies = train(training, recipe, journal, state)
    for n, result in zip(todo, score_the_best(training, journal, accuracies)):
        results[n] = result
        if result is None:  # it diverged: the others are saved, then `finish` raises
            continue
        result.folder = ctx.run_directory.folder_of(configs[n])
        made_by = about(ctx, task, runs[n], configs[n], result)
        if processes.is_writer():
            prompt.save(result.folder, result.best, made_by, ctx.name, ctx.t5.config)
    journal.finish()
    return results


def tune_model(ctx, task, seed):
    """Model tuning, the baseline: train all weights of a copy of T5 in fp32, without a prompt.

    The loop, the steps, the examples and the choice of the best checkpoint are those of the
    prompts. Lester et al. 2021, section 3.1, use Adafactor at 0.001. Here it is torch's, which also
    multiplies the rate by the size of each tensor, and limits it to 1 / sqrt(step). This limit is
    above 0.001 for a million steps. Returns a Result.
    """
    recipe = ctx.recipe
    title = f"{task.name} finetune seed {seed}"
    run = Run("finetune", "", seed, recipe.steps)
    configs = configs_of(ctx, task, [run], "kl")
    [result], state = ctx.run_directory.find_all(title, configs, "tuned.json", read_tuned)
    if result is not None:
        return result
    t5 = model.load(ctx.folder, torch.float32, ctx.t5.device).requires_grad_(True)
    t5.amp = ctx.t5.amp
    engine = Engine(t5, ctx.engine.tokens, recipe.finetune_dropout)
    bank = NoPrompt(t5)
    optimizer = torch.optim.Adafactor(bank.parameters(), lr=recipe.finetune_lr)
    training = Training(task, [run], engine, bank, optimizer, recipe.finetune_lr, "constant", "kl")
    journal = ctx.run_directory.journal(title, configs, [0], training, recipe.evals, state)
    train(training, recipe, journal, state)
    [result] = score_the_best(training, journal, [None])  # None if it diverged: `finish` raises
    if result is not None and processes.is_writer():
        result.folder = ctx.run_directory.folder_of(configs[0])
        save_tuned(ctx, t5, result.folder, about(ctx, task, run, configs[0], result))
    journal.finish()
    return dataclasses.replace(result, best=None)  # too large to keep for every seed


def save_tuned(ctx, t5, folder, made_by):
    """Write a tuned T5 as a complete folder, with the tokenizer and recipe of the original T5."""
    with files.whole_folder(folder) as new:
        model.save(t5, new)
        files.copy_files(ctx.folder, new, ("spiece.model", "recipe.json"))
        files.write_json(new / "tuned.json", made_by)


def about(ctx, task, run, config, result):
    """The content of prompt.json or tuned.json: what made the result, and what its user needs."""
    fields = ("input", "target", "labels", "codes", "metrics", "cut")
    definition = {field: getattr(task.task, field) for field in fields}
    return {"task": task.name, "definition": definition, "approach": run.approach,
            "source": run.source, "seed": run.seed, "score": result.score,
            "longest_target": task.longest,
            "fingerprint": ctx.fingerprint, "recipe": dataclasses.asdict(ctx.recipe),
            "result": result.to_json(), "config": config}


def score_the_best(training, journal, accuracies):
    """A Result for each run, its best checkpoint scored on the reported examples, once.

    None for a run that diverged. Its best checkpoint is from before that: the start, if there is
    no other.
    """
    task = training.task
    bank = training.bank.holding(journal.progress.best)
    metrics = data.dev_metrics(training.engine, bank, task, task.report)
    return journal.results(training, metrics, accuracies)


# ---------------------------------------------------------------- the approaches


def source_prompt(ctx, task):
    """The prompt (P, D) of a source task, seed 0."""
    run = Run("source", "", 0, ctx.recipe.source_steps, fresh_prompt(ctx, task, 0))
    [result] = train_prompts(ctx, task, [run], f"source {task.name}")
    ctx.run_directory.copy(result.folder, f"sources/{task.name}-0")
    ctx.run_directory.say(f"source {task.name}: {result.score:.1f} on its reported dev examples")
    return result.best


def probe(ctx, source, target, seed):
    """The Probe that the measures of transfer read: at most recipe.probe of the target examples
    that are labelled for this seed, and at most as many inputs of the source."""
    count = ctx.recipe.probe
    examples = target.labelled_examples(seed)[:count]
    ids = pad([target.inputs[i] for i in examples])
    answers = pad([target.targets[i] for i in examples])
    source_ids = pad(source.inputs[:count])
    tensors = [tensor.to(ctx.t5.device) for tensor in (ids, answers, source_ids)]
    return transferability.Probe(ctx.t5, ctx.tokenizer.sentinel(0), *tensors)


def transfer(ctx, target, sources, wanted, seeds):
    """Train all wanted approaches on one target.

    target    its data.EncodedTask
    sources   name -> (its EncodedTask, its prompt (P, D))
    wanted    some of APPROACHES

    Returns (approach, source) -> a list of one Result for each seed, and source -> a list of all
    measures for each seed.
    """
    recipe = ctx.recipe
    fresh = {seed: fresh_prompt(ctx, target, seed) for seed in seeds}
    results = {}

    def run_all(title, runs, distance="kl"):
        found = train_prompts(ctx, target, runs, f"{target.name} {title}", distance)
        for run, result in zip(runs, found):
            results.setdefault((run.approach, run.source), []).append(result)

    # `prompt` always runs, and `pot` runs for every source; `wanted` does not matter here. If it
    # has none of pot, panda and fusion, the command has no sources (options.check_train).
    runs = [Run("prompt", "", seed, recipe.steps, fresh[seed]) for seed in seeds]
    for name, (_, start) in sources.items():
        runs += [Run("pot", name, seed, recipe.steps, start) for seed in seeds]
    run_all("prompts", runs)
    if "controls" in wanted:
        for times in (2, 3):
            runs = [Run(f"prompt_{times}x", "", seed, times * recipe.steps, fresh[seed])
                    for seed in seeds]
            run_all(f"prompts, {times} times the steps", runs)

    # The similarity weighs a student's teacher. Each seed has its own, because it compares the
    # source prompt with this seed's plain target prompt.
    measures = {}
    for name, (source, start) in sources.items():
        measures[name] = []
        for seed, result in zip(seeds, results["prompt", ""]):
            inputs = probe(ctx, source, target, seed)
            measures[name].append(transferability.all_measures(start, result.best, inputs))
    similarities = []  # for each seed source -> similarity
    for i in range(len(seeds)):
        similarities.append({name: similarity(recipe, measures[name][i]) for name in sources})

    if "fusion" in wanted:
        starts = {name: start for name, (_, start) in sources.items()}
        runs = []
        for seed, similar in zip(seeds, similarities):
            fused = distill.fuse(starts, similar, fresh[seed])
            runs.append(Run("pot_early", ",".join(sources), seed, recipe.steps, fused))
        run_all("early fusion", runs)
    for distance in options.names(recipe.kd):
        runs = []
        for i, seed in enumerate(seeds):
            best = {key: of_seeds[i].best for key, of_seeds in results.items()}
            runs += students(recipe, distance, wanted, seed, fresh[seed], similarities[i], best)
        if runs:
            run_all(f"students, {distance}", runs, distance)
    if "finetune" in wanted:
        results["finetune", ""] = [tune_model(ctx, target, seed) for seed in seeds]
    return results, measures


def similarity(recipe, measures):
    """PANDA's similarity, chosen from all measures. Rounded: last bits differ between machines."""
    if recipe.similarity == "none":
        return 1.0
    return round(measures[recipe.similarity], 4)


def students(recipe, distance, wanted, seed, fresh, similar, best):
    """The Runs of one seed's students with one distance.

    fresh     a start (P, D)
    similar   source -> similarity
    best      (approach, source) -> its best checkpoint, a prompt (P, D)

    A teacher whose weight is 0 is left out. A student without a teacher has the same config
    (configs_of) as `prompt`, so it takes that result and is not trained.
    """

    def weight(sim, share=1.0):
        return share * distill.weight(sim, recipe.kd_lambda, distance, recipe.batch)

    def student(approach, source, *teachers):
        teachers = tuple(pair for pair in teachers if pair[1] > 0)
        return Run(f"{approach}_{distance}", source, seed, recipe.steps, fresh, teachers)

    runs = []
    if "panda" in wanted:
        for source, sim in similar.items():
            runs.append(student("panda", source, (best["pot", source], weight(sim))))
    if "fusion" in wanted:
        together = ",".join(similar)
        shares = distill.normalised(similar)
        # The teacher started from the mean prompt; its weight is the mean similarity, with the same
        # shares (distill.fuse).
        mean = sum(shares[source] * similar[source] for source in similar)
        runs.append(student("early", together, (best["pot_early", together], weight(mean))))
        # Here the similarities only divide lambda: a single source gets lambda, not lambda * sim.
        teachers = [(best["pot", source], weight(1.0, shares[source])) for source in similar]
        runs.append(student("late", together, *teachers))
    if "controls" in wanted:
        runs.append(student("self", "", (best["prompt_2x", ""], weight(1.0))))
    return runs


# -------------------------------------------------------------------- the command


def parse_arguments(argv=None):
    """The flags, checked before anything is loaded. Raises ValueError."""
    parser = options.train_parser(__doc__.split("\n")[0], Recipe, APPROACHES)
    args = parser.parse_args(argv)
    of_toy_world = True
    for flag in ("source", "target"):
        if getattr(args, flag) is not None:
            names = [data.own_task(name) for name in options.names(getattr(args, flag))]
            setattr(args, flag, ",".join(names))
            of_toy_world = of_toy_world and not any(data.find_task(name).files for name in names)
    if args.model is None and not of_toy_world:
        raise ValueError("only the toy world's tasks have a default T5: give --model t5-small, "
                         "for example, or a folder (toy/t5 knows few words)")
    args.model = options.model_flag(args.model or world.MODEL)
    quick = QUICK if args.quick else None
    args.recipe, args.origin = options.choose(Recipe, args, args.model, quick)
    # This also fills in source, target, approach and seeds from the model's recipe.json if they
    # were not given. source, target and approach become lists of names, and seeds a range.
    options.check_train(args, Recipe, APPROACHES)
    for name in options.names(args.recipe.kd):
        if distill.DISTANCES[name].compares == "labels":
            check_labels(name, args)
    return args


def check_labels(kd, args):
    """Check that a distance between label scores can be used. Raises ValueError."""
    for name in args.target:
        if not data.find_task(name).labels:
            raise ValueError(f"--kd {kd}: {name} has no labels, its answers are free text")


def open_context(args):
    """Load the T5 and all else that the trainings share. Prints device, T5 and recipe."""
    device, why = choose_device(args.device)
    run_directory = RunDirectory(args.out, args.resume, args.quiet, shipped=world.PROMPTS)
    # Data and vocabulary come before the weights, whose download may take long.
    folder = model_folder(args.model, cache=args.cache, weights=False)
    tokenizer = data.Tokenizer(folder / "spiece.model")
    sources, targets = encode_tasks(args, args.recipe, tokenizer)
    folder = model_folder(args.model, cache=args.cache)
    config = model.Config.read(folder)
    dtype = choose_dtype(device, args.dtype, config)
    if dtype == "fp16" and "finetune" in args.approach:
        raise ValueError("finetune needs --dtype bf16 or fp32: it has not been tried in fp16")
    t5 = model.load(folder, DTYPES[dtype], processes.device(device))
    name = "toy/t5" if folder == world.MODEL else args.model
    engine = Engine(t5, args.tokens, args.recipe.dropout)
    examples = [task.fingerprint for task in (*sources.values(), *targets.values())]
    decides = [t5.fingerprint, dtype, args.recipe, examples, args.seeds, args.approach]
    processes.all_agree(decides, "the T5, the examples or the recipe")
    weights = sum(p.numel() for p in t5.parameters())
    threads = torch.get_num_threads()
    print(f"device {device} ({why}), {dtype}, {threads} threads")
    print(f"T5 {name}, {weights:,} weights, {t5.fingerprint}")
    print(args.origin, flush=True)
    return Context(engine, tokenizer, folder, name, dtype, args.recipe, run_directory, sources,
                   targets)


def encode_tasks(args, recipe, tokenizer):
    """name -> EncodedTask of the sources, and of the targets.

    All are read before anything is trained, so that a missing file is found at once. --labelled
    limits the targets only: a source, even if it is the same task, keeps all its labels.
    """
    with_all_labels = dataclasses.replace(recipe, labelled=0)
    targets = {name: data.encode(name, tokenizer, recipe, args.data, args.cache)
               for name in args.target}
    sources = {}
    for name in args.source:
        if name in targets and not recipe.labelled:
            sources[name] = targets[name]
        else:
            sources[name] = data.encode(name, tokenizer, with_all_labels, args.data, args.cache)
    return sources, targets


def answers_to_show(ctx, target, results, most=300):
    """Answers of the plain prompt and of the best approach's prompt, for the report.

    Both prompts are of the first seed; the examples are the first reported dev examples. Returns
    the best (approach, source), and a list of
    [input, target, answer of the plain prompt, answer of the best].
    """
    means = {}
    for key, of_seeds in results.items():
        if key[0] != "finetune":
            means[key] = sum(result.score for result in of_seeds)
    best = max(means, key=means.get)
    prompts = [results[key][0].best for key in (("prompt", ""), best)]
    bank = PromptBank(prompts).to(ctx.engine.device)
    examples = target.report[:most]
    rows = [Row(0, i, target.dev_inputs[i]) for i in examples]
    rows += [Row(1, i, target.dev_inputs[i]) for i in examples]
    texts = data.answers(ctx.engine, bank, target, rows)
    inputs = [target.dev[i].input for i in examples]
    targets = [target.dev[i].target for i in examples]
    return best, list(zip(inputs, targets, texts[:len(examples)], texts[len(examples):]))


def on_target(ctx, args, target, sources):
    """Train all approaches on one target, and write its report.

    sources: name -> (EncodedTask, prompt). Returns what plumbing/report.py writes.
    """
    print(f"target {target.name}: {len(target.inputs)} training examples, "
          f"{len(target.choose)} dev examples to choose by, {len(target.report)} to report",
          flush=True)
    [alone] = data.dev_metrics(ctx.engine, NoPrompt(ctx.t5), target, target.report)
    promptless = alone[target.task.metrics[0]]
    print(f"majority class {target.majority:.1f}, T5 without a prompt {promptless:.1f}", flush=True)
    results, measures = transfer(ctx, target, sources, args.approach, args.seeds)
    collected = ctx.run_directory.collect(
        ctx, target, list(args.seeds), results, measures, promptless)
    best, answers = answers_to_show(ctx, target, results)
    collected["answers"] = {"of": best, "rows": answers}
    if processes.is_writer():
        folder = report.write(ctx.run_directory.out, collected)
        print(*report.ending(ctx.run_directory.out, folder, collected), sep="\n", flush=True)
    return collected


def main(argv=None):
    args = parse_arguments(argv)
    processes.start(args.split)
    ctx = open_context(args)
    # One turn, with everything. Only if torchrun has started several processes with --split pairs,
    # there are three. First this process trains its share of the sources, and no target. Then it
    # finds all sources trained (train_prompts), and trains its share of the targets. Last, the
    # first process finds everything trained, and writes the grid.
    for some_sources, some_targets in processes.turns(args.source, args.target):
        prompts = {name: source_prompt(ctx, ctx.sources[name]) for name in some_sources}
        reports = []
        for name in some_targets:
            others = {source: (ctx.sources[source], prompts[source])
                      for source in prompts if source != name}
            reports.append(on_target(ctx, args, ctx.targets[name], others))
    if processes.is_writer():
        report.write_grid(ctx.run_directory.out, reports)


if __name__ == "__main__":
    options.run(main, "train.py")
