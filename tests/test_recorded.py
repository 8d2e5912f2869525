"""What recorded accuracies say together is arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core import recorded, store
from core.evaluate import Accuracy

#: The first files were like this; `core.store` reads them still.
HEAD = "network,group,sparsity,importance,rule,samples,seed,numbers,right,total"


def lines(*rows: tuple) -> str:
    return "\n".join([HEAD, *(",".join(map(str, row)) for row in rows)]) + "\n"


def row(group: int, sparsity: float, rule: str, right: int, total: int = 1000) -> tuple:
    return ("vgg11_bn-cifar10", group, sparsity, "l1", rule, 256, 0, "float32", right, total)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "measured.csv"
    path.write_text(
        lines(
            row(0, 0.1, "select", 800), row(0, 0.1, "released", 790), row(0, 0.1, "best", 810),
            row(1, 0.5, "select", 700), row(1, 0.5, "released", 500), row(1, 0.5, "best", 600),
            row(1, 0.7, "select", 100),
        )
    )  # fmt: skip
    return path


def test_a_summary_is_what_the_lines_say(file):
    found = recorded.points(store.read(file).values())
    assert [(point.group, point.sparsity) for point in found] == [(0, 0.1), (1, 0.5), (1, 0.7)]
    told = recorded.summary(found, "best", "released")
    assert told[0] == "2 groups and sparsities, 1,000 test images each."
    assert told[1] == "best − released: +6.00 points on the mean, +2.0 to +10.0."
    assert "best − select: -4.50 on the mean; worst -10.0 (group 1, 50%" in told[2]
    assert told[3].endswith("beyond the interval: 1.")


def test_nothing_in_common_is_said(file):
    found = recorded.points(store.read(file).values())
    assert recorded.summary(found, "best", "average") == [
        "Nothing is recorded yet of best, average and select together."
    ]


def test_the_allowance_is_that_of_two_independent_intervals():
    same = Accuracy(5000, 10_000)
    point = recorded.Point(0, 0.5, {"best": same, "select": same})
    assert point.allowance("best", "select") == pytest.approx(0.98 * 2**0.5, abs=0.01)


def test_the_papers_table_stands_beside_ours(file, tmp_path):
    paper = tmp_path / "paper.csv"
    paper.write_text(
        "model,group,sparsity,l1,if_l1\n"
        "vgg11_bn,0,10,80.00,79.00\nvgg11_bn,1,50,60.00,30.00\nresnet18,1,50,1,99\n"
    )
    told = recorded.against(recorded.points(store.read(file).values()), paper, "vgg11_bn")
    assert told[2].startswith("| 0 | -1.0 (-1.0) | … |")
    assert "-20.0 (-30.0)" in told[3]
    assert told[-1].endswith("the sign is the same in 1 of 1.")


def test_each_importance_and_seed_speaks_for_itself(file):
    known = list(store.read(file).values())
    for choices in ({"importance": "l2"}, {"seed": 1}):
        other = [
            replace(row, recipe=row.recipe.replace(**choices), right=Accuracy(1, 1000))
            for row in known
        ]
        assert recorded.points(known + other) == recorded.points(known)
        assert {
            right.correct
            for point in recorded.points(known + other, **choices)
            for right in point.kept.values()
        } == {1}
    whole = replace(known[0], recipe=known[0].recipe.replace(groups="all"))
    sinkhorn = replace(known[1], recipe=known[1].recipe.replace(solver="sinkhorn"))
    assert recorded.points([*known, whole, sinkhorn]) == recorded.points(known)


def test_the_command_tells_both(file, tmp_path, capsys):
    paper = tmp_path / "paper.csv"
    paper.write_text("model,group,sparsity,l1,if_l1\nvgg11_bn,0,10,80.00,79.00\n")
    assert recorded.main(["summary", str(file), "--paper", str(paper)]) == 0
    out = capsys.readouterr().out
    assert "best − released: +6.00 points" in out and "-1.0 (-1.0)" in out
    assert recorded.main(["summary", str(file), "--paper", str(paper), "--importance", "l2"]) == 1
    assert "no column l2" in capsys.readouterr().err
    assert recorded.main(["summary", str(tmp_path / "nowhere.csv")]) == 1
    assert "no results" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [("a,b\n1,2\n", "does not hold recorded"), (lines(row(0, 0.1, "best", 5))[:-6], "Line 2")],
)
def test_a_damaged_file_is_a_sentence(tmp_path, capsys, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert recorded.main(["summary", str(path)]) == 1
    assert says in capsys.readouterr().err
