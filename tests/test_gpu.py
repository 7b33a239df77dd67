"""plumbing/gpu.py: what a GPU is asked, and how seldom. What needs one says so where it skips.

    python -m pytest tests/test_gpu.py                     # some seconds without a GPU
    T5_DEVICE=cuda python -m pytest                        # the trainings of all tests on it

Oracle: the same T5 asked plainly; arithmetic in the comments.
"""

import dataclasses
import functools
import types

import pytest
import torch

import model
import prompt
import train
from plumbing import device, gpu
from reference import relative_error
from toy import world
from workbench import encoded, few, pass_of, shop_in, some_runs  # noqa: F401: few is a fixture

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
pytestmark = pytest.mark.usefixtures("few")


# ------------------------------------------------------------------------ shapes


def test_numbers_are_placed_as_they_are():
    assert gpu.placed([[1, 2], [3, 0]], "cpu").tolist() == [[1, 2], [3, 0]]
    assert gpu.placed((0.5, 1), "cpu").dtype == torch.float32
    assert model.pad([[5, 6, 1], [7, 1]], "cpu", 32, 3).tolist() == [[5, 6, 1], [7, 1, 0]]


@pytest.mark.parametrize("where, one", [("cuda", True), ("cuda:1", True), ("cpu", False), (
    torch.device("cuda", 1), True), (torch.device("cpu"), False), ("mps", False)])
def test_what_is_a_gpu_of_this_kind(where, one):
    assert gpu.is_one(where) == one


def test_a_step_on_a_gpu_comes_in_few_shapes(monkeypatch):
    """16 rows of 10 to 160 tokens: cut after 4, 8 or 12 of them, if at all."""
    rows = [((0, i), [5] * 10 * (i + 1), [7], True) for i in range(16)]
    parts = list(prompt.in_parts(rows, 10 ** 6, 10, 40, gpu.every(len(rows), "cuda")))
    assert [len(part) for part in parts] == [4, 4, 4, 4]
    assert [len(part) for part in prompt.in_parts(rows, 10 ** 6, 10, 40)] != [4, 4, 4, 4]


def test_the_room_of_a_gpu(monkeypatch):
    """T5-base keeps 12 blocks * (8 * 768 + 2 * (4 * 768 + 3072)) = 221,184 bytes of a position.

    Recomputed, 12 * 4 * 768 and one block's 18,432: 55,296. A gated feed-forward keeps three.
    """
    base = model.Config(32128, 768, 64, 3072, 12, 12, 12)
    assert gpu.kept(base, 2) == 221_184 and gpu.kept(base, 2, recompute=True) == 55_296
    assert gpu.kept(base, 4) == 12 * (8 * 768 + 4 * (4 * 768 + 3072))
    gated = dataclasses.replace(base, feed_forward_proj="gated-gelu")
    assert gpu.kept(gated, 2) - gpu.kept(base, 2) == 12 * 2 * 2 * 3072
    weights = [torch.zeros(50, 1000), torch.zeros(25_000, dtype=torch.float64)]  # 400,000 bytes
    t5 = types.SimpleNamespace(device=torch.device("cuda"), config=base, amp=torch.bfloat16,
                               recompute=False, parameters=lambda: weights)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(
        total_memory=400_000 + 3 * 221_184 * 300 + 5))
    assert gpu.room(t5) == 300
    t5.amp = None
    assert gpu.room(t5) == 221_184 * 300 // gpu.kept(base, 4)
    t5.device = torch.device("cpu")
    assert gpu.room(t5) == 8192


# -------------------------------------------------------------------- recordings


@pytest.fixture
def recorder(monkeypatch):
    """A Recorder that takes this machine for a GPU; its recordings say what was recorded."""
    def make(call, places, pool):
        assert pool == "pool" and places[0].is_leaf and places[0].requires_grad
        recorder.made_of.append((tuple(places[0].shape), call(*places)))
        return lambda *given: ("recorded", tuple(given[0].shape))

    monkeypatch.setattr(gpu, "is_one", lambda where: True)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    recorder = gpu.Recorder()
    recorder.made_of = []
    return recorder


def given(rows=2, width=6, targets=2, grad=True):
    return (torch.zeros(rows, width, 128, requires_grad=grad),
            torch.ones(rows, width, dtype=torch.bool), torch.zeros(rows, targets, dtype=torch.long))


def asked(recorder, t5, *of, **more):
    """Whether a recording answers."""
    return not torch.is_tensor(recorder(t5, *given(*of, **more))[0])


def test_a_shape_is_recorded_when_it_came_often(recorder):
    t5 = model.load(world.MODEL)
    assert [asked(recorder, t5) for _ in range(5)] == [False] * gpu.MET + [True] * 2
    assert not asked(recorder, t5, 3) and not asked(recorder, t5, 2, 7)  # another shape
    assert not asked(recorder, t5, targets=3)
    assert [shape for shape, _ in recorder.made_of] == [(2, 6, 128)]
    memory, states = recorder.made_of[0][1]
    plain = t5(*given())
    assert torch.equal(memory, plain[0]) and torch.equal(states, plain[1])
    assert not asked(recorder, model.load(world.MODEL))  # another T5


@pytest.mark.parametrize("what", ["dropout", "recompute", "a trained T5", "no gradient"])
def test_what_is_never_recorded(what, recorder):
    t5 = model.load(world.MODEL)
    t5.dropout, t5.recompute = 0.1 * (what == "dropout"), what == "recompute"
    t5.decoder.requires_grad_(what == "a trained T5")
    assert not any(asked(recorder, t5, grad=what != "no gradient") for _ in range(6))


def test_there_are_so_many_recordings_and_no_more(recorder, monkeypatch):
    monkeypatch.setattr(gpu, "MOST", 2)
    t5, shapes = model.load(world.MODEL), (1, 2, 3)
    for _ in range(gpu.MET + 1):
        answered = [asked(recorder, t5, rows) for rows in shapes]
    assert answered == [True, True, False]


def test_a_large_shape_is_compiled_and_the_t5_left_as_it_was(recorder, monkeypatch, capsys):
    """12 positions are large here. What compiles says so; where it fails, that is said once."""
    seen, t5 = [], model.load(world.MODEL)

    def compiled(t5, *args):
        seen.append(args)
        if broken:
            raise RuntimeError("Failed to find C compiler\nmore")
        return type(t5).encoder_block(t5, *args)

    monkeypatch.setattr(gpu, "LARGE", 12)
    monkeypatch.setattr(gpu, "compiled_block", lambda kind: compiled)
    for broken, width, blocks in ((False, 5, 0), (False, 6, 4), (True, 7, 1), (True, 8, 0)):
        answers = [asked(recorder, t5, 2, width) for _ in range(gpu.MET + 1)]
        assert answers[-1] and len(seen) == blocks and "encoder_block" not in vars(t5)
        said = capsys.readouterr().out
        assert (width == 7) == ("not compiled (Failed to find C compiler): large" in said)
        seen.clear()


def test_no_memory_for_a_recording_is_no_fault_of_the_compiler(recorder, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "LARGE", 12)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", full)
    t5 = model.load(world.MODEL)
    with pytest.raises(torch.OutOfMemoryError):
        for _ in range(gpu.MET + 1):
            asked(recorder, t5)
    assert recorder.compiles and "encoder_block" not in vars(t5)


# ----------------------------------------------------------------------- on a GPU


def steps_of(shop, task, runs, scaler, form="kl", count=6, record=True):
    """(CE, gradients) of each of some steps, all with the same rows."""
    work, found = pass_of(shop, task, runs, form), []
    if not record:
        shop = dataclasses.replace(shop, through=lambda t5, *given: t5(*given))
    for _ in range(count):
        work.bank.zero_grad()
        ce, kd, *_ = train.gradients(shop, work, 0, scaler)
        found.append((ce + kd, *(p.grad.clone() for p in work.bank.prompts)))
    return found, shop


@on_a_gpu
@pytest.mark.parametrize("form", ["kl", "states"])
@pytest.mark.parametrize("dtype, within", [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.02)])
def test_a_recorded_step_is_the_plain_one_and_nearly_the_cpus(dtype, within, form, tmp_path):
    shop = shop_in(tmp_path, "--device", "cuda", "--dtype", dtype)
    task = encoded(shop)
    runs = some_runs(shop, task)
    scaler = torch.amp.GradScaler("cuda", enabled=False)
    plain, recorded = (steps_of(shop, task, runs, scaler, form, record=record)[0][-1]
                       for record in (False, True))
    assert shop.through.made
    cpu = shop_in(tmp_path, "--device", "cpu", "--dtype", "fp32")
    [there], _ = steps_of(cpu, task, runs, torch.amp.GradScaler("cpu", enabled=False), form, 1)
    for k, (ours, same, theirs) in enumerate(zip(recorded, plain, there)):
        assert relative_error(ours, same) < 1e-5  # what is added up in any order may differ
        assert relative_error(ours.cpu(), theirs) < within * (3 if k else 1)  # CE; gradients


@on_a_gpu
def test_a_step_waits_for_nothing(tmp_path):
    """By torch's own watch. In the first epoch teachers are remembered, which waits."""
    shop = shop_in(tmp_path, "--device", "cuda")
    task = encoded(shop)
    work, scaler = pass_of(shop, task, some_runs(shop, task)), torch.amp.GradScaler(
        "cuda", enabled=False)
    work.optimizer = prompt.Adafactor([{"params": [p]} for p in work.bank.prompts])
    for _ in range(gpu.MET + 2):  # then the shape is recorded
        train.gradients(shop, work, 0, scaler)
    torch.cuda.set_sync_debug_mode("error")
    try:
        train.gradients(shop, work, 0, scaler)
        work.optimizer.step()
        with pytest.raises(RuntimeError, match="synchroniz"):
            work.bank.prompts[0].sum().item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
def test_fp16_trains_a_t5_whose_feed_forward_leaves_its_range_on_its_own_hardware(tmp_path):
    """As tests/test_train.py has it on a CPU: wo a million times as large."""
    t5 = model.load(world.MODEL)
    t5.encoder.blocks[1].ff.wo.weight.mul_(1e6)
    model.save(t5, tmp_path / "t5")
    shop = shop_in(tmp_path, "--device", "cuda", "--dtype", "fp16", "--steps", "12")
    shop = dataclasses.replace(shop, t5=model.load(tmp_path / "t5", torch.float16, "cuda"))
    task = encoded(shop)
    [result] = train.train_prompts(shop, task, some_runs(shop, task, count=1), "fp16")
    assert result.best.isfinite().all() and all(torch.tensor(ce).isfinite()
                                                for _, ce, *_ in result.terms)


@on_a_gpu
def test_a_large_pass_is_compiled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "LARGE", 1)
    shop = shop_in(tmp_path, "--device", "cuda")
    task = encoded(shop)
    runs, scaler = some_runs(shop, task), torch.amp.GradScaler("cuda", enabled=False)
    compiled, _ = steps_of(shop, task, runs, scaler)
    assert shop.through.made and shop.through.compiles, capsys.readouterr().out
    for ours, theirs in zip(compiled[-1], compiled[0]):  # recorded, and plain
        assert relative_error(ours, theirs) < 1e-4


@on_a_gpu
def test_the_command_on_a_gpu_is_stopped_and_goes_on(tmp_path, monkeypatch):
    """All approaches, from the same steps: killed in the middle, and not."""
    def run(out, *more):
        args = train.parse_arguments([
            "--target", "toy-cb", "--source", "toy-nli,toy-sst2", "--approach",
            "prompt,pot,panda,controls,fusion,finetune", "--steps", "8", "--source-steps", "4",
            "--batch", "4", "--length", "3", "--evals", "2", "--seeds", "2", "--device", "cuda",
            "--out", str(tmp_path / out), "--quiet", *more])
        monkeypatch.setattr(train, "parse_arguments", lambda argv=None: args)
        train.main()

    whole, steps = train.gradients, iter(range(10 ** 6))

    def dies(*args):
        if next(steps) == 13:
            raise KeyboardInterrupt
        return whole(*args)

    run("whole")
    monkeypatch.setattr(train, "gradients", dies)
    with pytest.raises(KeyboardInterrupt):
        run("again")
    monkeypatch.setattr(train, "gradients", whole)
    run("again")
    names = [sorted(path.name.rpartition("-")[0] for path in (tmp_path / out / "trained").iterdir())
             for out in ("whole", "again")]
    assert names[0] == names[1] and len(names[0]) > 10
    finite = functools.reduce(lambda ok, path: ok and prompt.load(path)[0].isfinite().all(), (
        path for path in (tmp_path / "again" / "trained").iterdir()
        if (path / "prompt.json").exists()), True)
    assert finite and device.choose()[0] == "cuda"
