"""plumbing/cores.py: which core does what, and in which company.

    python -m pytest tests/test_cores.py    # some seconds

Oracle: threads that wait for each other, what each says of itself, cuts by hand, a count of pages.
"""

import ctypes
import functools
import platform
import subprocess
import sys
import threading
import types

import pytest
import torch

import model
import prompt
from plumbing import cores, product
from toy import world


@pytest.fixture
def two(monkeypatch):
    """A machine of two cores; its pool is this test's own."""
    before = torch.get_num_threads()
    monkeypatch.setattr(cores, "CORES", 2)
    cores.pool.cache_clear()
    yield
    cores.pool().shutdown()
    cores.pool.cache_clear()
    torch.set_num_threads(before)


@pytest.fixture
def one():
    """One thread, as a small T5's pass has it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def t5(width, dropout=0.0, device="cpu", amp=None):
    sizes = types.SimpleNamespace(d_model=width, d_kv=8, num_heads=2, d_ff=16, vocab_size=40)
    return types.SimpleNamespace(device=torch.device(device), dropout=dropout, amp=amp,
                                 config=sizes)


def test_prompts_of_a_small_t5_go_side_by_side_each_by_one_core(two):
    """Each of two waits until the other has begun: one after the other they would never end."""
    both = threading.Barrier(2, timeout=20)

    def do(group):
        both.wait()
        return group, torch.get_num_threads(), threading.current_thread() is here

    here, each = threading.current_thread(), cores.sharing(t5(128))
    assert torch.get_num_threads() == 1  # what else there is, too
    torch.set_num_threads(2)  # as a large T5 in the same process would
    assert each(do, "ab") == [("a", 1, False), ("b", 1, False)]


@pytest.mark.parametrize("of", [t5(512), t5(128, device="cuda"), t5(128, dropout=0.1)],
                         ids=["large", "on a GPU", "with dropout"])
def test_others_go_one_after_the_other(two, of):
    """By all cores; but with dropout, which needs the one order that draws the same."""
    said = []

    def do(group):
        said.append((group, threading.current_thread() is threading.main_thread()))
        return torch.get_num_threads()

    assert cores.sharing(of)(do, "ab") == [1 if of.dropout else 2] * 2
    assert said == [("a", True), ("b", True)]


def test_answers_come_in_order_and_a_fault_comes_through(two):
    each, later = cores.sharing(t5(128)), threading.Event()

    def do(group):
        if group == "last":
            later.set()
        elif group == "first":
            later.wait(20)
        else:
            raise ValueError("of one group")
        return group

    assert each(do, ["first", "last"]) == ["first", "last"]
    with pytest.raises(ValueError, match="of one group"):
        each(do, ["last", "odd"])


# --------------------------------------------------------- who shares a forward pass


def test_on_a_gpu_all_rows_may_share_a_pass_on_a_cpu_those_of_a_prompt(two):
    rows, whose = [("a", 1), ("a", 2), ("b", 3)], lambda row: row[0]
    assert cores.together(rows, t5(512, device="cuda"), whose) == [rows]
    assert cores.together(rows, t5(512), whose) == [rows[:2], rows[2:]]


def test_the_prompts_of_a_small_t5_are_dealt_to_the_cores_in_order(two, monkeypatch):
    monkeypatch.setattr(cores, "apart", lambda config: True)
    whose, own = lambda row: row[0], ["aaa", "bb", "c"]
    assert [*map("".join, cores.together("aaabbc", t5(128), whose))] == ["aaa", "bbc"]
    assert [*map("".join, cores.together("a", t5(128), whose))] == ["a"]
    assert cores.together("", t5(128), whose) == []
    # Many rows are not dealt out at once: whoever is free takes the next.
    assert [*map("".join, cores.together("a" * 90 + "b" * 100 + "c" * 200, t5(128), whose))] == [
        "a" * 90, "b" * 100, "c" * 200]
    # But not where a row's numbers may depend on those beside it: not with dropout, not in bf16,
    # and not where the products' do.
    for dropout, amp, apart in (0.1, None, True), (0, torch.bfloat16, True), (0, None, False):
        monkeypatch.setattr(cores, "apart", lambda config: apart)
        assert [*map("".join, cores.together("aaabbc", t5(128, dropout, amp=amp), whose))] == own


def test_every_product_of_a_t5_is_tried(monkeypatch):
    """Of width 128: two heads of 8, a feed-forward of 16, 40 words. There and back."""
    monkeypatch.setattr(product, "ONEDNN", "is there")
    monkeypatch.setattr(product, "alike_heads", lambda *sizes: sizes == (2, 8))
    sizes = {(128, 16), (16, 128), (128, 8), (8, 128), (128, 40), (40, 128)}
    for bad in [None, *sizes]:
        tried = set()
        monkeypatch.setattr(product, "alike", lambda *pair: tried.add(pair) or pair != bad)
        assert cores.apart(t5(128).config) == (bad is None)
        assert tried == sizes or bad in tried
    monkeypatch.setattr(product, "alike", lambda *pair: True)
    assert cores.apart(t5(128).config)
    for name, value in (("alike_heads", lambda *_: False), ("ONEDNN", None)):
        with monkeypatch.context() as patch:
            patch.setattr(product, name, value)
            assert not cores.apart(t5(128).config)


def row(name, source, target):
    """A row of prompt name[0], of so many tokens."""
    return (tuple(name), [5] * source, [7] * target, True)


@pytest.fixture
def cut(monkeypatch):
    """Prompts of 10; a pass costs 20 positions beside its own."""
    monkeypatch.setattr(cores, "overhead", lambda t5: 20)

    def cut(rows, tokens=1000, device="cpu"):
        parts = cores.passes(prompt.in_parts, t5(128, device=device), rows, tokens, 10, again=True)
        return [" ".join("".join(key) for key, *_ in part) for part in parts]

    return cut


def test_parts_that_come_out_alike_share_a_pass(cut):
    """a and b have rows of 5 and 50, c of 5 and 51."""
    def of(name, long, target=2):
        return [row(name + "1", 5, 2), row(name + "2", long, target)]

    assert cut(of("a", 50)) == ["a1", "a2"]
    assert cut(of("a", 50) + of("b", 50) + of("c", 51)) == ["a1 b1 c1", "a2 b2", "c2"]
    assert cut(of("a", 50) + of("b", 50, target=3)) == ["a1 b1", "a2", "b2"]  # other targets
    # Cut as if alone: of one length apart 5 and 6 go together, however many 5s there are.
    near = [row("a1", 5, 2), row("a2", 6, 2), row("b1", 5, 2), row("c1", 5, 2)]
    assert cut(near) == ["b1 c1", "a1 a2"]
    # There as one batch, where a cut pays, but only at quarters of it.
    many = [row("b1", 5, 2)] * 72 + [row("a2", 40, 2)] * 24
    assert cut(many, 10 ** 6, device="cuda") == [" ".join(["b1"] * 72), " ".join(["a2"] * 24)]
    assert [len(part.split()) for part in cut(many + many[-4:], 10 ** 6, device="cuda")] == [50, 50]
    once = cores.passes(prompt.in_parts, t5(128, device="cuda"), many + many[-4:], 10 ** 6, 10)
    assert [len(part) for part in once] == [72, 28]  # asked once: at any row


def test_no_pass_is_larger_than_asked_and_none_has_two_parts_of_one_prompt(cut):
    """Four rows of 10 + 5 positions at most; else a prompt's sums would depend on the others'."""
    rows = [row(f"{name}{i}", 5, 2) for name in "ab" for i in range(6)]
    assert cut(rows[:6], 60) == ["a0 a1 a2 a3", "a4 a5"]
    assert cut(rows, 60) == ["a0 a1 a2 a3", "a4 a5", "b0 b1 b2 b3", "b4 b5"]
    assert cut(rows[4:8] + [row("c0", 5, 2), row("c1", 5, 2)], 60) == ["a4 a5 b0 b1", "c0 c1"]


@pytest.mark.skipif(not cores.apart(model.Config.read(world.MODEL)),
                    reason="on this processor a row's bits depend on the rows beside it")
def test_what_is_answered_for_others_beside_it_changes_no_bit():
    """Of the toy T5: the probabilities of labels, and free text."""
    toy, generator = model.load(world.MODEL), torch.Generator().manual_seed(0)
    bank = prompt.PromptBank(torch.randn(5, 10, 128, generator=generator))
    kinds = {"label": (torch.tensor([[7, 1, 0], [8, 9, 1]]), None), "text": (None, 3)}
    rows = [(n, torch.randint(3, 300, (length,), generator=generator).tolist(), kind)
            for n in range(5) for length in (3, 9, 9 + n // 2, 30) for kind in kinds]
    ask = functools.partial(prompt.ask, toy, bank, kinds=kinds)
    alone = [answer for n in range(5) for answer in ask([row for row in rows if row[0] == n])]
    [lone] = ask(rows[-1:])
    for one, beside in zip([*alone, lone], [*ask(rows), alone[-1]]):
        assert torch.equal(one, beside) if torch.is_tensor(one) else one == beside


@pytest.mark.parametrize("heads, size", [(4, 32), (2, 8), (2, 16)])
def test_a_row_of_t5_has_the_same_bits_in_any_company(heads, size, one):
    """Forward and back, of even and odd lengths, with attention by its formula and by torch's.

    Of heads as small as 8 it was not so before attention's operands lay alike for every B.
    """
    config = model.Config(40, 16, size, 32, 2, 1, heads)
    if not cores.apart(config):
        pytest.skip("on this processor a row's bits depend on the rows beside it")
    t5, drawn = model.initialise(config, 1).requires_grad_(False), torch.Generator().manual_seed(0)

    def made(x, ids):
        x, seen = x.clone().requires_grad_(), torch.ones(x.shape[:2], dtype=torch.bool)
        memory = t5.encode(x, seen)
        logits = t5.decode(ids, memory, seen)
        (memory.sin().sum() + logits.sin().sum()).backward()
        return memory, logits, x.grad

    for S in (3, 7, 8, 12, 29, 33, 40, model.SHORT + 9):
        x, ids = torch.randn(12, S, 16, generator=drawn), torch.randint(40, (12, 3))
        whole = made(x, ids)
        for some in map(slice, (0, 2, 5), (1, 5, 12)):
            assert all(torch.equal(all_rows[some], few)
                       for all_rows, few in zip(whole, made(x[some], ids[some])))


# ----------------------------------------------------------------------- its memory


@pytest.mark.beside
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_a_step_gets_no_new_memory_from_the_system():
    """Page faults of five steps of the toy T5, as the system counts them, and a few times over.

    Without, a round of hundreds comes again and again; with it, only while memory still grows.
    """
    told = subprocess.run([sys.executable, "-c", """if True:
        import resource, torch, model
        from plumbing import cores
        torch.set_num_threads(1)
        t5 = model.load("toy/t5")
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(5):
                embedded = torch.zeros(16, 40, 128, requires_grad=True)
                t5.encode(embedded, torch.ones(16, 40)).sum().backward()
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        cores.keep_memory()
        print(*(faults() for _ in range(8)))
        """], capture_output=True, text=True, cwd=world.MODEL.parents[1], check=True).stdout
    assert sorted(map(int, told.split()))[3] < 100, told


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_the_c_library_agrees_to_keep_memory(monkeypatch):
    """Beyond 32 MiB, say, it would not: mallopt then returns 0, and changes nothing."""
    answers, real = {}, ctypes.CDLL(None).mallopt

    def mallopt(what, number):
        answers[what] = number, real(what, number)
        return answers[what][1]

    monkeypatch.setattr(cores.ctypes, "CDLL", lambda name: types.SimpleNamespace(mallopt=mallopt))
    cores.keep_memory()
    # M_TRIM_THRESHOLD: what is free at the end goes back from 2 GiB on; M_MMAP_THRESHOLD
    assert answers == {-1: (2 ** 31 - 1, 1), -3: (32 << 20, 1)}


def test_a_command_keeps_its_memory(two, monkeypatch):
    called = []
    monkeypatch.setattr(cores, "keep_memory", lambda: called.append(True))
    cores.sharing(t5(128))
    assert called
