"""The bench compares like with like: both sides give the same losses. No test asserts a time."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from hg_helpers.model.networks import BiLSTM
from tests.bench import __main__ as command
from tests.bench import growth
from tests.bench.__main__ import TOLERANCE, alone, as_table
from tests.bench.rows import Arithmetic, loss_difference, trainer


@pytest.mark.parametrize("row", ["v1 epoch", "v2 epoch", "workshop epoch"])
def test_both_sides_give_the_same_losses(row):
    assert loss_difference(row, True, torch.get_num_threads(), "cpu") < TOLERANCE


def test_a_reference_that_computes_something_else_is_told(monkeypatch):
    months = BiLSTM._months
    monkeypatch.setattr(BiLSTM, "_months", lambda self, x, direction: 1.01 * months(self, x, direction))
    assert loss_difference("v1 epoch", True, torch.get_num_threads(), "cpu") > TOLERANCE


def test_arithmetic_counts_products_in_both_directions_and_within_ours():
    a, b = torch.rand(2, 3, 4), torch.rand(2, 4, 5, requires_grad=True)
    with Arithmetic() as counted:
        (a @ b).sum().backward()
    assert counted.flop == 2 * 2 * (2 * 3 * 4 * 5)  # forward, and the one backward product that is wanted

    # an LSTM: the inputs' product for all months, the hidden state's for all but the first
    run, _ = trainer("v1 epoch", "ours", small=True)
    lstm, width = run.generator.lstm, run.config.hidden
    x = torch.rand(3, 5, lstm.input_weight.shape[1])
    with Arithmetic() as counted:
        lstm(x)
    assert counted.flop == 2 * 2 * 3 * 4 * width * (5 * x.shape[2] + 4 * width)


def test_the_command_prints_json_for_scripts(monkeypatch, capsys):
    monkeypatch.setattr(command, "alone", lambda function, *arguments: function(*arguments))  # that it is, see below
    assert command.main(["encoding", "--small", "--repeat", "1", "--threads", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["row"] == "encoding" and row["ratio"] > 0 and row["ours_gib"] > 0.05
    assert "| encoding |" in as_table([row])


def test_a_row_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit) as left:
        command.main(["v3"])
    said = capsys.readouterr().err
    assert left.value.code == 2 and "v3" in said and "v2 epoch" in said


def test_growth_finds_the_exponents_of_what_grows_by_a_power():
    rows = [
        (axis, size, part, {"train": 2.0, "memory": 0.5}.get(part, 1.0) * size ** {"train": 2.0}.get(part, 1.0))
        for axis, sizes in growth.AXES.items()
        for size in sizes
        for part in growth.PARTS
    ]
    table = pd.DataFrame(rows, columns=["axis", "size", "part", "value"])
    slopes = growth.exponents(table)
    assert slopes.loc["train"].tolist() == pytest.approx([2, 2, 2])
    assert slopes.drop("train").to_numpy() == pytest.approx(1)
    assert len(growth.draw(table).axes) == 6


def test_a_point_of_the_growth_curve_has_every_part():
    held = np.ones(2**26)  # 512 MiB of ours, which are not the new process's
    found = alone(growth.point, 6, 3, 4)  # memory is what it takes beyond a process's start
    assert found["memory"] < held.nbytes / 2**20
    assert list(found) == list(growth.PARTS) and all(value > 0 for value in found.values())
