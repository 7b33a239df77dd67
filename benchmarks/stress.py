"""The project attacked as a hostile tester would: kills, damage, nonsense; and a table of it.

    python benchmarks/stress.py          everything: a quarter of an hour on one core
    python benchmarks/stress.py --only data,commands --count data=500,commands=40
    python benchmarks/stress.py --only prompts --number 37      one attempt again, with what it says

    kills        train.py is killed at a random moment or at one of its writes, once or twice; the
                 same command must end with what an undisturbed run gives, bit for bit, and tidy
    checkpoints  altered T5 folders: refused, or loaded as just what the files say
    prompts      altered prompts, ours, PEFT's and arrays: refused, or what was written
    data         altered files of the 21 tasks and of predict.py's stream: refused, or good
                 examples, as many as there are rows less those that the notes count
    commands     hostile values of every flag, encodings, outputs that are closed or full
    edits        something changes between two equal runs: the second is as a fresh one
    disks        full, not writable, a file for a folder and the reverse, names that are too long
    pairs        two commands at once, equal ones or different ones, one --out

A refusal is a ValueError of one line that names the file; of a command, status 2, and that line.
A failure is a traceback, no answer in time, a line that names nothing, or a result that is
silently wrong. Status 1 if there is any; each with the command that repeats it, as (seed, class,
number) give all that is drawn (of a kill at a moment: the moment, not what was being done).

Commands run in forks of this process, which has imported torch already, as `python PROGRAM` from
there on; every tenth of those that can is a process of its own. Linux. Nothing leaves 127.0.0.1.
"""

import argparse
import contextlib
import json
import math
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import rig  # first: it sets the threads, and finds the project and tests/rows.py
import numpy
import rows
import torch

import data
import model
import predict
import prompt
from plumbing import command, download, examples, flags
from plumbing.tokenizer import Tokenizer
from rig import (COMMANDS, EDITS, GOOD, LINES, NASTY, TRAIN, Failure, about, alter_file,
                 altered_bytes, as_read, dies_at, ended, fetched, fingerprint, home, hub, judged,
                 must, refusal, run, same, start, tidy, tiny, told, undisturbed, write)
from toy import world

LIMIT = {"kills": 240, "edits": 240, "pairs": 240, "disks": 120, "commands": 90}  # seconds; else 20
MEMORY = 16 << 30  # bytes of addresses that an attempt may take


# ------------------------------------------------------------------------- the attacks
# Each (rng, place, number) -> "right" or "refused", or a Failure; place is an empty folder.


def kills(rng, place, number):
    remote = number % 10 < 9
    before, (wanted, seconds, count) = fetched if remote else None, undisturbed(remote)
    for _ in range(rng.choice((1, 1, 2))):
        if number % 2 == 0:
            death = dies_at(place, rng.randrange(count))
            ended(start("train.py", tiny(place, remote=True), place, lambda: (fetched(), death())))
        else:
            started = start("train.py", tiny(place, remote=remote), place, before, real=not remote)
            time.sleep(rng.uniform(0, seconds + 3 * (not remote)))  # as long as an import takes
            os.kill(started[0], signal.SIGKILL)
            ended(started)
    again = run("train.py", tiny(place, remote=remote), place, before)
    must(judged("train.py", *again) == "right", f"the same command: {again[2][-300:]!r}")
    same(told(place / "out"), wanted)
    tidy(place)
    return "right"


MUST = re.compile(r"(gone|folder|renamed|longer|flat|empty|nan|inf|type torch.(int64|uint8|bool|"
                  r"complex64)) of .*(model|config|spiece|\.bin|\.npy|\.pt)")


def checkpoints(rng, place, number):
    form = rng.choice(("t5", "gated", "pickled", "sharded"))
    folder, good = shutil.copytree(home() / form, place / "t5"), home() / form
    file = rng.choice(sorted(folder.iterdir()))
    what = alter_file(rng, file)
    with about(f"{form}, {what}"):
        try:
            t5, tokenizer = model.load(folder), Tokenizer(folder / "spiece.model")
            found = logits(t5, tokenizer)
        except ValueError as error:
            return refusal(error, what, folder, file.name)
        must(not MUST.match(what), "was loaded")
        must(found.isfinite().all(), "its answers are not finite")
        before = model.load(good), Tokenizer(good / "spiece.model")
        if f"{t5.fingerprint}-{tokenizer.fingerprint}" == fingerprint(good):
            must(t5.config == before[0].config and torch.equal(found, logits(*before)),
                 "another model of the same fingerprint")
    return "right"


@torch.no_grad()
def logits(t5, tokenizer):
    ids = torch.tensor([tokenizer.encode("nli sentence1: old cats chased dogs . <extra_id_0>")])
    return t5.decode(ids, t5.encode(t5.embed(ids), ids > 0), ids > 0)


def prompts(rng, place, number):
    kind, mark = rng.choice(("toy-cb", "toy-cb", "peft", "array.npy", "tensor.pt")), fingerprint(
        home() / "t5")
    good, copy, ours = home() / "prompts" / kind, place / kind, kind == "toy-cb"
    (shutil.copytree if good.is_dir() else shutil.copy)(good, copy)
    file = rng.choice(sorted(copy.iterdir())) if copy.is_dir() else copy
    what = alter_file(rng, file)
    with about(f"{kind}, {what}"):
        try:
            vectors, made_by = prompt.load(copy, mark) if ours and number % 2 else (
                prompt.from_file(copy, mark, (3, 16)), None)
        except ValueError as error:
            return refusal(error, what, copy, file.name)
        # PEFT's settings may be missing, and a .pt file's one array may have any name.
        must(not MUST.match(what) or "config" in what or what == "renamed of tensor.pt", "was read")
        must(vectors.shape == (3, 16) and vectors.isfinite().all(), f"is {vectors}")
        wanted = prompt.load(good) if ours else None
        must(not ours or torch.equal(vectors.float(), wanted[0]), "other vectors")
        must(made_by is None or as_read(made_by) == as_read(wanted[1]), "was made otherwise")
    return "right"


def data_files(rng, place, number):
    name = rng.choice((*sorted(GOOD), "predict"))
    if name == "predict":
        return stream(rng, write(place / "stream.jsonl", rows.jsonl(*LINES * 2)))
    task, train_file = data.TASKS[name], rng.random() < 0.5
    for split, content in zip(task.files, (GOOD[name][0], GOOD[name][2])):
        for inner, text in (content.items() if isinstance(content, dict) else [("", content)]):
            write(place / split / inner, text)
    path, there = place / task.files[not train_file], {p.name for p in place.rglob("*")}
    file = path if path.is_file() else rng.choice(
        sorted(p for p in path.rglob("*") if p.is_file()))
    what = " and ".join(alter_file(rng, file) for _ in range(rng.choice((1, 1, 1, 2, 4)))
                        if file.is_file())
    with about(f"{name}, {what}"):
        try:
            download.located(name, task.files, place)
            found, notes = examples.read_split(task, path, train_file)
        except ValueError as error:
            return refusal(error, what, *there)
        for one in found:
            good_example(task, one)
        Tokenizer(world.MODEL / "spiece.model").encode_inputs(found, 20)
        scores = data.score(name, [one.target for one in found], found)
        must(all(map(math.isfinite, scores.values())), f"scores {scores}")
        lost = sum(count for why, count in notes.items() if why.startswith("skipped"))
        count = rows_in(name, path)
        must(count is None or len(found) <= count <= len(found) + lost,
             f"{count} rows became {len(found)} examples and {lost} skipped")
    return "right"


def good_example(task, one):
    """Texts that are there, and can be written; a legal label; entities that the input holds."""
    must(one.input.strip() and one.target.strip(), f"nothing in {one}")
    must(not task.labels or one.target in task.labels, f"no label: {one}")
    must(all(isinstance(gold, str) for gold in one.golds), f"no texts: {one}")
    must(not re.search("[\ud800-\udfff]", "".join((one.input, one.target, *one.golds))),
         f"half a character in {one}")
    for piece in one.target.split(" ; ") if task.target in ("entities", "arguments") else ():
        words = piece.partition(" : ")[2]
        must(piece == "none" or words and words in one.input, f"{piece!r} of {one}")


def rows_in(name, path):
    """How many rows a file has, by other means than readers.py's; None: of MRPC and CoNLL's."""
    if path.is_dir() or name in ("mrpc", "conll03"):
        return None
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".tsv":
        return sum(bool(line.strip("\r")) for line in text.split("\n")) - (name != "cola")
    rows = json.loads(text) if path.suffix == ".json" else [
        json.loads(line) for line in text.split("\n") if line]
    if name == "squad":
        rows = [qa for one in rows["data"] for part in one["paragraphs"] for qa in part["qas"]]
    elif name == "multirc":
        rows = [a for row in rows for q in row["passage"]["questions"] for a in q["answers"]]
    elif name == "record":
        rows = [query for row in rows for query in row["qas"]]
    return len(rows)


def stream(rng, file):
    """predict.py's lines: each with something in it is a row or a ValueError of one line."""
    what = alter_file(rng, file)
    if not file.is_file():
        return "right"
    with open(file, encoding="utf-8-sig", errors="surrogateescape") as lines:
        there = list(lines)
    with about(f"stream, {what}"):
        found = [one for _, one in predict.read_lines(iter(there), ["toy-cb", "toy-ner"])]
        must(len(found) == sum(bool(line.strip()) for line in there), f"{len(found)} lines")
        for one in found:
            if isinstance(one, ValueError):
                refusal(one, what, "line ")
            else:
                must(one[0] in ("toy-cb", "toy-ner") and isinstance(one[1], str), f"is {one}")
    return "refused" if any(isinstance(one, ValueError) for one in found) else "right"


def commands(rng, place, number):
    program, base, kinds = rng.choice([*COMMANDS, *[("train.py", tiny(place), TRAIN)] * 6])
    write(place / "FILE", "no folder")
    (place / "FOLDER").mkdir()
    write(place / "scores", json.dumps({"toy-reviews": {"toy-cb": 1.0}}))
    there = {"PROMPT": home() / "prompts" / "toy-cb", "OTHER": home() / "prompts" / "toy-reviews",
             "T5": home() / "t5", "DATA": home() / "data", "SCORES": place / "scores",
             "STREAM": write(place / "stream", rows.jsonl(*LINES[:1] * 3))}
    if base[-2:] == ["--batch", "2"]:
        write(place / "stream", altered_bytes(rng, there["STREAM"].read_bytes()))
    argv, bad, said = list(base), False, [program]
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2)) if kinds else 0):
        kind = rng.choice(sorted((kind for kind in kinds if kinds[kind]), key=str))
        flag, (never, maybe) = rng.choice(kinds[kind]), NASTY[kind]
        value = rng.choice((*never, *maybe))
        bad = bad or value in never
        said.append(f"{flag} {value[:60]!r}")
        if flag.startswith("--"):
            argv += [f"{flag}={value}"] if value.startswith("-") else [flag, value]
        else:
            argv = [value if one == flag else one for one in argv]
    argv = [there.get(one, one) for one in argv]
    if program == "predict.py" and "--model" not in argv:
        argv += ["--model", home() / "t5"]
    encoding, output, real = rng.choice(("utf-8", "utf-8", "ascii", "latin-1")), rng.choice(
        ("",) * 9 + ("closed", "full", "head")), number % 10 == 9
    with about(" ".join((*said, encoding, output, "by itself" * real))):
        status, _, err = run(program, argv, place, real=real, encoding=encoding, output=output,
                             before=lambda: setattr(download, "PAUSE", 0))
        if output and status == 1 and not bad and program not in err and "Traceback" not in err:
            return "refused"  # the reader is gone, or the disk is full
        verdict = judged(program, status, "", err)
        must(not bad or verdict == "refused", "was taken")
    return verdict


def edits(rng, place, number):
    name, edit = EDITS[number % len(EDITS)]
    for folder in ("t5", "data"):
        shutil.copytree(home() / folder, place / folder)
    numpy.save(place / "init.npy", numpy.ones((3, 16), numpy.float32))
    write(place / "more.txt", "old cats slept\nbig dogs ran\n")
    write(place / "t5" / "recipe.json", "{}")
    argv = tiny(place, "--model", place / "t5", "--data", place / "data", "--unlabelled",
                place / "more.txt", *(["--init", place / "init.npy"] if "init" in name else []))
    death, first = rng.randrange(undisturbed()[2] // 2), (0,)
    while "passes" in name and not list(place.glob(name)):  # killed where a state is on disk
        death, first = death + 1, run("train.py", argv, place, dies_at(place, death))
    first = first if first[0] else run("train.py", argv, place)
    must(first[0] in (0, -signal.SIGKILL), f"the first run: {first}")
    if name == "flags":
        argv += edit
    else:
        edit(rng.choice(sorted(place.glob(name))))
    second = run("train.py", argv, place)
    fresh = run("train.py", [*argv, "--out", place / "fresh"], place)
    with about(f"{name} {edit if name == 'flags' else number % len(EDITS)}"):
        must(second[0] == fresh[0], f"status {second[0]}, of a fresh run {fresh[0]}: "
             f"{second[2][-300:]!r} {fresh[2][-300:]!r}")
        if judged("train.py", *second) == "refused":
            return "refused"
        same(told(place / "out"), told(place / "fresh"), more=True)
    return "right"


# What stands in the way under --out: a name, and whether it is a folder there.
WAYS = [(name, folder) for name, folder in (
    ("trained", False), ("passes", False), ("prompts", False), ("sources", False),
    ("models", False), ("toy-cb-to-cb", False), ("toy-reviews", False), ("log.jsonl", True),
    ("grid.md", True), ("grid.json", True), ("toy-cb-to-cb/results.json", True),
    ("toy-cb-to-cb/report.html", True))]
NOWHERE = ["/dev/full/x", "/proc/x", "/sys/x", "n" * 300, "/".join(["n" * 200] * 30), "FILE/x",
           *["read-only/x"] * (os.geteuid() > 0)]  # root may write there; into /proc nobody
KINDS = ("size", "way", "size", "way", "nowhere", "way", "size", "output")
OTHERS = ([], ["--steps", "4"], [], ["--strength", "0.5"])  # beside the first one


def disks(rng, place, number):
    kind, most, argv = KINDS[number % len(KINDS)], int(10 ** rng.uniform(0, 5.2)), tiny(place)
    (name, folder), nowhere = rng.choice(WAYS), rng.choice(NOWHERE)
    before, output, way, what = None, "", place / "out" / name, ""
    write(place / "FILE", "no folder")
    (place / "read-only").mkdir(0o500)
    if kind == "size":  # no file grows beyond it: EFBIG, where a full disk gives ENOSPC
        before, what = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, -1)), most
    elif kind == "way":
        what = name
        (way / "x").mkdir(parents=True) if folder else write(way, "in the way")
    elif kind == "nowhere":
        argv, what = [*argv, "--out", nowhere], nowhere
    else:
        output = "full"
    with about(f"{kind} {what}"):
        verdict = judged("train.py", *run("train.py", argv, place, before, output=output),
                         place / "out", nowhere, "--out")
        must(verdict == "refused" or kind in ("size", "output"), "was taken")
        if kind == "nowhere":
            return verdict
        if verdict == "right":
            same(told(place / "out"), undisturbed()[0])
        if kind == "way":
            (shutil.rmtree if way.is_dir() else Path.unlink)(way)
        must(run("train.py", argv, place)[0] == 0, "the same command fails with room again")
        same(told(place / "out"), undisturbed()[0])
        tidy(place / "out")
    return verdict


def pairs(rng, place, number):
    remote, other = number % 4 == 0, OTHERS[number % 4]
    before, (lone, seconds, _) = fetched if remote else None, undisturbed(remote)
    first = start("train.py", tiny(place, remote=remote), place, before)
    time.sleep(rng.choice((0, 0.05, rng.uniform(0, seconds))))
    second = start("train.py", tiny(place, *other, remote=remote), place, before)
    for started in (first, second):
        must(judged("train.py", *ended(started)) == "right", "refused beside another")
    tidy(place)
    found = told(place / "out")
    if not other:
        same(found, lone)
        return "right"
    alone = place / "alone"
    must(run("train.py", tiny(alone, *other), place)[0] == 0, "the other one fails alone")
    alone = told(alone / "out")
    for name in {*lone, *alone}:  # what both write is of the one or of the other, whole
        must(name in found and found[name] in (lone.get(name), alone.get(name)),
              f"{name} is neither the one's nor the other's")
    return "right"


# ------------------------------------------------------------------------- the command

ATTACKS = {"kills": (100, kills), "checkpoints": (500, checkpoints), "prompts": (500, prompts),
           "data": (20000, data_files), "commands": (400, commands), "edits": (50, edits),
           "disks": (20, disks), "pairs": (20, pairs)}


def serve(name, numbers, seed, pipe, quiet):
    """In a child: attempt after attempt, a line of JSON for each; it may die of one."""
    os.setpgrp()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if quiet:
        for fd in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    for number in numbers:
        place = Path(tempfile.mkdtemp(dir=home()))
        try:
            said = ATTACKS[name][1](random.Random(f"{seed} {name} {number}"), place, number), ""
        except Failure as failure:
            said = "failure", str(failure)[:600]
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            said = "failure", (f"{type(error).__name__}: {str(error)[:300]} "
                               f"({Path(where.filename).name}, line {where.lineno})")
        shutil.rmtree(place, ignore_errors=True)
        os.write(pipe, json.dumps([number, *said]).encode() + b"\n")
    os._exit(0)


def attack(name, numbers, seed, quiet=True):
    """(number, verdict, what was wrong) of each attempt, also of one that its child dies of."""
    todo = list(numbers)
    while todo:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            serve(name, todo, seed, writer, quiet)
        os.close(writer)
        with open(reader, "rb", buffering=0) as lines:
            while todo:
                if not select.select([lines], [], [], LIMIT.get(name, 20))[0]:
                    why = "no answer in time"
                elif line := lines.readline():
                    yield json.loads(line)
                    todo.pop(0)
                    continue
                else:
                    why = "the process died"
                yield todo.pop(0), "failure", why
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def counts(text):
    """"kills=3,data=50" as a dict. Raises ValueError."""
    found = dict(part.partition("=")[::2] for part in flags.names(text))
    for name, count in found.items():
        if name not in ATTACKS or not count.isdecimal():
            raise ValueError(f"--count {name}={count}: wanted CLASS=N, of {', '.join(ATTACKS)}")
    return {name: int(count) for name, count in found.items()}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", default="", help="CLASS=N,…: other than all")
    parser.add_argument("--only", default=",".join(ATTACKS), help="these classes")
    parser.add_argument("--seed", default="0", help="another seed, other attacks (default: 0)")
    parser.add_argument("--number", type=int, help="this attempt alone, with what it says")
    args = parser.parse_args(argv)
    given, failures = counts(args.count), []
    for name in flags.names(args.only):
        flags.check("only", name, choices=tuple(ATTACKS))
    print("| class | tried | refused in one line | right | failures | seconds |\n"
          "|---|---|---|---|---|---|", flush=True)
    try:
        home(), hub(), data.load("toy-cb"), data.load("toy-reviews")  # before any fork
        for name in flags.names(args.only):
            began, found = time.time(), dict.fromkeys(("refused", "right", "failure"), 0)
            numbers = [args.number] if args.number is not None else range(
                given.get(name, ATTACKS[name][0]))
            if name in ("kills", "edits", "pairs", "disks"):  # once, for all their attempts
                undisturbed(), name in ("kills", "pairs") and undisturbed(True)
            for number, verdict, why in attack(name, numbers, args.seed, args.number is None):
                found[verdict] += 1
                if verdict == "failure":
                    failures.append(f"{name} {number}: {why}\n    python benchmarks/stress.py "
                                    f"--only {name} --number {number} --seed {args.seed}")
            print(f"| {name} | {sum(found.values())} | {found['refused']} | {found['right']} | "
                  f"{found['failure']} | {time.time() - began:.0f} |", flush=True)
    finally:
        shutil.rmtree(home(), ignore_errors=True)
    print("", *failures, sep="\n")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    command.run(main, "stress.py")
