"""Several processes at one command, as torchrun starts them: the numbers of one, and whole files.

    python -m pytest tests/plumbing/test_processes.py

Oracle: one process that does the same alone. Here two forks of this process, which talk by gloo
with the environment that torchrun gives; one test starts torchrun itself.
"""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

import train
from plumbing import processes
from toy import world

SLOWER = "--split rows on a CPU is usually slower than one process on all its cores"


@pytest.fixture
def torchrun(fork):
    """torchrun(function of a rank) -> the two results, as if torchrun had started it twice."""
    def start(act):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        forks = [fork(lambda rank=rank: act(rank), RANK=str(rank), LOCAL_RANK=str(rank), **common)
                 for rank in (0, 1)]
        return [process.wait() for process in forks]

    return start


def same_prompts(tiny, out, alone):
    prompts, wanted = tiny.prompts(out), tiny.prompts(alone)
    assert prompts.keys() == wanted.keys() and len(wanted) >= 4
    for name, prompt in prompts.items():
        torch.testing.assert_close(prompt, wanted[name], rtol=1e-4, atol=1e-4, msg=name)


def trained(out):
    """(training, step, run) of each evaluation in the log, sorted."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return sorted((entry["training"], entry["step"], run) for entry in entries
                  for run in entry["dev"])


def files_in(out):
    return {str(path.relative_to(out)) for path in out.rglob("*") if "trained" not in str(path)}


@pytest.mark.parametrize("optimizer", ["adafactor", "adamw"])
def test_by_rows_two_processes_train_what_one_trains(optimizer, tiny, torchrun, tmp_path):
    more = ["--optimizer", optimizer, "--device", "cpu"]
    tiny.train(tmp_path / "alone", *more)
    first, second = torchrun(lambda rank: tiny.train(tmp_path / "rows", *more))
    assert (first.status, second.status) == (0, 0), first.stderr + second.stderr
    assert first.stdout.count(SLOWER) == 1 and second.stdout == ""
    same_prompts(tiny, tmp_path / "rows", tmp_path / "alone")
    assert files_in(tmp_path / "rows") == files_in(tmp_path / "alone")


def test_torchrun_by_pairs_trains_each_run_once(tiny, tmp_path):
    """And the grid, which one process writes from what all have trained."""
    grid = ["--source", "toy-nli,toy-sst2", "--target", "toy-cb,toy-sst2", "--device", "cpu",
            "--max-dev", "20", "--approach", "prompt,pot"]
    alone, out = tmp_path / "alone", tmp_path / "pairs"
    script = tmp_path / "few.py"  # train.py in the toy world of the fixture `tiny`
    script.write_text("import train\nfrom plumbing import options\nfrom toy import world\n"
                      f"world.SIZES.update({world.SIZES!r})\noptions.run(train.main, 'train.py')\n")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         str(script), *tiny.flags(out, *grid, "--split", "pairs")], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.path.dirname(train.__file__)})
    assert done.returncode == 0, done.stderr
    assert SLOWER not in done.stdout
    tiny.train(alone, *grid)
    same_prompts(tiny, out, alone)
    assert files_in(out) == files_in(alone) and (out / "grid.html").exists()
    runs = trained(out)
    assert runs == trained(alone) and len(runs) == len(set(runs)) == 2 * (2 + 3 + 2)


def other_weights(tiny, tmp_path):
    folder = tmp_path / "other"
    tiny.copy(folder, seed=2)
    return ["--model", folder]


@pytest.mark.parametrize("flags, complaint", [
    (lambda tiny, out: ["--lr", "0.1"], "the T5, the examples or the recipe"),
    (other_weights, "the T5, the examples or the recipe"),
    (lambda tiny, out: ["--out", out / "other"], "--out")], ids=["lr", "weights", "out"])
@pytest.mark.parametrize("split", ["rows", "pairs"])
def test_a_process_that_differs_is_refused(split, flags, complaint, tiny, torchrun, tmp_path):
    more = flags(tiny, tmp_path)
    both = torchrun(lambda rank: tiny.train(tmp_path / "out", "--split", split,
                                            *(more if rank == 1 else ())))
    for who, process in zip(("", "process 1: "), both):
        assert process.status == 2
        assert process.stderr.startswith(
            f"train.py: {who}{complaint} differs between process 0 and process 1: give all ")
        assert process.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("prompt.json"))


@pytest.mark.parametrize("split", ["rows", "pairs"])
def test_where_one_is_killed_the_other_ends_in_one_line(split, tiny, torchrun, tmp_path,
                                                        monkeypatch):
    """At once, though by pairs it would wait for hours of work. One process then goes on."""
    step = train.step_rows

    def die(training, number, batch):
        if number == 1 and dist.is_initialized() and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(training, number, batch)

    monkeypatch.setattr(train, "step_rows", die)
    flags = ["--device", "cpu", "--source", "toy-nli,toy-sst2", "--approach", "prompt,pot"]
    first, second = torchrun(lambda rank: tiny.train(tmp_path / "out", *flags, "--split", split))
    assert (first.status, second.status) == (1, -signal.SIGKILL)
    assert first.stderr.startswith("train.py: stopped, as another process ended or did not answer")
    assert first.stderr.count("\n") == 1
    tiny.train(tmp_path / "out", *flags)
    tiny.train(tmp_path / "alone", *flags)
    same_prompts(tiny, tmp_path / "out", tmp_path / "alone")


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(processes, "size", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, wanted in (("0", "cuda:0"), ("1", "cuda:1")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert processes.device("cuda") == wanted
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="each process takes a GPU, and this machine has 2"):
        processes.device("cuda")


def test_one_process_alone_does_nothing_of_it(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    processes.start("rows")
    tensor = torch.ones(2)
    processes.add_up([tensor])
    assert tensor.tolist() == [1, 1] and processes.gather({1: 2}) == {1: 2}
    assert list(processes.turns(["a"], ["b"])) == [(["a"], ["b"])] and processes.is_writer()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(ValueError, match="^WORLD_SIZE is 'two', wanted a number"):
        processes.start("rows")
