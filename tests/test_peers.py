"""Two processes that share each batch make the step that one process makes with the whole of it."""

import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.distributed as dist

import hg_helpers as hg
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.runtime.distributed import ALONE, Peers, join_torchrun

if not dist.is_available() or not dist.is_gloo_available():
    pytest.skip("this build of torch has no gloo", allow_module_level=True)

RUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
# He's start, because with torch's all patients begin alike, and correlations of what hardly varies are rounding
TINY = {"hidden": 5, "latent": 4, "batch_size": 6, "lengths": (3, 5), "epochs": 1, "start": "he"}
#: v1 and v2 as published, all repairs, and the textbook autoencoder with noise kept for a patient
CASES = {
    "v1": ("v1", {}),
    "v2": ("v2", {}),
    "v2_plus": ("v2_plus", {}),
    "variational": ("v2", {"autoencoder": "variational", "heads": "gumbel"}),
}

WORK = """
import json, sys, torch
from dataclasses import replace
import hg_helpers as hg
from hg_helpers.runtime.distributed import Peers, join_torchrun
from hg_helpers.cohort.simulate import simulate_cohort

torch.set_num_threads(1)
device = join_torchrun("cpu")
peers = Peers()
out, cases = sys.argv[1], json.loads(sys.argv[2])
cohort = simulate_cohort(15, months=6, seed=0)
encoder = hg.CohortEncoder(replace(hg.ART_DEMO, length=6)).fit(cohort)
x = encoder.transform(cohort)
names = [(name, "") for name in cases] + [(name, "nudged-") for name in cases if peers.size == 1]
for name, nudged in names:
    model, changes = cases[name]
    trainer = hg.Trainer(encoder, getattr(hg.TrainConfig, model)(**changes), device=device, peers=peers)
    if nudged:  # the last digit of each weight
        for network in trainer.networks().values():
            for p in network.parameters():
                p.data *= 1 + torch.finfo(p.dtype).eps * (torch.arange(p.numel()).view_as(p) % 3 - 1)
    for optimiser in trainer.optimisers.values():  # Adam makes a whole step of a gradient that is rounding alone
        optimiser.param_groups[0]["eps"] = 1e-3
    trainer.fit(x, progress=False)
    trainer.history.drop(columns="seconds").to_csv(f"{out}/{name}-{nudged}{peers.size}-{peers.rank}.csv", index=False)
    if nudged:
        continue
    weights = [p for network in trainer.networks().values() for p in network.state_dict().values()]
    torch.save(weights, f"{out}/{name}-{peers.size}-{peers.rank}.pt")
    trainer.save(f"{out}/{name}-{peers.size}-by{peers.rank}.pt")

if peers.size > 1:  # the command line here too: to start torchrun once more takes longer than all else
    from hg_helpers.__main__ import main
    from hg_helpers.app import commands
    asked = []
    commands.join_torchrun = lambda device: asked.append(device) or device  # the two have met already
    for line in json.loads(sys.argv[3]):
        code = main(line)
        assert (code, asked) == (0, ["cpu"]), line
        asked.clear()
        torch.distributed.barrier()  # what is resumed next has been written
"""
#: One epoch, and a second one by resuming.
COMMANDS = [
    ["train", "--data", "cohort.csv", "--out", "v2.pt", "--model", "v2", "--quiet", "--json", "--epochs", "1"],
    ["train", "--resume", "--out", "v2.pt", "--epochs", "2", "--quiet", "--json"],
]


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    """All cases trained by this process and by two of torchrun's, which then run the commands; what these said."""
    folder = tmp_path_factory.mktemp("peers")
    (folder / "work.py").write_text(WORK)
    simulate_cohort(20, seed=0).to_csv(folder / "cohort.csv", index=False)
    cases = json.dumps({name: (model, {**TINY, **changes}) for name, (model, changes) in CASES.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TORCHELASTIC_RUN_ID", raising=False)
        patch.setattr(sys, "argv", ["work.py", str(folder), cases])
        runpy.run_path(str(folder / "work.py"))
    with socket.socket() as free:  # two tests at once must not meet at the same port
        free.bind(("127.0.0.1", 0))
        address = ["--master-addr", "127.0.0.1", "--master-port", str(free.getsockname()[1])]
    done = subprocess.run(
        [*RUN, *address, "work.py", str(folder), cases, json.dumps(COMMANDS)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_two_processes_have_the_losses_of_one_with_the_joined_batch(both, name):
    which = ("1-0", "nudged-1-0", "2-0", "2-1")
    alone, nudged, first, second = (pd.read_csv(both / f"{name}-{run}.csv") for run in which)
    assert len(alone) == 9  # 15 patients in three batches at each of three lengths
    pd.testing.assert_frame_equal(first, second)
    # Products of other sizes round otherwise, and training makes a difference larger from step to step. How much, on
    # this processor, a second run alone shows, whose weights differed in the last digit at the start.
    grown, found = (((run - alone).abs() / (1 + alone.abs())).max(axis=1) for run in (nudged, first))
    assert grown.max() < 1e-3  # else what follows would say little
    assert (found <= 1e-5 + 20 * grown.cummax()).all()


@pytest.mark.parametrize("name", CASES)
def test_all_processes_hold_the_same_weights_and_prototypes_and_those_of_one(both, name):
    alone, first, second = (torch.load(both / f"{name}-{which}.pt") for which in ("1-0", "2-0", "2-1"))
    for one, a, b in zip(alone, first, second, strict=True):
        assert torch.equal(a, b) and one.shape == a.shape
        torch.testing.assert_close(a, one, rtol=1e-3, atol=1e-3)


def test_the_first_process_writes_alone(both):
    assert (both / "v2-2-by0.pt").exists() and not (both / "v2-2-by1.pt").exists()
    assert hg.Trainer.load(both / "v2-2-by0.pt", device="cpu").step == 9


def test_the_command_line_trains_and_resumes_under_torchrun(both):
    said = [json.loads(line) for line in (both / "said").read_text().splitlines() if line.startswith("{")]
    assert [one["generator steps"] for one in said] == [6, 12]  # each said once, by the first process
    assert hg.Synthesizer.load(both / "v2.pt").sample(3).shape == (180, 9)


def test_a_batch_of_fewer_patients_than_processes_is_refused(monkeypatch):
    peers = Peers()
    monkeypatch.setattr(peers, "size", 3)
    with pytest.raises(ValueError, match=r"2 patients.*3 processes.*batch_size"):
        peers.share(torch.zeros(2, 1))


def test_shares_are_the_batch_in_order_and_of_nearly_equal_size(monkeypatch):
    peers, batch, found = Peers(), torch.arange(10.0), []
    peers.size = 3
    monkeypatch.setattr("hg_helpers.runtime.distributed.dist.all_reduce", lambda own: None)
    for peers.rank in range(3):
        mine = peers.share(batch)
        found += mine.tolist()
        assert len(mine) in (3, 4)
        assert peers.mean(mine.mean()) == pytest.approx(mine.sum().item() / 10)  # weighted by its part of the batch
        assert peers.join(mine).nonzero()[:, 0].tolist() == [k for k in mine.tolist() if k]  # at its own place
    assert found == batch.tolist()


def test_one_process_alone_changes_nothing(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    x = torch.rand(4, 3, requires_grad=True)
    assert all(method(x) is x for method in (ALONE.mean, ALONE.join, ALONE.share))
    assert ALONE.any(True) is True and join_torchrun("auto") == "auto"
