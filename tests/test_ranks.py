"""Several processes at one training, as torchrun starts them: python -m pytest tests/test_ranks.py

Oracle: one process that does the same alone. Two processes of gloo, on this machine's CPU.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import forked
import prompt
from plumbing import ranks, states
from workbench import SMALL

pytestmark = pytest.mark.beside
ROOT = Path(__file__).resolve().parent.parent
FEW = ("--approach prompt,pot,panda --kd kl --seeds 1 --steps 3 --evals 1 --max-dev 12 --source "
       f"toy-reviews --target toy-cb --source-steps 2 --device cpu --model {SMALL}").split()


DIES = """
import os, signal, sys
import train
from plumbing import command
whole = train.gradients

def gradients(shop, work, step, *rest):
    if (work.title, step) == ("toy-cb prompts", 3):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(shop, work, step, *rest)

train.gradients = gradients
command.run(train.main, "train.py", goes_on=True)
"""


def start(out, *flags, second="train.py"):
    """The two processes of a run, each as torchrun would start it; second: what the other runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [forked.Command([second if rank else "train.py", *FEW, "--out", out, *flags], env={
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port)}) for rank in range(2)]


def ended(processes):
    """(status, what it said, what it said of errors) of each."""
    done = [process.ended() for process in processes]
    return [(one.returncode, one.stdout, one.stderr) for one in done]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    forked.run(["train.py", *FEW, "--out", out]).check_returncode()
    return out


def prompts(out):
    """name of approach -> its prompt (P, D)."""
    return {"prompt": prompt.load(out / "prompts" / "toy-cb-0")[0]} | {
        path.name: prompt.load(path)[0]
        for path in (out / "toy-reviews-to-toy-cb" / "prompts").iterdir()}


def logged(out):
    """How often each line of the log is there, but for its times."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return sorted((line["pass"], line["step"]) for line in lines)


def test_rows_shared_by_two_give_what_one_gives(alone, tmp_path):
    (status, said, wrong), (other, silent, _) = ended(start(tmp_path))
    assert (status, other, silent) == (0, 0, ""), wrong
    assert "panda toy-reviews: CE" in said and "| panda | toy-reviews |" in said
    one, two = prompts(alone), prompts(tmp_path)
    assert set(one) == set(two) == {"prompt", "pot-0", "panda-0"}
    for name in one:  # rounding, which AdamW makes larger where a gradient is nearly 0
        assert (one[name] - two[name]).norm() < 1e-3 * one[name].norm(), name
    assert logged(alone) == logged(tmp_path)  # one process writes
    for name in ("prompt", "pot", "panda"):  # CE and KD of all rows, not of one process's
        (a, b), where = [json.loads((out / "toy-reviews-to-toy-cb" / "results.json").read_text())[
            "teaching"][name][0]["terms"] for out in (alone, tmp_path)], slice(1, 3)
        assert [term[where] for term in b] == [pytest.approx(term[where], rel=1e-2) for term in a]
    assert not list((tmp_path / "passes").iterdir())


def test_a_process_that_is_killed_ends_the_run_which_then_goes_on(tmp_path):
    flags = "--steps", "6", "--evals", "6", "--approach", "prompt,pot"
    (tmp_path / "dies.py").write_text(DIES)
    (status, _, wrong), (killed, *_) = ended(start(tmp_path, *flags, second=tmp_path / "dies.py"))
    assert (status, killed) == (1, -signal.SIGKILL)
    [line] = [line for line in wrong.splitlines() if line.startswith("train.py: ")]
    assert "process 0 of 2 stopped, as another of them ended" in line
    assert "the same command goes on" in line and "Traceback" not in wrong
    (status, said, wrong), _ = ended(start(tmp_path, *flags))
    assert status == 0 and "toy-cb prompts: going on from step 3 of 6" in said, wrong


def test_an_error_is_said_once(tmp_path):
    found = ended(start(tmp_path, "--target", "toy-xy"))
    assert [status for status, *_ in found] == [2, 2]
    assert "".join(wrong for *_, wrong in found).count("unknown task 'toy-xy'") in (1, 2)


def test_pairs_are_dealt_out_and_each_run_is_trained_once(tmp_path):
    """By torchrun itself: two sources and two targets, and the grid of what both have done."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         "train.py", *FEW, "--approach", "prompt,pot", "--split", "pairs", "--source",
         "toy-reviews,toy-sst2", "--target", "toy-cb,toy-sst2", "--out", str(tmp_path)], cwd=ROOT,
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=100)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("grid*")} == {
        "grid.json", "grid.md", "grid.html", "grid-pot.svg"}
    runs = logged(tmp_path)
    assert len(runs) == len(set(runs)), "a run was trained twice"
    assert len([path for path in (tmp_path / "trained").iterdir()]) == 2 + 3 + 2  # itself left out


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(ranks, "size", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, wanted in (("0", "cuda:0"), ("1", "cuda:1")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert (ranks.device("cuda"), ranks.device("cpu")) == (wanted, "cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert ranks.device("cpu") == "cpu"
    with pytest.raises(ValueError, match="a process takes a GPU, and this machine has 2"):
        ranks.device("cuda")


def test_a_world_that_has_no_size_is_told_in_one_line(tmp_path):
    done = forked.Command(["train.py", *FEW, "--out", tmp_path], env={"WORLD_SIZE": "x"}).ended()
    assert (done.returncode, done.stderr) == (
        2, "train.py: WORLD_SIZE is 'x'; torchrun gives a number\n")


def test_one_process_alone_does_nothing_of_it():
    rows = [((0, place), "ids") for place in range(5)]
    assert ranks.mine(rows, lambda row: row[0][1]) is rows
    assert ranks.shared(rows, len, 5) == 5 and ranks.agreed("fp32") == "fp32"
    assert list(ranks.turns(["a"], ["b"])) == [(["a"], ["b"])] and ranks.device("cuda") == "cuda"
    p = torch.nn.Parameter(torch.zeros(2))
    ranks.add([p])
    assert p.grad is None


@pytest.mark.parametrize("prompts", [1, 3])
def test_a_process_scores_the_same_places_of_each_prompt(prompts, monkeypatch):
    """Of five places the second of two processes has two, of one prompt alone or of three."""
    rows, mine = [(n, place) for n in range(prompts) for place in range(5)], []

    def both(made, answers):  # what the first process would have answered beside them
        made[:] = [[f"{n} {place}" for n, place in rows if place % 2 == 0], answers]

    def do(some):
        mine.extend(some)
        return [f"{n} {place}" for n, place in some]

    monkeypatch.setattr(ranks, "by", lambda how: how == "rows")
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    monkeypatch.setattr(ranks.dist, "all_gather_object", both)
    assert ranks.shared(rows, do, 5) == [f"{n} {place}" for n, place in rows]
    assert mine == [(n, place) for n in range(prompts) for place in (1, 3)]


def test_gradients_are_summed_and_a_process_without_rows_adds_nothing(monkeypatch):
    """Against a process with the gradient 3 and the loss 1: 2 + 3, 0 + 3, and 4 + 1."""
    monkeypatch.setattr(ranks, "by", lambda split: True)
    others = iter([torch.tensor([3.0]), torch.tensor([3.0]), torch.tensor(1.0)])
    monkeypatch.setattr(ranks.dist, "all_reduce", lambda tensor: tensor.add_(next(others)))
    some, idle, loss = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    some.grad, loss = torch.tensor([2.0]), torch.tensor(4.0)
    ranks.add([some, idle], loss)
    assert (some.grad.item(), idle.grad.item(), loss.item()) == (5.0, 3.0, 5.0)


@pytest.mark.parametrize("split, told", [("rows", ["theirs"]), ("pairs", ["ours"])])
def test_by_rows_all_train_what_the_first_process_finds(split, told, tmp_path, monkeypatch):
    """A run that a third has written since the first one looked would part them for ever."""
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "_split", split)
    monkeypatch.setattr(ranks.dist, "broadcast_object_list", lambda values: values.__setitem__(
        0, ([1], ["theirs"])))
    assert states.Home(tmp_path, resume=False).todo([{}], ["ours"])[1] == told


@pytest.mark.parametrize("split, raised", [("rows", 3 << 32), ("pairs", 0)])
def test_by_pairs_a_seed_is_that_of_a_process_alone(split, raised, monkeypatch):
    monkeypatch.setattr(ranks, "rank", lambda: 3)
    monkeypatch.setattr(ranks, "size", lambda: 4)
    monkeypatch.setattr(ranks, "_split", split)
    assert ranks.apart() == raised


def test_an_example_is_always_the_same_processs(monkeypatch):
    monkeypatch.setattr(ranks, "by", lambda split: split == "rows")
    monkeypatch.setattr(ranks, "size", lambda: 3)
    rows, shares = [((n, place), "ids") for n in range(2) for place in range(7)], []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append(ranks.mine(rows, lambda row: row[0][1]))
    assert sorted(sum(shares, [])) == rows
    assert [{place for (_, place), _ in share} for share in shares] == [{0, 3, 6}, {1, 4}, {2, 5}]
