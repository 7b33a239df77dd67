"""plumbing/gpu.py: what a GPU is asked, and how seldom. What needs one says so where it skips.

    python -m pytest tests/test_gpu.py                     # some seconds without a GPU
    T5_DEVICE=cuda python -m pytest                        # the trainings of all tests on it

Oracle: the same T5 asked plainly; arithmetic in the comments.
"""

import dataclasses
import doctest
import types

import pytest
import torch

import model
import prompt
import train
from plumbing import device, gpu, optimizer
from reference import relative_error
from toy import world
from workbench import encoded, pass_of, shop_in, some_runs

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


def test_examples_in_the_docstrings():
    assert doctest.testmod(gpu).failed == 0 < doctest.testmod(gpu).attempted


def parts_of(lengths, tokens, again, device="cuda"):
    """How many rows of such lengths, behind 10 vectors, are in each part; a pass costs 40."""
    rows = [((0, i), [5] * length, [7], True) for i, length in enumerate(lengths)]
    parts = prompt.in_parts(rows, tokens, 10, 40, *gpu.shape(len(rows), device, again))
    return [len(part) for part in parts]


def test_a_step_on_a_gpu_comes_in_few_shapes():
    """16 rows of 10 to 160 tokens: cut after 4, 8 or 12 of them, if at all."""
    rising = range(10, 170, 10)
    assert parts_of(rising, 10 ** 6, again=True) == [4, 4, 4, 4]
    assert parts_of(rising, 10 ** 6, again=True, device="cpu") != [4, 4, 4, 4]
    assert len(parts_of(rising, 10 ** 6, again=False)) > 4  # asked once: at any of them
    # Of one length from the 3rd to the 12th: cut inside of them, as 12 rows of 32 wait for none.
    assert parts_of([10, 10, *[20] * 10, *[90] * 4], 10 ** 6, again=True) == [12, 4]
    assert [gpu.shape(rows, "cuda", True) for rows in (1, 3, 5)] == [(1, 32), (1, 32), (2, 32)]


def test_the_padding_to_rounded_widths_counts():
    """13 tokens behind 10 are 32 wide, so ten rows fill 320; 20 are as wide: no cut between."""
    assert gpu.columns(13, "cuda", gpu.WIDTH, 10) + 10 == 32
    assert parts_of([13] * 20, 320, again=True) == [10, 10]
    assert parts_of([13] * 8 + [20] * 8, 10 ** 6, again=True) == [16]


def test_the_room_of_a_gpu(monkeypatch):
    """T5-base keeps 12 blocks * (8 * 768 + 2 * (4 * 768 + 3072)) = 221,184 bytes of a position.

    Recomputed, 12 * 4 * 768 and one block's 18,432: 55,296. A gated feed-forward keeps three.
    """
    base = model.Config(32128, 768, 64, 3072, 12, 12, 12)
    assert gpu.kept(base, 2) == 221_184 and gpu.kept(base, 2, recompute=True) == 55_296
    assert gpu.kept(base, 4) == 12 * (8 * 768 + 4 * (4 * 768 + 3072))
    gated = dataclasses.replace(base, feed_forward_proj="gated-gelu")
    assert gpu.kept(gated, 2) - gpu.kept(base, 2) == 12 * 2 * 2 * 3072
    weights = [torch.zeros(50, 1000), torch.zeros(1_000_000, dtype=torch.float64)]  # 8,200,000
    t5 = types.SimpleNamespace(device=torch.device("cuda"), config=base, amp=torch.bfloat16,
                               recompute=False, parameters=lambda: weights)
    plain = types.SimpleNamespace(dropout=0.0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(
        total_memory=8_200_000 + 3 * 221_184 * 300 + 5))
    assert gpu.room(t5, plain) == 300
    t5.recompute = True
    assert gpu.room(t5, plain) == 1200
    t5.recompute, t5.amp = False, None
    assert gpu.room(t5, plain) == 221_184 * 300 // gpu.kept(base, 4)
    assert gpu.room(t5, types.SimpleNamespace(dropout=0.1)) == 8192  # there a cut decides results
    t5.amp = torch.float16
    assert gpu.room(t5, plain) == 8192
    t5.amp, t5.device = torch.bfloat16, torch.device("cpu")
    assert gpu.room(t5, plain) == 8192
    t5.device, t5.config = torch.device("cuda"), dataclasses.replace(base, num_layers=0)
    weights.clear()
    monkeypatch.setattr(gpu, "kept", lambda *_: 1)
    assert gpu.room(t5, plain) == gpu.ROOM  # of a small T5 on a large card


@pytest.mark.parametrize("dtype, within", [("fp32", 1e-6), ("bf16", 0.01)])
def test_the_norm_in_one_operation_is_the_plain_one(dtype, within):
    norm = model.RMSNorm(model.Config(40, 24, 8, 64, 1, 1, 4)).to(device.DTYPES[dtype])
    norm.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    x = 1e4 * torch.randn(3, 5, 24)
    made, plain = gpu.rms_norm(x, norm.weight, norm.eps), norm(x)
    assert made.dtype == plain.dtype and relative_error(made, plain) < within
    half = gpu.rms_norm(100 * x, norm.weight.half(), norm.eps)  # x is beyond fp16
    assert half.dtype == torch.float16 and relative_error(half.float(), plain) < 0.01


# -------------------------------------------------------------------- recordings


@pytest.fixture
def recorder(monkeypatch):
    """A Recorder that takes this machine for a GPU; its recordings say what was recorded."""
    def make(call, places, pool):
        assert pool == "pool 1" and places[0].is_leaf and places[0].requires_grad
        recorder.places = places
        recorder.made_of.append((tuple(places[0].shape), call(*places)))
        return lambda *given: ("recorded", tuple(given[0].shape))

    monkeypatch.setattr(gpu, "is_one", lambda where: True)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    pools = iter(("pool 1", "pool 2"))  # one serves all
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
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
    assert not torch.is_tensor(recorder(t5, *given())[0])
    assert torch.is_tensor(recorder(t5, *given(), again=True)[0])  # several backward passes


def test_a_recording_has_places_of_its_own(recorder):
    """What it is recorded with is written over by whatever it is asked later."""
    t5, first = model.load(world.MODEL), given()
    for _ in range(gpu.MET + 1):
        recorder(t5, *first)
    for mine, place in zip(first, recorder.places):
        place.data.fill_(7)
        assert not (mine == 7).any()


@pytest.mark.parametrize("what", ["dropout", "recompute", "a trained T5", "no gradient"])
def test_what_is_never_recorded(what, recorder):
    t5 = model.load(world.MODEL)
    t5.dropout, t5.recompute = 0.1 * (what == "dropout"), what == "recompute"
    t5.decoder.requires_grad_(what == "a trained T5")
    assert not any(asked(recorder, t5, grad=what != "no gradient") for _ in range(6))


def test_of_many_recordings_the_longest_unused_goes(recorder, monkeypatch):
    monkeypatch.setattr(gpu, "MOST", 2)
    t5 = model.load(world.MODEL)
    for rows in (1, 2):
        assert [asked(recorder, t5, rows) for _ in range(gpu.MET + 1)][-1]
    assert asked(recorder, t5, 1)
    assert [asked(recorder, t5, 3) for _ in range(gpu.MET + 1)][-1]  # in the place of 2
    assert asked(recorder, t5, 1)
    assert [asked(recorder, t5, 2) for _ in range(gpu.MET + 1)] == [False] * gpu.MET + [True]
    assert len(recorder.made) == 2


def test_what_is_forgotten_is_recorded_anew(recorder):
    t5 = model.load(world.MODEL)
    assert [asked(recorder, t5) for _ in range(gpu.MET + 1)][-1]
    recorder.forget()
    assert not recorder.made and recorder.pool is None and not asked(recorder, t5)


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


def test_where_memory_is_too_small_for_a_recording_the_plain_pass_goes_on(
        recorder, monkeypatch, capsys):
    tried = []

    def full(*_, **__):
        tried.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu, "LARGE", 12)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", full)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    t5 = model.load(world.MODEL)
    assert not any(asked(recorder, t5) for _ in range(gpu.MET + 5))
    assert len(tried) == 1 and recorder.compiles and "encoder_block" not in vars(t5)
    assert capsys.readouterr().out.count("no memory to record a pass of (2, 6)") == 1


def test_a_fault_that_is_not_the_compilers_comes_through(recorder, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("not for this device")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails)
    t5 = model.load(world.MODEL)
    with pytest.raises(RuntimeError, match="not for this device"):
        for _ in range(gpu.MET + 1):
            asked(recorder, t5)


def test_a_step_says_whether_it_takes_several_backward_passes(tmp_path):
    shop, told = shop_in(tmp_path, "--device", "cpu"), []
    assert shop.tokens == 8192 and shop_in(tmp_path, "--tokens", "77").tokens == 77

    def through(t5, *given, again):
        told.append(again)
        return t5(*given)

    shop = dataclasses.replace(shop, through=through)
    task = encoded(shop)
    work = pass_of(shop, task, some_runs(shop, task))
    for explain in (False, True):
        train.gradients(shop, work, 0, torch.amp.GradScaler("cpu", enabled=False), explain)
        assert {*told} == {explain}
        told.clear()


# ----------------------------------------------------------------------- on a GPU


def steps_of(shop, task, runs, scaler, form="kl", count=6, record=True):
    """(CE, gradients) of each of some steps, all with the same rows."""
    work, found = pass_of(shop, task, runs, form), []
    if not record:
        shop = dataclasses.replace(shop, through=lambda t5, *given, again: t5(*given))
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
    work.optimizer = optimizer.Adafactor(work.bank.prompts, 0.3)
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
    """All approaches: stopped in the middle and gone on, the same prompts are there at the end."""
    def run(out):
        train.main([
            "--target", "toy-cb", "--source", "toy-nli,toy-sst2", "--approach",
            "prompt,pot,panda,controls,fusion,finetune", "--steps", "8", "--source-steps", "4",
            "--batch", "4", "--length", "3", "--evals", "2", "--seeds", "2", "--device", "cuda",
            "--out", str(tmp_path / out), "--quiet"])
        return sorted((path.name.rpartition("-")[0], (path / "prompt.json").exists())
                      for path in (tmp_path / out / "trained").iterdir())

    whole, steps = train.gradients, iter(range(10 ** 6))

    def dies(*args):
        if next(steps) == 13:
            raise KeyboardInterrupt
        return whole(*args)

    wanted = run("whole")
    monkeypatch.setattr(train, "gradients", dies)
    with pytest.raises(KeyboardInterrupt):
        run("again")
    monkeypatch.setattr(train, "gradients", whole)
    assert run("again") == wanted and len(wanted) > 10
    for path in (tmp_path / "again" / "trained").glob("*/prompt.json"):
        assert prompt.load(path.parent)[0].isfinite().all()
