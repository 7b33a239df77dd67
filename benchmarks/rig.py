"""What benchmarks/stress.py attacks, how it is altered, and how a command is run and judged.

No command of its own. All that is attacked lies in one scratch folder, `home`; a command runs in
a fork of this process, which has imported torch already, as `python PROGRAM` does from there on.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import http.server
import io
import itertools
import json
import math
import os
import re
import runpy
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# One thread, so that a fork is safe; what is no server of ours is not there, nor what was fetched.
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1") | dict.fromkeys(
    ("http_proxy", "https_proxy", "HF_ENDPOINT"), "http://127.0.0.1:9") | dict.fromkeys(
    ("HF_HOME", "HF_HUB_CACHE", "PANDA_T5_CACHE"), str(ROOT / "no" / "such")) | {
    "no_proxy": "127.0.0.1"}
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy
import torch
import torch._dynamo  # which model tuning brings: once, and not in each fork
from safetensors.torch import load_file, save_file

import data
import model
import predict  # imported before the forks that run it, as all chapters are
import prompt
import rows
import train
from plumbing import download, files, flags
from plumbing.tokenizer import Tokenizer
from toy import world

world.examples = functools.cache(world.examples)  # once, and not in each fork


class Failure(Exception):
    """What an attempt shows to be wrong."""


def must(good, what):
    if not good:
        raise Failure(what)


@contextlib.contextmanager
def about(what):
    """A Failure in here begins with this."""
    try:
        yield
    except Failure as failure:
        raise Failure(f"{what}: {failure}") from None


# ---------------------------------------------------------------------- things to attack


@functools.cache
def home():
    """A folder with a tiny T5 in four forms, prompts, and data: all that is attacked is a copy."""
    here = Path(tempfile.mkdtemp(prefix="stress-"))
    sizes = dict(vocab_size=384, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_decoder_layers=1,
                 num_heads=2)
    for name, more in (("t5", {}), ("gated", {"feed_forward_proj": "gated-gelu",
                                              "tie_word_embeddings": False})):
        t5 = model.initialise(model.Config(**sizes, **more))
        # Larger weights give answers that change with the prompt: of equal scores the first
        # checkpoint is the best, and what a resumed training does would not be seen.
        t5.load_state_dict({key: w * 4 ** (w.dim() > 1) for key, w in t5.state_dict().items()})
        model.save(t5, here / name)
        shutil.copy(world.MODEL / "spiece.model", here / name)
    tensors = load_file(here / "t5" / "model.safetensors")
    for name in ("pickled", "sharded"):
        shutil.copytree(here / "t5", here / name)
        (here / name / "model.safetensors").unlink()
    torch.save(tensors, here / "pickled" / "pytorch_model.bin")
    places = {key: f"model-{n % 2}.safetensors" for n, key in enumerate(tensors)}
    for file in set(places.values()):
        save_file({k: t for k, t in tensors.items() if places[k] == file}, here / "sharded" / file)
    write(here / "sharded" / "model.safetensors.index.json", json.dumps({"weight_map": places}))

    vectors = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    result = {"score": 50.0, "curve": [[1, 50.0]], "terms": [[1, 2.5, 0.5, None]], "right": None,
              "seconds": 0.5, "trained": 48, "memory": 576}
    for task in ("toy-reviews", "toy-cb", "toy-ner"):
        prompt.save(here / "prompts" / task, vectors, {
            "task": task, "seed": 0, "score": 50.0, "result": result, "decided_by": {"seed": 0},
            "fingerprint": fingerprint(here / "t5"), "recipe": dataclasses.asdict(train.Recipe())})
    shutil.copytree(here / "prompts" / "toy-cb", here / "prompts" / "peft")
    (here / "prompts" / "peft" / "prompt.json").unlink()
    numpy.save(here / "prompts" / "array.npy", vectors.numpy())
    torch.save({"prompt_embeddings": vectors}, here / "prompts" / "tensor.pt")
    for dev, file in enumerate(data.TASKS["cb"].files):
        write(here / "data" / file, rows.jsonl(*(
            {"premise": text, "hypothesis": text[:20], "label": label}
            for text, label in world.examples("nli", 24, seed=0, dev=bool(dev)))))
    return here


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fingerprint(folder):
    return f"{model.load(folder).fingerprint}-{Tokenizer(folder / 'spiece.model').fingerprint}"


def as_read(made_by):
    """What of a prompt.json is read for more than to be told or compared."""
    recipe = made_by.get("recipe", {})
    return {name: one for name, one in made_by.items() if name != "decided_by"} | {
        "recipe": [recipe.get(field.name) for field in dataclasses.fields(predict.Share)]}


# ---------------------------------------------------------------------- alterations

# What stands in no good file: as bytes, and as values of JSON.
SCRAPS = [b"", b"\0", b"\xff\xfe", b"\n", b"\r", b"\t", b'"', b"{", b"]", b"\\ud800", b"NaN",
          b"\xef\xbb\xbf", "\u2028".encode(), b"-Infinity", b"[" * 5000, b"9" * 5000, b" " * 300]
VALUES = [None, True, [], {}, "", " ", "x", "\0", "\ud800", -1, 0, 1, 2.5, 10 ** 12, 1e308,
          math.nan, -math.inf, [1], {"a": []}, ["x", None], "../../x", "x" * 400, "1", "True\n"]


def altered_bytes(rng, whole):
    """Bytes with some changed, gone, doubled or brought in."""
    at = rng.randrange(len(whole) + 1)
    end = min(len(whole), at + rng.choice((1, 1, 2, 7, 60, len(whole))))
    how = rng.randrange(6)
    if how == 0 and whole:  # one bit
        at = min(at, len(whole) - 1)
        return whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1:]
    middle = {1: b"", 2: rng.randbytes(end - at), 3: whole[at:end] * 2}.get(how, rng.choice(SCRAPS))
    return whole[:at] + middle + (b"" if how == 5 else whole[end if how < 4 else at:])


def places_in(value, path=()):
    """The paths to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(
        value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places_in(one, (*path, key))


def altered_json(rng, text):
    """JSON with one thing in it removed or of another kind."""
    value = json.loads(text)
    *path, key = rng.choice(list(places_in(value)) or [()]) or (None,)
    if key is None:
        return json.dumps(rng.choice(VALUES)).encode()
    inner = functools.reduce(lambda one, step: one[step], path, value)
    if rng.random() < 0.25:
        del inner[key]
    else:
        inner[key] = rng.choice(VALUES)
    return json.dumps(value, allow_nan=True).encode()


TYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
         torch.complex64]


def altered_tensors(rng, tensors):
    """(tensors, what was done) with one that is gone, renamed, of another shape, type or number."""
    tensors, name = dict(tensors), rng.choice(sorted(tensors))
    one = tensors.pop(name)
    how = rng.choice(("gone", "renamed", "longer", "flat", "empty", "type", "nan", "inf", "number"))
    number = one.clone()
    number.view(-1)[rng.randrange(number.numel())] += {"nan": math.nan, "inf": math.inf}.get(how, 1)
    new = {"longer": torch.cat([one, one]), "flat": one.flatten()[None], "empty": one[:0],
           "type": one.to(rng.choice(TYPES))}.get(how, number)
    return tensors | ({} if how == "gone" else {name + "x" * (how == "renamed"): new}), how


def alter_file(rng, file):
    """Alter one file in place; returns what was done: a word, of tensors as above."""
    tensors = {".safetensors": load_file, ".bin": torch.load, ".pt": torch.load}.get(file.suffix)
    how, whole = rng.choice(("bytes",) * 8 + ("inside",) * 14 + (
        "gone", "folder", "nothing")), file.read_bytes()
    if how == "inside" and tensors:
        new, how = altered_tensors(rng, tensors(file))
        (save_file if file.suffix == ".safetensors" else torch.save)(new, file)
    elif how == "inside" and not tensors and whole:
        lines = whole.split(b"\n") if file.suffix != ".json" else [whole]
        n = rng.randrange(len(lines))
        try:
            lines[n] = altered_json(rng, lines[n])
        except (ValueError, RecursionError):  # no JSON: a word or a cell
            words = re.split(rb"([\t ]|\b)", lines[n])
            words[rng.randrange(len(words))] = rng.choice(SCRAPS)
            lines[n] = b"".join(words)
        write(file, b"\n".join(lines))
    elif how in ("gone", "folder"):
        file.unlink()
        if how == "folder":
            file.mkdir()
    elif how != "nothing":
        how = "bytes"
        write(file, altered_bytes(rng, whole))
    return f"{how} of {file.name}"


def refusal(error, what, *named):
    """"refused", if a ValueError is one line and names one of these, and something was altered."""
    text = str(error)
    must(not re.fullmatch(r"(nothing of \S+( and )?)+", what), f"is refused: {text}")
    must(text and len(text.splitlines()) == 1, f"a refusal of {len(text.splitlines())} lines: "
          f"{text[:300]!r}")
    must(any(str(name) in text for name in named), f"a refusal that names no file: {text!r}")
    return "refused"


def number_in(file):
    """Change a number of the largest tensor of a file; in a state, of all that it goes on with."""
    tensors_only = file.suffix == ".safetensors"
    state = load_file(file) if tensors_only else torch.load(file)
    for tensors in [state] if tensors_only else [state["bank"], *state["best"]]:
        tensors = tensors.values() if isinstance(tensors, dict) else [tensors]
        max(tensors, key=torch.numel).view(-1)[0] += 0.5
    (save_file if tensors_only else torch.save)(state, file)


def word_in(pattern, new):
    """A function that replaces the first match in a file."""
    def edit(file):
        text = file.read_text()
        must(re.search(pattern, text), f"{pattern} is not in {file}")
        file.write_text(re.sub(pattern, new, text, count=1))
    return edit


def byte_in(file):
    whole = bytearray(file.read_bytes())
    whole[whole.index(b"\xe2\x96\x81chased") + 4] += 1
    file.write_bytes(whole)


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


# What is changed between two runs: a file, and how; files of out are what the first one left.
CHANGED = ("--lr 0.2,--batch 3,--steps 4,--source-steps 3,--evals 2,--optimizer adamw,"
           "--schedule cosine,--weight-decay 0.1,--strength 0.5,--temperature 2,--metric panda,"
           "--student-init source,--dropout 0.1,--held-out 0.5,--max-input 20,--max-dev 8,"
           "--labelled 12,--finetune-lr 0.01,--finetune-dropout 0,--kd states,--dtype bf16,"
           "--first-seed 1,--approach prompt,--source toy-ner").split(",")
EDITS = [("t5/config.json", word_in("1e-06", "1e-05")), ("t5/model.safetensors", number_in),
         ("t5/spiece.model", byte_in), ("init.npy", lambda file: numpy.save(
             file, numpy.load(file) + 0.5)), ("more.txt", word_in("cats", "dogs")),
         ("data/superglue/CB/train.jsonl", word_in("cats|dogs|never|and", "old")),
         ("data/superglue/CB/val.jsonl", word_in('"(neutral|entailment)"', '"contradiction"')),
         ("t5/recipe.json", lambda file: write(file, '{"lr": 0.05, "temperature": 3.0}')),
         ("out/passes/*.pt", number_in), ("out/passes/*.pt", cut),
         ("out/trained/*/adapter_model.safetensors", number_in),
         ("out/trained/*/model.safetensors", number_in),
         ("out/trained/*/prompt.json", word_in('"score": [0-9.]+', '"score": 77.0')),
         ("out/trained/*/prompt.json", word_in('"curve": \\[[^]]*\\]', '"curve": [[1, 99.0]')),
         ("out/trained/*/tuned.json", word_in('"score": [0-9.]+', '"score": 77.0')),
         ("out/trained/*/model.safetensors", cut), ("out/trained/*/prompt.json", cut),
         *(("flags", flag.split()) for flag in CHANGED)]


# ---------------------------------------------------------------------- good and hostile input

# task -> content of its train file, _, content of its dev file, _
GOOD = rows.ROWS | {
    "cb": (rows.jsonl(*rows.CB_ROWS), 0, rows.jsonl(*rows.CB_ROWS), 0),
    "rte": (rows.jsonl(*(row | {"label": "entailment"} for row in rows.CB_ROWS)), 0) * 2,
    "mnli": (rows.table(rows.MNLI_TRAIN, [rows.MNLI_ROW] * 2), 0,
             rows.table(rows.MNLI_DEV, [rows.MNLI_ROW] * 2), 0)}
LINES = [{"task": "toy-cb", "input": "a: b"}, {"input": "é", "task": "toy-ner", "more": [1, {}]}]


# kind -> values that none of that kind may be, and some that one may.
LONG, BYTES = "n" * 300, os.fsdecode(b"\xff\xfe")
NASTY = {int: (["nan", "-1", "", ",", "1e300", "x", "0.5", BYTES, "-" + "9" * 400, "a\nb"],
               ["0", "1", str(10 ** 11), "\u0663", "9" * 400]),
         float: (["nan", "inf", "-inf", "-1", "", ",", "x", "1e300", BYTES, "a\nb"],
                 ["0", "1", "1e-300", "0x1"]),
         "name": (["", ",", "no-such", LONG, "a\nb", BYTES, "toy-cb;ls", "../..", "\u00e9"], []),
         "path": (["no/such", LONG, "a\nb", BYTES + "/x", "/proc/no/such", "FILE/x", "x" * 5000],
                  ["FILE", "FOLDER", "/dev/null", "/dev/full", ".", "-", f"text:{BYTES}",
                   str(10 ** 11)]),
         "text": ([], ["", ",", LONG * 50, BYTES, "a\nb", "\u2028", "<extra_id_99> \u00e9\u4e2d"])}
# program, a good command, and what of it may be replaced, by the kind of value.
COMMANDS = [
    ("predict.py", ["answer", "PROMPT", "--text", "a: b"], {
        int: ["--batch"], "name": ["--model", "--device", "--dtype"], "path": ["PROMPT", "--file"],
        "text": ["--text"]}),
    ("predict.py", ["answer", "PROMPT", "--file", "STREAM"], {"path": ["PROMPT", "--file"]}),
    ("predict.py", ["answer", "PROMPT", "--batch", "2"], {}),  # of what comes in, which is altered
    ("predict.py", ["score", "PROMPT", "--task", "cb", "--data", "DATA"], {
        int: ["--tokens", "--max-input", "--max-dev"], float: ["--held-out"],
        "name": ["--task", "--model", "--device"], "path": ["PROMPT", "--data"]}),
    ("predict.py", ["neighbours", "PROMPT"], {int: ["--top"], "path": ["PROMPT"]}),
    ("model.py", ["T5", "old cats", "--max-tokens", "3"], {
        int: ["--max-tokens"], "name": ["T5", "--check"], "text": ["old cats"]}),
    ("data.py", ["cb", "--data", "DATA", "--model", "T5"], {
        int: ["--max-input", "--count"], "name": ["cb", "--model"], "path": ["--data"]}),
    ("data.py", [], {}),
    ("transferability.py", ["PROMPT", "OTHER", "--scores", "SCORES"], {
        "name": ["--metric"], "path": ["PROMPT", "--scores"]})]
TRAIN = {int: [], float: [], "name": "--source --target --model --approach --device --dtype --kd "
         "--metric --optimizer --schedule --student-init --split --init".split(),
         "path": ["--data", "--out", "--init", "--unlabelled"], "text": ["--init"]}
for _action in flags.train_parser("", train.Recipe, train.APPROACHES)._actions:
    if _action.type in (int, float):
        TRAIN[_action.type].append(_action.option_strings[0])


# ------------------------------------------------------------------------- commands run


def start(program, argv, place, before=None, real=False, encoding="utf-8", output=""):
    """Begin `python PROGRAM ARGV` in the folder `place`: (process id, pipes of what it says).

    before: called there first; real: a process of its own; output: "" or "closed", "full" (the
    disk is), "head" (the reader leaves after a line). Its input is the file `stream`, if there is.
    """
    pipes = os.pipe(), os.pipe()
    for _, writer in pipes:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    pid = os.fork()
    if pid:
        for _, writer in pipes:
            os.close(writer)
        if output == "head":
            os.read(pipes[0][0], 1)
            os.close(pipes[0][0])
        return pid, [reader for reader, _ in pipes[output == "head":]]
    status = 1
    try:
        os.chdir(place)
        stdin = "stream" if Path("stream").exists() else os.devnull
        for fd, target in enumerate((os.open(stdin, os.O_RDONLY), *(w for _, w in pipes))):
            os.dup2(target, fd)
        os.closerange(3, 100)
        if output == "full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        elif output == "closed":
            os.close(1)
        before and before()
        files.PROCESS = 1 << 60 | secrets.randbits(59)  # which a new process has of its own
        argv = [os.fspath(one) for one in argv]
        if real:
            os.execve(sys.executable, [sys.executable, str(ROOT / program), *argv],
                      os.environ | {"PYTHONIOENCODING": encoding})
        sys.argv = [program, *argv]
        sys.stdin, sys.stderr = open(0, encoding=encoding), open(2, "w", 1, encoding=encoding,
                                                                 errors="backslashreplace")
        sys.stdout = None if output == "closed" else open(1, "w", encoding=encoding)
        runpy.run_path(str(ROOT / program), run_name="__main__")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else bool(error.code)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout and sys.stdout.flush()
        except (OSError, ValueError):
            status = 120  # as Python says it
        os._exit(status)


def ended(started):
    """(status, what it said, what it said of errors) of a process."""
    pid, readers = started
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = [open(reader, "rb").read().decode(errors="replace") for reader in readers]
    return status, *["", *said][-2:]


def run(*args, **more):
    return ended(start(*args, **more))


def judged(program, status, out, err, *named):
    """"right" or "refused", of a command that has ended."""
    said = f"status {status}: {err.strip()[-200:]!r}"
    must("Traceback" not in err and "Exception ignored" not in err, said)
    if status == 0:
        return "right"
    lines = err.rstrip("\n").split("\n")
    mine = [n for n, line in enumerate(lines) if re.match(f"{program}[: ]", line)]
    must(status == 2 and mine and mine[-1] == len(lines) - 1, said)
    must(not named or any(str(name) in lines[-1] for name in named), f"names no file: {said}")
    return "refused"


def tiny(place, *more, remote=False):
    """Flags of a train.py of seconds with all stages: sources, targets, students, tuning, grid.

    remote: its T5 and the data of one target are fetched (see `fetched`) to place/cache.
    """
    where = ("--model", "t5-small", "--cache", place / "cache") if remote else (
        "--model", home() / "t5", "--data", home() / "data")
    return [*"--source toy-cb --target toy-reviews,cb --approach prompt,pot,panda,finetune --kd kl "
            "--metric none --seeds 1 --steps 6 --source-steps 4 --evals 3 --batch 4 --length 3 "
            "--max-dev 24 --max-input 40 --device cpu --quiet".split(), "--out", place / "out",
            *where, *more]


def told(out):
    """file -> what it holds, of all results in a folder, but for times and what was asked."""
    def timeless(value):
        if isinstance(value, list):
            return [*map(timeless, value)]
        return {key: timeless(one) for key, one in value.items() if key not in (
            "seconds", "date", "command", "recipe", "config", "digest"  # of these, too
            )} if isinstance(value, dict) else value

    found = {}
    for file in sorted(out.rglob("*")):
        name = str(file.relative_to(out))
        if file.is_dir() or file.suffix in (".md", ".html", ".svg") or file.name in (
                "log.jsonl", "recipe.json"):
            found[name] = ""
        elif file.suffix == ".json" and not re.search(r"\.damaged|unfinished", name):  # cut, maybe
            with contextlib.suppress(ValueError):  # broken JSON is nobody's result: it is missing
                found[name] = json.dumps(timeless(json.loads(file.read_text())), sort_keys=True)
        else:
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def same(found, wanted, more=False):
    """Fail unless two folders hold the same; more: the first may hold other things as well."""
    differ = sorted(name for name in {**found, **wanted} if found.get(name) != wanted.get(name)
                    and not (more and name not in wanted))
    must(not differ, f"other than a fresh run's: {', '.join(differ[:6])} ({len(differ)})")


def tidy(*folders):
    left = [str(path) for folder in folders for path in folder.rglob("*")
            if re.match(r"\.unfinished-.*|.*\.(part|new|etag|damaged)$", path.name)
            or path.parent.name == "passes"]
    must(not left, f"left behind: {', '.join(left[:4])} ({len(left)})")


def writes(folder, act):
    """Call `act` before each thing that this process does to files under a folder."""
    def hook(event, arguments):
        if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link") or (
                event == "open" and isinstance(arguments[2], int)
                and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            if str(folder) in str(arguments[0]):
                act()

    sys.addaudithook(hook)


def dies_at(folder, number):
    left = itertools.count()
    return lambda: writes(folder, lambda: next(left) == number and os.kill(
        os.getpid(), signal.SIGKILL))


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub and the publishers on this computer, slow enough to be killed at."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        whole = cb_zip() if name == "CB.zip" else (
            home() / "t5" / name).read_bytes() if (home() / "t5" / name).exists() else None
        if whole is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.sha256(whole).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked[1]) if asked and self.headers.get("If-Range", tag) == tag else 0
        first = 0 if first >= len(whole) else first
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(whole) - 1}/{len(whole)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(whole) - first))
        self.end_headers()
        with contextlib.suppress(OSError):  # who asked was killed
            for at in range(first, len(whole), 1 << 12):
                self.wfile.write(whole[at:min(at + (1 << 12), len(whole))])
                time.sleep(0.005)

    def log_message(self, *_):
        pass


@functools.cache
def cb_zip():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for file in data.TASKS["cb"].files:
            member = zipfile.ZipInfo(file.partition("/")[2])  # of a fixed date: always these bytes
            archive.writestr(member, (home() / "data" / file).read_bytes())
    return content.getvalue()


@functools.cache
def hub():
    """The address of a Hub in a process of its own, which ends with this one."""
    server, parent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub), os.getpid()
    server.timeout = 1
    if not os.fork():
        while os.getppid() == parent:
            server.handle_request()
        os._exit(0)
    server.socket.close()
    return f"http://127.0.0.1:{server.server_port}"


def fetched():
    """For `start`: in this process, what is fetched comes from the Hub."""
    whole = cb_zip()
    download.PAUSE = 0
    train.hub.checkpoint = functools.partial(train.hub.checkpoint, hub=hub())
    download.ARCHIVES["superglue/CB"] = (f"{hub()}/CB.zip", len(whole),
                                         hashlib.sha256(whole).hexdigest())


@functools.cache
def undisturbed(remote=False):
    """(what it left, seconds, how many writes) of the tiny command by itself."""
    place, began = Path(tempfile.mkdtemp(dir=home())), time.time()
    count = write(place / "count", "")

    def before():
        file = os.open(count, os.O_WRONLY | os.O_APPEND)
        remote and fetched()
        writes(place, lambda: os.write(file, b"."))

    status, _, err = run("train.py", tiny(place, remote=remote), place, before)
    must(status == 0, f"the undisturbed command fails: {err}")
    return told(place / "out"), time.time() - began, count.stat().st_size
