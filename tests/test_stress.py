"""benchmarks/stress.py: a few attacks of each class, none of which may succeed, and its own judges.

    python -m pytest tests/test_stress.py

Oracle: a project with a planted fault, which the judge of that class must see. In processes of
their own, as the command forks, which a process with threads of torch's should not.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FEW = ("--count", "kills=1,checkpoints=40,prompts=40,data=400,commands=9,edits=1,disks=2,pairs=1")
# A class, some of its attempts, and a fault that they must meet.
PLANTED = {
    "weights that are missing are zeros": ("checkpoints", range(60), """
        checkpoint.fitting = lambda folder, tensors, shapes, tied: {
            name: tensors.get(name, torch.zeros(shape)) for name, shape in shapes.items()}"""),
    "any vectors have the same checksum": ("prompts", range(40), """
        adapter.checksum = lambda tensor: 'same'"""),
    "a good prompt is refused": ("prompts", range(80), """
        adapter.checksum = lambda tensor, drawn=itertools.count(): str(next(drawn))"""),
    "rows are lost and not counted": ("data", range(200), """
        read = examples.read_split
        examples.read_split = lambda *args: (read(*args)[0], {})"""),
    "flags are not checked": ("commands", range(60), """
        flags.check = lambda *args, **more: None"""),
    "a state on disk is believed": ("edits", [8], """
        states.digest_of = lambda value: ''"""),
}
SCRIPT = """
import itertools, os, sys, textwrap, time
sys.path.insert(0, 'benchmarks')
import stress
import torch
from plumbing import adapter, checkpoint, examples, flags, states
"""


def python(script):
    done = subprocess.run([sys.executable, "-c", SCRIPT + script], cwd=ROOT, capture_output=True,
                          text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_few_attacks_of_each_class_do_no_harm():
    done = subprocess.run([sys.executable, "benchmarks/stress.py", *FEW], cwd=ROOT, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_judge_sees_a_planted_fault():
    said = python(f"""
for name, (kind, numbers, fault) in {PLANTED!r}.items():
    sys.stdout.flush()
    if not os.fork():
        exec(textwrap.dedent(fault))
        stress.home()
        found = [verdict for _, verdict, _ in stress.attack(kind, numbers, '0')]
        print(name, 'failure' in found)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
""")
    assert said.splitlines() == [f"{name} True" for name in PLANTED]


def test_an_attempt_that_dies_or_hangs_is_a_failure_and_the_next_one_goes_on():
    assert python("""
def attempt(rng, place, number):
    number == 1 and os.abort()
    number == 2 and time.sleep(60)
    return 'right'

stress.ATTACKS['some'], stress.LIMIT['some'] = (4, attempt), 1
print(*stress.attack('some', range(4), '0'), sep='\\n')
""").splitlines() == ["[0, 'right', '']", "(1, 'failure', 'the process died')",
                      "(2, 'failure', 'no answer in time')", "[3, 'right', '']"]


@pytest.mark.parametrize("flags, said", [
    (["--only", "kill"], "unknown only 'kill': kills, checkpoints"),
    (["--count", "kills=many"], "--count kills=many: wanted CLASS=N")])
def test_a_class_that_is_none_is_refused(flags, said):
    done = subprocess.run([sys.executable, "benchmarks/stress.py", *flags], cwd=ROOT, text=True,
                          capture_output=True, timeout=100)
    assert done.returncode == 2 and said in done.stderr
