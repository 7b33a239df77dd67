"""What a command leaves on disk: a log, names for results, states to go on from; and the time left.

    <out>/log.jsonl                a line for each evaluation
                                   (after a kill one may be there twice, equal but for its time)
    <out>/passes/<key>.pt          a pass that is not finished: all that is needed to go on
    <out>/trained/<task>-<seed>-<key>/    what became of one run

A key is a checksum of all that decides a result. So a result is found again by whoever asks for
the same thing, and a changed recipe never goes on from an old state.
Who trains some runs holds a lock of their key on <out>/.lock (plumbing/files.py).
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import pickle
import shutil
import time
from pathlib import Path

import torch

from plumbing import files, gpu, ranks
from plumbing.files import lock, set_aside, whole_folder, write_whole


def checksum(tensor):
    """Of a tensor's numbers in fp32: equal for equal ones."""
    numbers = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16]


def key_of(decided_by):
    """A short name for what decides a result: a dict that JSON can hold."""
    return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:12]


def signed(made_by):
    """What made a result, with a checksum of all of it as its digest."""
    made_by = {name: value for name, value in made_by.items() if name != "digest"}
    return made_by | {"digest": key_of(made_by)}


class Home:
    """The folder that a command writes to, and how much of its work is done.

    resume=False: nothing that is there is read; quiet: no line of a pass on its way is said.
    """

    def __init__(self, out, resume=True, quiet=False):
        self.out, self.resume, self.quiet = Path(out), resume, quiet
        self.out.mkdir(parents=True, exist_ok=True)
        self.locks, self.mine = open(self.out / ".lock", "a"), None
        files.tidy(self.out, self.locks)
        self.begun, self.done, self.planned = time.time(), 0, 0  # rows trained, and to be trained
        self.skipped = 0  # of those done, what was there already

    def alone(self, title, decided_by):
        """Wait until no other process trains these runs; until they are done, none will."""
        self.release()
        if decided_by and ranks.writes():
            self.mine = int(key_of(decided_by), 16)
            if lock(self.locks, self.mine) is False:
                print(f"{title}: another process is training this in {self.out}; waiting for it",
                      flush=True)
                lock(self.locks, self.mine, wait=True)
        ranks.wait("rows")  # for the one that writes

    def release(self):
        if self.mine is not None:
            files.unlock(self.locks, self.mine)
        self.mine = None

    def log(self, **entry):
        path = self.out / "log.jsonl"
        if ranks.writes():
            with files.writing(path), open(path, "ab+") as file:
                lock(file, 0, wait=True)
                if file.tell() and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n":
                    file.seek(0)  # a kill or a full disk cut the last line
                    file.truncate(file.read().rfind(b"\n") + 1)
                line = json.dumps({"time": round(time.time())} | entry) + "\n"
                file.write(line.encode())

    def trained(self, task, seed, decided_by):
        """The folder of what became of one run."""
        return self.out / "trained" / f"{task}-{seed}-{key_of(decided_by)}"

    def unfinished(self, decided_by, todo=None):
        """The file for the state of a pass of such runs; todo: the places of those in it."""
        few = todo is not None and len(todo) < len(decided_by)
        places = f"-{sum(1 << n for n in todo):x}" if few else ""
        return self.out / "passes" / f"{key_of(decided_by)}{places}.pt"

    def todo(self, decided_by, results):
        """(The places of the runs to train, the results); of the first process, if several train.

        The runs without a result, or all of a state with these: so a pass that was killed while it
        wrote its results goes on. A state that can serve nobody any more is taken away.
        """
        todo, results = ranks.agreed((self.left(decided_by, results), results), "rows")
        if not todo:  # who has nothing to train holds up nobody
            self.release()
        return todo, results

    def left(self, decided_by, results):
        left = {n for n, result in enumerate(results) if result is None}
        passes = (self.out / "passes").glob(f"{key_of(decided_by)}*.pt")
        for path in passes if self.resume else ():
            places = path.stem.partition("-")[2]
            held = {n for n in range(len(results)) if not places or int(places, 16) >> n & 1}
            if left and left <= held:
                return sorted(held)
            if ranks.writes():
                path.unlink(missing_ok=True)
        return sorted(left)

    def found(self, folder, file, decided_by, read, shipped=None):
        """(folder, what stands in this file of it) of what was decided by just this, or Nones.

        read: folder -> what is kept there, or a ValueError: then it is set aside.
        shipped: another folder, of the project, to look into; it is read without resume, too.
        """
        for place in ([folder] if self.resume else []) + ([shipped] if shipped else []):
            if (place / file).exists():
                try:
                    _, said = read(place), json.loads((place / file).read_text(encoding="utf-8"))
                    before = said.get("decided_by", {})
                except (ValueError, AttributeError, OSError) as error:
                    set_aside(place, error)
                    continue
                if before == decided_by:
                    return place, said
                other = [f"{name} {before.get(name)}, wanted {value}"
                         for name, value in decided_by.items() if before.get(name) != value]
                print(f"{place} was made of something else and is not used: {'; '.join(other)}",
                      flush=True)
        return None, None

    def read_instead(self, title, runs, rows):
        """Say that these runs are there: of before, shipped, or equal to others; so many rows."""
        if runs:
            which = ", ".join(f"{run.name} seed {run.seed}" for run in runs[:4])
            more = ", …" if len(runs) > 4 else ""
            print(f"{title}: {len(runs)} already there, read and not trained ({which}{more})",
                  flush=True)
            self.skip(rows)

    def skip(self, rows):
        """Count so many rows as done, but by others than this process."""
        self.done, self.skipped = self.done + rows, self.skipped + rows

    def forget(self, path):
        """The state of a pass that is finished."""
        if ranks.writes():
            path.unlink(missing_ok=True)  # another process may have been faster
        self.release()

    def link(self, folder, name):
        """The files of a folder under another name as well; of large ones no second copy."""
        with whole_folder(self.out / name) as new:
            for file in folder.iterdir() if ranks.writes() else ():
                if file.stat().st_size > 1 << 20:
                    with contextlib.suppress(OSError):  # a file system without links
                        os.link(file, new / file.name)
                if not (new / file.name).exists():
                    shutil.copy(file, new / file.name)

    def eta(self):
        """Minutes and seconds to go, from the rows trained so far, not counting those skipped."""
        if self.done == self.skipped:
            return "?"
        each = (time.time() - self.begun) / (self.done - self.skipped)
        left = each * max(0, self.planned - self.done)
        return f"{int(left) // 60}:{int(left) % 60:02d}"


@dataclasses.dataclass(frozen=True)
class Workshop:
    """What all runs of one command share. Nothing in it changes but how far the work is."""

    t5: object  # a model.T5, frozen
    tokenizer: object
    folder: Path  # of the T5
    name: str  # of the T5, as it was given
    dtype: str
    recipe: object  # a train.Recipe
    tokens: int  # positions in one forward pass
    home: Home
    # (do, groups of rows) -> [do(group), …], by whichever cores: see plumbing/cores.py
    each: object = lambda do, groups: list(map(do, groups))
    through: object = dataclasses.field(default_factory=gpu.Recorder)  # T5, by recordings
    smaller: bool = False  # whether that was more than the memory holds, and was halved

    @property
    def fingerprint(self):
        return f"{self.t5.fingerprint}-{self.tokenizer.fingerprint}"


@dataclasses.dataclass
class Result:
    """What became of a run. Scores are in percent, of the task's first metric."""

    score: float  # of the best checkpoint, on the reported examples
    curve: list  # (step, score on the examples to choose by)
    seconds: float  # its share of its pass; of steps that several runs share, for each of them
    trained: int  # how many numbers
    memory: int  # bytes of what is trained, its gradients and the optimiser's state
    # (step, CE, KD, cosine of their gradients), at the first step and at each score
    terms: list = dataclasses.field(default_factory=list)
    right: float = None  # percentage of what its teachers teach that is as labelled
    folder: Path = None  # where it lies
    best: torch.Tensor = None  # (P, D), the best by those examples; None of model tuning


def decided_by(kind, shop, task, runs, dropout, form):
    """Of each run of a pass, all that decides what becomes of it, and nothing else.

    kind: "prompt" or "finetune", whose numbers of the recipe count; form: of distillation. Not
    here: a run's name; lambda and the metric, whose part is in the weight of the teacher; what
    else is in the pass.
    With dropout that matters after all, since what is dropped falls on a whole part of the
    pass, and in fp16, since a GradScaler skips a step for all: then the runs beside it and the
    cut are told, too. (Rounding is not: on a GPU it depends on both. See docs/real.md.)
    """
    def numbers(who):
        return {field.name: getattr(shop.recipe, field.name)
                for field in dataclasses.fields(shop.recipe) if who in field.metadata["decides"]}

    made = []
    for run in runs:
        by = {"model": shop.fingerprint, "dtype": shop.dtype, "task": task.name,
              "examples": task.fingerprint, "seed": run.seed, "steps": run.steps} | numbers(kind)
        if run.start is not None:
            by["start"] = checksum(run.start)
        if run.teachers:
            by |= {"form": form, "unlabelled": task.unlabelled, "teachers": [
                [checksum(prompt), weight] for prompt, weight in run.teachers]} | numbers("student")
        made.append(by)
    if dropout or shop.dtype == "fp16":
        beside = [made, shop.tokens] + [ranks.size()] * ranks.by("rows")
        made = [by | {"beside": key_of(beside)} for by in made]
    return made


def leads(decided):
    """Of each run of a pass the place of the one that trains for it; decided: of `decided_by`.

    At a constant rate, runs that differ in their number of steps alone are one training (on a CPU
    to the last bit) that ends several times: so the longest does it, and the others have their
    scores, and the best of them, from its way. Every other run, also where what is beside it
    decides it (dropout, fp16), trains for itself. Of prompt, prompt_2x, prompt_3x and a student:
    [2, 2, 2, 3].
    """
    alike = [key_of(by | {"steps": "any" if by.get("schedule") == "constant" and "beside" not in by
                          else n}) for n, by in enumerate(decided)]  # n: alike to no other
    return [max((m for m, other in enumerate(alike) if other == one),
                key=lambda m: (decided[m].get("steps", 0), m == n)) for n, one in enumerate(alike)]


def steps_of(decided, most=math.inf):
    """How many steps such runs take together, each at most so many."""
    return sum(min(decided[n]["steps"], most) for n in {*leads(decided)})


def digest_of(value):
    """A checksum of a state: of its tensors' bytes, and of what else stands in it, by name."""
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)} {value.dtype} {checksum(value)}"
    if isinstance(value, (dict, list, tuple)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        told = " ".join(f"{key}:{digest_of(one)}" for key, one in pairs)
        return hashlib.sha256(told.encode()).hexdigest()
    return repr(value)


def keep(path, state, things):
    """Write the state of a pass, with that of the things that can tell theirs."""
    whole = state | {name: thing.state_dict() for name, thing in things.items()}
    write_whole(path, lambda new: torch.save(whole | {"digest": digest_of(whole)}, new))


def go_on(path, things, title, steps):
    """The state that `keep` wrote; the things are put into theirs.

    None for a file that is damaged, which is set aside.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.pop("digest") != digest_of(state):
            raise ValueError("its numbers are not those that were written")
    except (RuntimeError, EOFError, KeyError, AttributeError, ValueError, OSError,
            pickle.UnpicklingError) as error:
        set_aside(path, error)
        return None
    for name, thing in things.items():
        thing.load_state_dict(state.pop(name))
    print(f"{title}: going on from step {state['step']} of {steps} ({path})", flush=True)
    return state


def memory_of(trained, optimizer):
    """Bytes of a module's weights, of gradients as large, and of the optimiser's state."""
    tensors = [t for p in trained.parameters() for t in (p, p, *optimizer.state[p].values())]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


def norm_of(work, n):
    """Of what run n of a pass trains."""
    return math.sqrt(sum(p.detach().double().pow(2).sum().item()
                         for p in work.bank.part([work.lead[n]]).parameters()))


def check_finite(work, numbers, step, path):
    """Raise ValueError if a loss of a pass's runs, or a sum of what is trained, is not finite."""
    bad = {at % len(work.runs) for at, one in enumerate(numbers) if not math.isfinite(one)}
    if bad:
        norms = ", ".join(f"{work.runs[n].name} seed {work.runs[n].seed}, its norm now "
                          f"{norm_of(work, n):.3g}" for n in sorted(bad))
        last = f"the last good state is {path}" if path.exists() else "no state was written yet"
        raise ValueError(f"{work.title}: a loss or a trained number is not finite at step {step} "
                         f"({norms}); {last}; a smaller learning rate may help")
