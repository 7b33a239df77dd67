"""python -m pytest tests/test_pictures.py: the pictures of docs/ are those of its numbers.

Oracle: docs/panda.json, which benchmarks/verdicts.py --page wrote.
"""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))

import pictures as drawn  # docs/pictures.py
from benchmarks import verdicts
from tests.test_draw import checked

NUMBERS = json.loads((ROOT / "docs" / "panda.json").read_text(encoding="utf-8"))


def test_the_pictures_are_drawn_from_todays_numbers(tmp_path):
    drawn.main(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) >= 6
    for name in names:
        committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert (tmp_path / name).read_text(encoding="utf-8") == committed, (
            f"{name} is not what python docs/pictures.py draws")


def test_every_picture_is_shown_with_both_themes():
    pages = "".join(path.read_text(encoding="utf-8") for path in (
        ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    for path in (ROOT / "docs").glob("*.svg"):
        assert path.name in pages, f"{path.name} is on no page"


def test_the_table_of_labels_is_of_the_same_numbers():
    page = (ROOT / "docs" / "panda.md").read_text(encoding="utf-8").splitlines()
    for line in verdicts.few(NUMBERS["cells"]):
        assert line in page


def test_gains_by_labels():
    """One cell by hand: 2 and 4 over plain give 3, in the panel of its steps, at its place."""
    cells = [["toy-cb", 32, 100, "", {"prompt": [70, 70], "pot R": [72, 74]}],
             ["toy-cb", 0, 200, "", {"prompt": [70], "panda R": [71]}],
             ["toy-cb", 32, 100, "4000", {"prompt": [0], "pot R": [99]}],
             ["toy-qnli", 32, 100, "", {"prompt": [0], "pot R": [99]}]]
    svg = checked(drawn.gains_by_labels(cells))
    assert "transfer (pot): 3.00" in svg and "panda (kl): 1.00" in svg and "99" not in svg
    assert "100 steps" in svg and "200 steps" in svg and "400 steps" not in svg


@pytest.mark.parametrize("approach", ["pot", "panda_states"])
def test_the_heat_maps_hold_every_pair(approach):
    names = {figure.name: figure for figure in drawn.grids(NUMBERS["grid"])}
    assert checked(names[f"grid-{approach}"]).count("<title>") == 7 * 3 + 7  # and the means


def test_the_table_of_distances_is_of_the_same_numbers():
    run = json.loads((ROOT / "docs" / "run.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "panda.md").read_text(encoding="utf-8").splitlines()
    assert all(line in page for line in drawn.distances(run))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, scores in run["scores"].items():  # the table of the same run
        approach, _, source = name.partition(" ")
        assert re.search(rf"\| {approach} \| {source or '–'} \| [^|]*\| "
                         + ", ".join(f"{s:.1f}" for s in scores), readme), name


def test_the_drawings_are_well_formed():
    for figure in (drawn.bank(), drawn.positions(), drawn.student()):
        checked(figure)
