"""Commands in forks of one process that has torch and the toy tasks: seconds less for each.

    done = forked.run(["predict.py", "neighbours", "toy/prompts/toy-nli-0"])
    assert done.returncode == 0 and done.stdout and not done.stderr

No test of its own. The environment is that of the test; its patches and fixtures do not arrive
there. Give train.py an --out, or it writes to the checkout's runs/. Where the start of a process
matters, or its end, tests start whole ones.
"""

import contextlib
import multiprocessing
import os
import runpy
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import train
from plumbing import files

ROOT = Path(train.__file__).parent
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["drawn"])


def become(argv, folder, env, said):
    """In the fork: `python PROGRAM …` in this folder; said: the files of what it says."""
    os.chdir(folder)
    os.environ.clear()
    os.environ |= env
    for fd, path in zip((1, 2), said):
        os.dup2(os.open(path, os.O_WRONLY), fd)
    sys.stdout, sys.stderr = open(1, "w", encoding="utf-8"), open(2, "w", 1, encoding="utf-8")
    files.PROCESS = 1 << 60 | secrets.randbits(59)  # which a new process has of its own
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")


class Command:
    """One that has been started."""

    def __init__(self, argv, folder=ROOT, env={}):
        self.argv, self.scratch = [os.fspath(one) for one in argv], tempfile.TemporaryDirectory()
        self.said = [Path(self.scratch.name, name) for name in ("out", "err")]
        for path in self.said:
            path.touch()
        self.process = SERVER.Process(
            target=become, args=(self.argv, folder, os.environ | env, self.said))
        with contextlib.chdir(ROOT / "tests"):  # where the server finds drawn.py
            self.process.start()

    def ended(self, timeout=100):
        """A CompletedProcess, as subprocess.run gives one."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.argv, timeout)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self.said)
        return subprocess.CompletedProcess(self.argv, self.process.exitcode, out, err)


def run(argv, folder=ROOT):
    return Command(argv, folder).ended()
