"""The benchmark beside transformers + PEFT: what it measures is the step of train.train.

    python -m pytest tests/plumbing/test_benchmarks.py

Oracle: train.train itself; for the table, ratios worked out by hand; for the command, transformers
and PEFT, whose loss and gradient it compares with ours before it measures.
"""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

import train

sys.path.insert(0, str(train.world.MODEL.parents[1] / "benchmarks"))
import peers

FLAGS = "--shape tiny --batch 4 --length 5 --rounds 2 --dtype fp32 --parts step,student,evaluate"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    peers.write_model(folder / "model", "tiny", train.world.MODEL)
    peers.write_rows(folder / "data")
    return peers.Ours(peers.parse_arguments(FLAGS.split()), folder, steps=3)


def test_what_is_measured_is_a_step_of_a_training(ours):
    teachers = ((ours.start * 1.1, 0.5),)
    ours.begin("hidden", teachers)
    ours.precompute()
    for step in range(3):
        ours.step(step)
    measured = ours.training.bank.snapshot(0)
    journal = SimpleNamespace(
        steps=lambda *_, **__: range(3), total=3, is_due=lambda step: False,
        record_losses=lambda *_: None)
    ours.begin("hidden", teachers)
    train.train(ours.training, ours.recipe, journal)
    assert torch.equal(measured, ours.training.bank.snapshot(0))


def test_random_rows_are_as_many_and_as_long_as_those_of_cb(ours):
    assert (len(ours.task.inputs), len(ours.task.dev_inputs)) == (250, 56)
    lengths = sorted(len(ids) for ids in ours.task.inputs)
    assert 70 <= lengths[125] <= 90 and lengths[-1] <= 256  # CB's median is 79


def test_a_ratio_is_the_median_over_the_rounds(monkeypatch, capsys):
    monkeypatch.setattr(peers, "clock", iter(range(100)).__next__)
    steps = []
    seconds = peers.take_turns({"ours": steps.append, "PEFT": steps.append}, 3)
    assert steps == [2, 2, 0, 0, 1, 1, 2, 2]  # the first round is not counted
    assert seconds == {"ours": [1, 1, 1], "PEFT": [1, 1, 1]}
    peers.compare("a step", {"ours": [1, 2, 4], "PEFT": [2, 6, 4]}, "ours", "PEFT")
    assert capsys.readouterr().out == (
        "| a step | ours 2.000 s | PEFT 4.000 s | **2.00** (1.00 to 3.00) |\n")


@pytest.mark.parametrize("shift, raises", [(0.0, False), (0.1, True)])
def test_other_work_is_not_measured(ours, shift, raises):
    ours.begin()
    gradient = torch.full_like(ours.start, shift)
    peft = SimpleNamespace(model=torch.nn.Linear(1, 1), backward=ours.backward,
                           gradient=lambda: ours.gradient() + gradient)
    with pytest.raises(ValueError, match="gradient by") if raises else nullcontext():
        peers.differences(ours, peft)


def test_the_command_beside_peft(capsys):
    pytest.importorskip("peft", reason="needs benchmarks/requirements.txt")
    peers.main(FLAGS.split())
    printed = capsys.readouterr().out
    assert "ours fp32, PEFT fp32, 1 threads, 2 rounds; loss and gradient differ by" in printed
    rows = [line for line in printed.splitlines() if " **" in line]
    assert len(rows) == 7  # a step, without dropout, two students beside two others, dev
