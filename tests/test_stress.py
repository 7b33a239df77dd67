"""benchmarks/stress.py: a few attacks of each class, none of which may do harm, and its own judges.

    python -m pytest tests/test_stress.py

Oracle: a project with a planted fault, which the judge of that class must see. In a process of
its own: the command forks, which a process with threads of torch's should not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.beside
ROOT = Path(__file__).resolve().parent.parent
FEW = "kills=1,checkpoints=40,prompts=40,data=400,commands=6,edits=1,disks=1,pairs=1"
# What is planted: a class, some of its attempts, and the fault that they must meet.
PLANTED = {
    "weights that are missing are zeros": ("checkpoints", range(40), """
checkpoint.fitting = lambda folder, tensors, shapes, tied: {
    name: tensors.get(name, torch.zeros(shape)) for name, shape in shapes.items()}"""),
    "all vectors have the same checksum": ("prompts", range(40), """
adapter.digest_of = lambda tensor: 'same'"""),
    "a good prompt is refused": ("prompts", range(40), """
adapter.digest_of = lambda tensor, drawn=itertools.count(): str(next(drawn))"""),
    "rows are lost and not counted": ("data", range(100), """
read = examples.read_split
examples.read_split = lambda *args: (read(*args)[0], {})"""),
    "flags are not checked": ("commands", [36, 57], """
flags.check = lambda *args, **more: None"""),
    "an attempt dies": ("data", [0], "stress.ATTACKS['data'] = 1, lambda *args: os.abort()"),
    "an attempt hangs": ("data", [0], """
stress.ATTACKS['data'], stress.LIMIT['data'] = (1, lambda *args: time.sleep(60)), 0.1"""),
}
SCRIPT = f"""
import itertools, os, runpy, shutil, sys, time
sys.path.insert(0, 'benchmarks')
import stress
import torch
from plumbing import adapter, checkpoint, examples, flags
stress.data.load('toy-cb'), stress.data.load('toy-reviews')  # drawn once
for name, (kind, numbers, fault) in {PLANTED!r}.items():
    if not os.fork():
        exec(fault)
        stress.home()
        print(name, [verdict for _, verdict, _ in stress.attack(kind, numbers, '0')], flush=True)
        shutil.rmtree(stress.home())
        os._exit(0)
    os.wait()
sys.argv = ['stress.py', '--count', {FEW!r}]
runpy.run_path('benchmarks/stress.py', run_name='__main__')
"""


@pytest.fixture(scope="module")
def done():
    return subprocess.run([sys.executable, "-P", "-c", SCRIPT], cwd=ROOT, capture_output=True,
                          text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_few_attacks_of_each_class_do_no_harm(done):
    assert done.returncode == 0, done.stdout + done.stderr
    tried = dict(re.findall(r"^\| (\w+) \| (\d+) \|", done.stdout, flags=re.M))
    assert tried == dict(part.split("=") for part in FEW.split(","))


def test_each_judge_sees_a_planted_fault(done):
    said = dict(line.split(" [") for line in done.stdout.splitlines() if " [" in line)
    assert set(said) == set(PLANTED), done.stderr
    assert [name for name in said if "failure" not in said[name]] == []
