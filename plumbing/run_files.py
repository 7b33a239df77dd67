"""What a command leaves on disk: results, the state of an unfinished training, a log.

    <out>/log.jsonl                       one JSON object for each evaluation
    <out>/trained/<task>-<seed>-<key>/    what became of one run: a prompt, or a tuned T5
    <out>/unfinished/<key>.pt             the state of a training: all that is needed to go on

A key is a checksum of all that decides a result (a run's config). So a result is found again by
whoever asks for the same thing, and a changed recipe never reads an old result.
"""

import collections
import dataclasses
import datetime
import fcntl
import filecmp
import hashlib
import json
import math
import shlex
import statistics
import sys
import time
import zipfile
from pathlib import Path

import torch

from plumbing import files, processes
from plumbing.optimizer import state_bytes

PARTS = ("bank", "optimizer", "scaler")  # of a training: what has a state_dict
PLURALS = {"scores": "score", "metrics": "metrics", "curves": "curve", "losses": "losses",
           "teacher_accuracy": "teacher_accuracy"}  # in a report, of a Result
STATE_EVERY = 60  # seconds between two states on disk, beside those of evaluations
LINE_EVERY = 60  # and between two lines of a training, beside its last, where there is no terminal


def key_of(config):
    """A short name for a config, a dict that JSON can hold."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


@dataclasses.dataclass
class Result:
    """What became of a run. Scores are in percent."""

    score: float  # of the best checkpoint, the task's first metric on the reported dev examples
    metrics: dict  # the same of all its metrics
    curve: list  # (step, score on the dev examples to choose by)
    losses: list  # (step, CE, KD, cosine of their gradients or None)
    seconds: float  # its share of the training
    trained: int  # how many numbers
    training_bytes: int  # of these, their gradients and the optimiser's state
    teacher_accuracy: float = None  # percent of training examples that its teachers answer right
    folder: Path = None  # where it is
    best: object = None  # what was trained: a prompt (P, D)

    def to_json(self):
        return {name: value for name, value in vars(self).items() if name not in ("folder", "best")}


class RunDirectory:
    """The folder that a command writes to.

    resume=False: nothing that is there is read; quiet: no line of a training on its way.
    shipped: a folder of results that came with the code, as <task>-<seed>.
    """

    def __init__(self, out, resume=True, quiet=False, shipped=None):
        self.out = Path(out)
        self.resume = resume
        self.quiet = quiet
        self.shipped = shipped
        self.began = time.monotonic()
        self.asked = set()  # the folders of all runs that this command has asked for
        with files.naming(self.out):
            self.out.mkdir(parents=True, exist_ok=True)
            self.lock_file = open(self.out / ".lock", "a")
        processes.all_agree(str(self.out.resolve()), "--out")
        if processes.rank() == 0:
            self.lock()

    def lock(self):
        """One command at a time writes here; the lock ends with the process."""
        try:
            fcntl.flock(self.lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another command is writing to {self.out}: wait for it, or give "
                             "another --out") from None

    def say(self, text):
        print(text, flush=True)

    def folder_of(self, config):
        return self.out / "trained" / f"{config['task']}-{config['seed']}-{key_of(config)}"

    def find(self, config, file, read):
        """What `read` makes of the folder of this config, None if it is not there.

        file: the JSON in it that holds the config; read: (folder, its JSON) -> a Result.
        """
        folders = [self.folder_of(config)] if self.resume else []
        if self.shipped:
            folders.append(self.shipped / f"{config['task']}-{config['seed']}")
        for folder in folders:
            path = folder / file
            made_by = files.read_json(path) if path.exists() else {}
            if made_by.get("config") == config:
                try:
                    return read(folder, made_by)
                except (KeyError, TypeError) as error:
                    raise ValueError(f"{path} is damaged ({error}): delete {folder}, and it is "
                                     "trained again") from None
        return None

    def find_all(self, title, configs, file, read):
        """(a Result or None for each config, the state of their training on disk or None).

        By rows all processes take what the first one finds, and refuse to start from different
        files or states.
        """
        state = read_state(self.state_path(configs)) if self.resume else None
        if processes.shares_by("rows"):
            processes.all_agree(key_of(configs), f"{title}: what decides it")
            step = state and state["progress"]["step"]
            processes.all_agree(step, f"{title}: its saved state")
        results = [self.find(config, file, read) for config in configs]
        if state:  # it trains these runs, some of which may be written already
            for n in state["progress"]["todo"]:
                results[n] = None
        results = processes.from_first(results)
        known = collections.Counter(map(self.whence, configs, results))
        self.asked.update(map(self.folder_of, configs))
        for whence in known.keys() - {""}:
            self.say(f"{title}: {known[whence]} of {len(configs)} runs {whence}")
        return results, state

    def whence(self, config, result):
        """Where a Result comes from that find_all has found, "" for None."""
        if result is None:
            return ""
        if self.shipped and result.folder.parent == self.shipped:
            return "came with the code"
        if self.folder_of(config) in self.asked:
            return "equal another of this command"
        return "were trained before"

    def state_path(self, configs):
        return self.out / "unfinished" / f"{key_of(configs)}.pt"

    def log(self, **entry):
        if processes.is_writer():
            with files.naming(self.out / "log.jsonl"), open(self.out / "log.jsonl", "a") as file:
                file.write(json.dumps({"time": round(time.time())} | entry) + "\n")

    def journal(self, title, configs, todo, training, evals, state):
        """The Journal of a training of the runs `todo`, new or where `state` has stopped."""
        journal = Journal(self, title, self.state_path(configs), todo, training, evals, state)
        if not self.quiet:
            self.say(f"{title}: {len(todo)} runs of {journal.total} steps, each scored "
                     f"{min(evals, journal.total)} times on {len(training.task.choose)} dev "
                     "examples")
        return journal

    def collect(self, ctx, target, seeds, results, measures, promptless):
        """All that a report says of one target, as JSON can hold it (plumbing/report.py).

        ctx: a train.Context; target: a data.EncodedTask; results: (approach, source) -> a Result
        for each seed. Every prompt gets a copy under a name for people.
        """
        runs = []
        for (approach, source), of_seeds in results.items():
            folders = [name_for_people(approach, source, target.name, seed) for seed in seeds]
            for folder, result in zip(folders, of_seeds):
                self.copy(result.folder, folder)
            run = {"approach": approach, "source": source, "folders": folders}
            runs.append(run | collect_seeds(of_seeds))
        recipe = vars(ctx.recipe)
        defaults = vars(type(ctx.recipe)())
        content = {"model": ctx.name, "fingerprint": ctx.fingerprint, "dtype": ctx.dtype}
        content |= {"target": target.name, "metric": target.task.metrics[0],
                    "input": target.task.input, "labels": list(target.task.labels), "seeds": seeds}
        content |= {"majority": target.majority, "promptless": promptless,
                    "chosen_on_reported": target.choose == target.report}
        content |= {"runs": runs, "similarity": measures, "recipe": recipe}
        content["changed"] = {name: recipe[name] for name in recipe
                              if recipe[name] != defaults[name]}
        content["date"] = time.strftime("%Y-%m-%d")
        content["seconds"] = time.monotonic() - self.began
        content["command"] = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
        return content

    def copy(self, folder, name):
        """A second copy of a folder under a name for people.

        Not if it is there: by pairs all processes come here with all sources at once.
        """
        if not processes.is_writer():
            return
        names = [path.name for path in folder.iterdir()]
        equal, _, _ = filecmp.cmpfiles(folder, self.out / name, names, shallow=False)
        if len(equal) < len(names):
            files.copy_folder(folder, self.out / name)


def collect_seeds(results):
    """What a report says of one approach: its Results, one for each seed."""
    first = results[0]
    seconds = statistics.mean(result.seconds for result in results)
    lists = {plural: [getattr(result, name) for result in results]
             for plural, name in PLURALS.items()}
    return lists | {"seconds": seconds, "steps": first.losses[-1][0], "trained": first.trained,
                    "training_bytes": first.training_bytes}


def name_for_people(approach, source, target, seed):
    """Where the copy of a prompt or of a tuned T5 is, in --out."""
    if approach == "prompt":
        return f"prompts/{target}-{seed}"
    if approach == "finetune":
        return f"models/{target}-{seed}"
    pair = f"{source}-to-{target}" if source else target
    return f"{pair}/prompts/{approach}-{seed}"


# ------------------------------------------------------------------ one training


@dataclasses.dataclass
class Progress:
    """How far a training of N runs is; all of it goes into its state on disk."""

    todo: list  # which of the runs that were asked for are trained: the others were there
    curves: list  # for each run (step, score) pairs
    losses: list  # for each run (step, CE, KD, cosine)
    best: list  # for each run the snapshot with the best score
    step: int = 0
    seconds: float = 0.0


class Journal:
    """Keeps the progress of one training, saves its state, and goes on from it.

    path: of its state; todo: which of the runs that were asked for are trained; training: a
    train.Training of these; evals: how often they are scored; state: of read_state, or None.
    """

    def __init__(self, run_directory, title, path, todo, training, evals, state):
        self.run_directory = run_directory
        self.title = title
        self.path = path
        self.names = [run.name for run in training.runs]
        self.total = training.runs[0].steps
        self.evals = evals
        self.parts = {}  # name -> what has a state: bank, optimizer, scaler
        self.saved = self.printed = time.monotonic()
        self.first_evaluation = None  # (when, after which step) of this process
        if state:
            self.progress = Progress(**state["progress"])
        else:
            best = [training.bank.snapshot(n) for n in range(len(todo))]
            self.progress = Progress(todo, [[] for _ in todo], [[] for _ in todo], best)
        self.diverged = {}  # run -> the first step at which its loss was no number
        for n, losses in enumerate(self.progress.losses):
            for step, ce, kd, _ in reversed(losses):
                if not math.isfinite(ce + kd):
                    self.diverged[n] = step

    def steps(self, state=None, **parts):
        """The numbers of the steps that are left. After each, its time is counted.

        parts: bank, optimizer, scaler: what has a state_dict; state: where it was stopped.
        """
        self.parts = parts
        if state is not None:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            self.run_directory.say(f"{self.title}: going on from step {self.progress.step} of "
                                   f"{self.total} ({self.path})")
        while self.progress.step < self.total:
            began = time.monotonic()
            yield self.progress.step
            self.progress.step += 1
            self.progress.seconds += time.monotonic() - began
            if self.is_due(self.progress.step - 1) or time.monotonic() - self.saved > STATE_EVERY:
                self.save()

    def is_due(self, step):
        """Whether the runs are scored after this step: `evals` times, the last time at the end."""
        return (step + 1) * self.evals // self.total > step * self.evals // self.total

    def save(self):
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state["progress"] = vars(self.progress)
        if processes.is_writer():
            files.write_whole(self.path, lambda new: torch.save(state, new))
        self.saved = time.monotonic()

    def record_losses(self, step, ce, kd, cosines):
        """Note each run's losses after a step; a run whose loss is no number has diverged."""
        for n, name in enumerate(self.names):
            if not math.isfinite(ce[n] + kd[n]) and n not in self.diverged:
                self.diverged[n] = step + 1
                self.run_directory.say(f"{self.title}, {name}: the loss is no number at step "
                                       f"{step + 1}; a smaller --lr may help. The others go on")
            self.progress.losses[n].append([step + 1, ce[n], kd[n], cosines[n]])

    def record_scores(self, step, scores, snapshot):
        """Note each run's dev score, and keep a snapshot of those that got better."""
        for n, score in enumerate(scores):
            best = max([earlier for _, earlier in self.progress.curves[n]], default=-math.inf)
            if score > best and n not in self.diverged:
                self.progress.best[n] = snapshot(n)
            self.progress.curves[n].append([step + 1, score])
        self.report(step + 1, scores)

    def report(self, step, scores):
        """A line for a person, and one in the log."""
        ce = [losses[-1][1] for losses in self.progress.losses]
        self.run_directory.log(training=self.title, step=step, dev=dict(zip(self.names, scores)),
                               ce=dict(zip(self.names, ce)))
        if self.run_directory.quiet:
            return
        line = (f"{self.title}: step {step}/{self.total}, mean of {len(scores)}: "
                f"CE {statistics.mean(ce):.3f}, dev {statistics.mean(scores):.1f}"
                f"{self.time_left(step)}")
        if sys.stdout.isatty():
            print(f"\r\033[K{line}", end="\n" if step == self.total else "", flush=True)
        elif step == self.total or time.monotonic() - self.printed > LINE_EVERY:
            print(line, flush=True)
            self.printed = time.monotonic()

    def time_left(self, step):
        """Of this training, after the second evaluation of this process; before it nothing.

        From one evaluation to another there is one scoring to the steps between them, as in what
        is left.
        """
        now = time.monotonic()
        if self.first_evaluation is None:
            self.first_evaluation = (now, step)
            return ""
        before, first_step = self.first_evaluation
        seconds = (now - before) / (step - first_step) * (self.total - step)
        return f", left {datetime.timedelta(seconds=round(seconds))}"

    def results(self, training, metrics, accuracies):
        """For each run its Result, None if it diverged.

        training: a train.Training; metrics: for each run name -> value, of its best checkpoint on
        the reported examples; accuracies: of its teachers, or None.
        """
        progress = self.progress
        runs = len(self.names)
        score = training.task.task.metrics[0]
        trained = sum(p.numel() for p in training.bank.parameters()) // runs
        training_bytes = state_bytes(training.optimizer) // runs
        results = []
        for n in range(runs):
            result = Result(
                metrics[n][score], metrics[n], progress.curves[n], progress.losses[n],
                progress.seconds / runs, trained, training_bytes, accuracies[n],
                best=progress.best[n])
            results.append(None if n in self.diverged else result)
        return results

    def finish(self):
        """The state is no longer needed; a run that diverged is an error now."""
        if processes.is_writer():
            self.path.unlink(missing_ok=True)
        if self.diverged:
            runs = ", ".join(f"{self.names[n]} at step {step}" for n, step in self.diverged.items())
            raise ValueError(f"{self.title}: no result for {runs}, whose loss was no number; the "
                             "others are written. Give a smaller --lr, or another --dtype")


def read_state(path):
    """The state that Journal.save wrote, None if there is none. Raises ValueError if damaged."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums in it
            flipped = archive.testzip()
        if flipped:
            raise ValueError(f"the checksum of {flipped} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        Progress(**state["progress"])
        for name in PARTS:
            state[name]
    except Exception as error:  # a damaged file can raise any
        raise ValueError(f"{path} is damaged ({error!r:.100}): delete it, and this training starts "
                         "again") from None
    return state
