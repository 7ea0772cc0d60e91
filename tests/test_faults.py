"""Faults in training: killed at any instant, asked to end, a full disk, damaged or foreign files, a clock gone back.

What single functions promise about files stands in test_checkpoint.py, and how training resumes in test_resume.py.
"""

import io
import json
import math
import multiprocessing
import os
import pickle
import random
import signal
import sys
import time
import traceback
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch
import tqdm
from training_states import assert_equal, everything

from hg_helpers.__main__ import main
from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.model.synthesizer import Synthesizer
from hg_helpers.model.training import Trainer
from hg_helpers.runtime.checkpoint import FORMAT, atomic, load_checkpoint, naming, save_checkpoint

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs fork: Windows has none, and macOS's breaks libraries")
PER_EPOCH = 2  # batches: all 40 patients at once, at lengths 4 and 6


@pytest.fixture
def make(encoder, tiny):
    """``make(epochs=3)``: a trainer of v2, as small as it gets."""
    small = {"hidden": 4, "latent": 4, "lengths": (4,), "batch_size": 64, "n_critic": 1, "buffer_size": 30}
    return lambda **changes: Trainer(encoder, tiny("v2", **{**small, **changes}), "cpu")


@pytest.fixture
def path(make, x, cohort, tmp_path):
    """A checkpoint after one epoch, with what `train --resume` asks for beside it."""
    make().fit(x, epochs=1, checkpoint=tmp_path / "model.pt", progress=False)
    cohort.to_csv(tmp_path / "visits.csv", index=False)
    split = {"data": str(tmp_path / "visits.csv"), "train_patients": cohort["PatientID"].unique().tolist()}
    (tmp_path / "model.split.json").write_text(json.dumps(split))
    return tmp_path / "model.pt"


def assert_resumes_exactly(path, x, make) -> None:
    resumed, straight = Trainer.load(path, "cpu"), make()
    epochs = resumed.epoch + 1
    for trainer in (resumed, straight):
        trainer.fit(x, epochs=epochs, progress=False)
    assert_equal(everything(resumed, path.parent), everything(straight, path.parent))


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nursery():
    """Runs a function in a process that has imported everything and has no thread, so that it can be forked."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield lambda *work: pool.submit(*work).result(timeout=280)


def fork(work, *args) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends it, whatever the test forgets
        try:
            torch.set_num_threads(1)
            os._exit(work(*args) or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(99)  # not back into what the parent was doing
    return child


def how_it_ended(child) -> int:
    """The exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_until(holds) -> None:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.0005)


def train_on(path, x):
    trainer = Trainer.load(path, "cpu")
    save = [lambda trainer, _: trainer.save(path)]  # after each batch, not only at the end of an epoch
    trainer.fit(x, epochs=trainer.epoch + 50, checkpoint=path, callbacks=save, progress=False)
    signal.pause()  # on a busy machine the kill may be late


def kill_often(path, x, kills):
    instant, found = random.Random(0), []
    Trainer.load(path, "cpu").synthesizer().sample(1)  # what torch sets up at first use: once here, not once a child
    for number in range(kills):
        before, child = path.stat().st_mtime_ns, fork(train_on, path, x)
        if number % 2:  # half of them while the second checkpoint is written, or just after
            wait_until(lambda before=before: path.stat().st_mtime_ns != before)
            wait_until(lambda child=child: list(path.parent.glob(f".*.{child}.part")))
        time.sleep(instant.uniform(0, 0.006 if number % 2 else 0.15))
        os.kill(child, signal.SIGKILL)
        found.append((how_it_ended(child), load_checkpoint(path, "trainer")["position"]))
    return found


@linux
def test_fifty_kills_at_random_instants_leave_a_good_checkpoint_and_change_nothing(nursery, path, make, x):
    found = nursery(kill_often, path, x, 50)
    assert [ended for ended, _ in found] == [-signal.SIGKILL] * 50
    positions = [position for _, position in found]
    assert positions == sorted(positions) and len({step for _, _, step in positions}) > 10  # never back, and it got on
    assert all(step == epoch * PER_EPOCH + batch for epoch, batch, step in positions)
    assert_resumes_exactly(path, x, make)
    for left in path.parent.glob(".model.pt.*.part"):
        os.utime(left, (0, 0))
    Trainer.load(path, "cpu").save(path)
    assert not list(path.parent.glob(".model.pt.*"))


def kill_while_saving(path, x):
    save, swap = torch.save, os.replace

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def save_half(state, target):
        save(state, target)
        os.truncate(target, os.path.getsize(target) // 2)
        die()

    def swap_and_die(*names):
        swap(*names)
        die()

    found = []
    for module, name, fault in (
        (torch, "save", save_half),
        (os, "fsync", die),
        (os, "replace", die),
        (os, "replace", swap_and_die),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, fault)
            child = fork(train_on, path, x)
        found.append((how_it_ended(child), load_checkpoint(path, "trainer")["position"]))
    return found


@linux
def test_a_kill_at_each_step_of_saving_leaves_the_old_checkpoint_or_the_new_one(nursery, path, make, x):
    old, new = [1, 0, PER_EPOCH], [1, 1, PER_EPOCH + 1]
    assert nursery(kill_while_saving, path, x) == [(-signal.SIGKILL, there) for there in (old, old, old, new)]
    assert_resumes_exactly(path, x, make)


def test_only_what_a_killed_process_left_of_the_same_file_long_ago_is_removed(tmp_path):
    names = [".a[1].pt.77.part", ".a[1].pt.78.part", ".a1.pt.77.part", ".a[1].pt.mine.part", "a[1].pt.77.part"]
    for name in names:
        (tmp_path / name).write_text("")
        if name != names[1]:  # somebody may be at work on that one
            os.utime(tmp_path / name, (0, 0))
    with atomic(tmp_path / "a[1].pt") as temporary:
        temporary.write_text("new")
    assert sorted(os.listdir(tmp_path)) == sorted([*names[1:], "a[1].pt"])


# --- asked to end -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def ending(request):
    """The signal's number; what handled it is put back afterwards."""
    if not hasattr(signal, request.param):
        pytest.skip(f"this system has no {request.param}")
    number = getattr(signal, request.param)
    before = signal.getsignal(number)
    yield number
    signal.signal(number, before)


def test_a_request_to_end_is_passed_on_when_the_batch_is_done_and_saved(ending, make, x, tmp_path):
    path, told = tmp_path / "model.pt", []

    def own(*_):
        told.append(load_checkpoint(path, "trainer")["position"])

    def ask(_, row):
        if row["step"] == PER_EPOCH:
            for _ in range(2):  # a scheduler tells the whole group, and a launcher its own
                signal.raise_signal(ending)

    signal.signal(ending, own)
    make().fit(x, epochs=3, checkpoint=path, callbacks=[ask], progress=False)
    assert told == [[1, 1, PER_EPOCH + 1]] and signal.getsignal(ending) is own
    assert_resumes_exactly(path, x, make)


def test_a_request_to_end_that_was_ignored_stays_ignored(ending, make, x):
    signal.signal(ending, signal.SIG_IGN)  # as under nohup
    history = make().fit(x, callbacks=[lambda *_: signal.raise_signal(ending)], progress=False)
    assert len(history) == 2 * PER_EPOCH and signal.getsignal(ending) == signal.SIG_IGN


def test_ctrl_c_while_the_last_checkpoint_is_written_does_not_lose_it(make, x, tmp_path, monkeypatch):
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda *args: (signal.raise_signal(signal.SIGINT), save(*args)))
    try:
        make().fit(x, epochs=1, checkpoint=tmp_path / "model.pt", progress=False)
    except KeyboardInterrupt:  # which would end the whole test run
        pytest.fail("Ctrl-C broke the writing off")
    assert load_checkpoint(tmp_path / "model.pt", "trainer")["position"] == [1, 0, PER_EPOCH]


def resume_from_the_command_line(path):
    os.dup2(os.open(path.parent / "said", os.O_WRONLY | os.O_CREAT), 2)
    sys.stderr = os.fdopen(2, "w")
    return main(["train", "--resume", "--out", str(path), "--epochs", "10000", "--json"])


def end_the_command_line(path, number):
    before, child = path.stat().st_mtime_ns, fork(resume_from_the_command_line, path)
    wait_until(lambda: path.stat().st_mtime_ns != before)  # it trains
    os.kill(child, number)
    return how_it_ended(child)


@linux
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"]
)
def test_the_exit_code_says_what_ended_the_training_and_the_checkpoint_is_of_that_step(nursery, path, number, code):
    assert nursery(end_the_command_line, path, number) == code
    epoch, batch, step = load_checkpoint(path, "trainer")["position"]
    assert f"stopped after step {step} (epoch {epoch} of 10000)" in (path.parent / "said").read_text()
    assert epoch > 1 and step == epoch * PER_EPOCH + batch


# --- no room ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_last_checkpoint_and_training_goes_on_from_either(path, make, x):
    resource = pytest.importorskip("resource", reason="Windows cannot limit the length of files")
    trainer, before, limits = Trainer.load(path, "cpu"), path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer.fit(x, epochs=2, checkpoint=path.parent / "twin" / "model.pt", progress=False)
    whole, there = (path.parent / "twin" / "model.pt").stat().st_size, sorted(os.listdir(path.parent))
    for room in (*(whole * tenths // 10 for tenths in range(10)), whole - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(OSError, match=r"could not write .*model\.pt.*(full|large).*untouched; make room"):
                trainer.fit(x, epochs=2, checkpoint=path, progress=False)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before and sorted(os.listdir(path.parent)) == there
    assert_resumes_exactly(path, x, make)
    trainer.save(path)
    assert_resumes_exactly(path, x, make)


# --- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenths", range(10))
def test_no_command_takes_a_truncated_checkpoint(path, capsys, tenths):
    os.truncate(path, path.stat().st_size * tenths // 10)
    damaged, drawn = path.read_bytes(), path.parent / "s.csv"
    for line in (["train", "--resume", "--out", str(path)], ["sample", "--model", str(path), "--out", str(drawn)]):
        assert main([*line, "--quiet"]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {path} cannot be loaded") and "older copy or train again" in said
    assert path.read_bytes() == damaged and not drawn.exists()


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path):
    path, chance, refused = tmp_path / "model.pt", random.Random(0), 0
    save_checkpoint(path, {"kind": "trainer", "weights": torch.randn(60), "others": [torch.ones(5), 7]})
    whole, want = path.read_bytes(), load_checkpoint(path, "trainer")
    # every bit of the last tensor's entry in the table of contents, and one of each eighth byte
    entry = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"/data/1"))
    bits = [8 * k + b for k in range(entry, entry + 46) for b in range(8)]
    bits += [8 * k + chance.randrange(8) for k in range(0, len(whole), 8)]
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = load_checkpoint(path, "trainer")
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert_equal(found, want, f"bit {bit % 8} of byte {bit // 8}")
    assert refused > len(bits) / 3  # the rest are padding and dates, which nobody reads


# --- foreign files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["config"].update(hidden=8), "size mismatch"),
        (lambda s: s["config"].update(latent_source="uniform", autoencoder=None), "prototypes"),
        (lambda s: s["encoder"].update(schema=ART_DEMO.select(["VL", "Gender"]).to_dict()), "size mismatch"),
        (lambda s: s["config"].update(colour="red"), "colour"),
        (lambda s: s.pop("networks"), "it has no 'networks'"),
        (lambda s: s.update(position=[1, 2]), "expected 3, got 2"),
    ],
    ids=["another width", "v1 with v2's weights", "another schema", "a newer setting", "a part missing", "no batch"],
)
def test_what_does_not_fit_together_names_the_file_and_the_remedy(path, change, words):
    state = load_checkpoint(path, "trainer")
    change(state)
    save_checkpoint(path, state)
    for load in (Trainer.load, *([] if words.startswith(("it has no", "expected")) else [Synthesizer.load])):
        with pytest.raises(ValueError, match=rf"\.pt holds a model.*{words}.*version that wrote it, or train again"):
            load(path)


def test_a_device_that_is_not_there_or_has_no_room_is_not_the_files_fault(path):
    with pytest.raises(ValueError, match="cuda:99") as refused:
        Trainer.load(path, "cuda:99")
    assert "model.pt" not in str(refused.value)
    with pytest.raises(torch.cuda.OutOfMemoryError), naming(path):
        raise torch.cuda.OutOfMemoryError("out of memory")


def test_resuming_with_another_model_schema_or_table_is_refused_by_name(path, schema, cohort, capsys):
    folder, before = path.parent, path.read_bytes()
    for name, months in (("same", 6), ("other", 5)):
        (folder / f"{name}.yaml").write_text(json.dumps(replace(schema, length=months).to_dict()))
    cohort.drop(columns="VL").to_csv(folder / "without.csv", index=False)
    cohort.assign(VL=cohort["VL"] * 2).to_csv(folder / "doubled.csv", index=False)
    Synthesizer.load(path).export(folder / "small.pt")
    resume = ["train", "--resume", "--quiet", "--epochs", "1", "--out", str(path)]
    for more, words in (
        (["--model", "v1"], "model.pt is no --model v1, it has latent_source 'buffer'"),
        (["--model", "v2_plus"], "model.pt is no --model v2_plus"),  # the default, typed out, is a wish as well
        (["--schema", str(folder / "other.yaml")], "model.pt was not trained with --schema"),
        (["--data", str(folder / "without.csv")], "model.pt cannot go on with"),
        (["--data", str(folder / "doubled.csv")], "doubled.csv: these are not the patients"),
        (["--out", str(folder / "small.pt")], "small.pt holds a synthesizer, not a trainer: give the file that"),
    ):
        assert main([*resume, *more]) == 1
        assert words in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main([*resume, "--model", "v2", "--schema", str(folder / "same.yaml")]) == 0
    for wrong in ("", "[]", '{"data": "visits.csv"}'):
        (folder / "model.split.json").write_text(wrong)
        assert main(resume) == 1
        assert "model.split.json cannot be read" in capsys.readouterr().err


def test_a_model_that_is_being_replaced_never_stands_beside_the_split_of_another(path, schema, monkeypatch):
    folder, model, there = path.parent, path.read_bytes(), []
    (folder / "schema.yaml").write_text(json.dumps(schema.to_dict()))

    def killed(*_, **__):
        there.append(path.exists())
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", killed)
    for _ in range(2):
        again = ["train", "--force", "--out", str(path), "--data", str(folder / "visits.csv")]
        assert main([*again, "--schema", str(folder / "schema.yaml")]) == 130
        path.write_bytes(model)
    assert there == [False, True]  # the second time with the same patients


# --- code -------------------------------------------------------------------------------------------------------------


class Bomb:
    """Unpickling this runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


def test_no_file_runs_code_wherever_it_hides(path):
    sprung, whole = path.parent / "sprung", path.read_bytes()
    bomb, state = Bomb(f"echo sprung> {sprung}"), load_checkpoint(path, "trainer")
    files = [pickle.dumps(bomb), pickle.dumps(bomb) + whole]
    for name in ("config", "history", "networks", "kind"):
        for archive in (True, False):
            file = io.BytesIO()
            torch.save({**state, name: bomb}, file, _use_new_zipfile_serialization=archive)
            files += [file.getvalue(), file.getvalue() + whole]
    parts = io.BytesIO()
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(parts, "w") as bad:
        for part in good.namelist():
            bad.writestr(part, pickle.dumps(bomb, 2) if part.endswith("data.pkl") else good.read(part))
    for content in [*files, parts.getvalue()]:
        path.write_bytes(content)
        for load in (Trainer.load, Synthesizer.load):
            with pytest.raises(ValueError, match=r"model\.pt cannot be loaded") as refused:
                load(path)
            assert "weights_only" not in str(refused.value) and not sprung.exists()
    pickle.loads(pickle.dumps(bomb))
    assert sprung.exists()  # it does go off where it is let


def test_what_is_loaded_is_what_was_checked(path):
    """torch reads a file's front and an archive's reader its end: here are numbers in front that have no checksum."""
    front = io.BytesIO()
    torch.save({"format": FORMAT, "kind": "trainer"}, front, _use_new_zipfile_serialization=False)
    path.write_bytes(front.getvalue() + path.read_bytes())
    with pytest.raises(ValueError, match=r"model\.pt cannot be loaded.*begin"):
        load_checkpoint(path, "trainer")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # torch's, about TorchScript
def test_a_program_is_refused_without_advice_to_run_it(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt cannot be loaded.*could be code") as refused:
        load_checkpoint(tmp_path / "model.pt", "trainer")
    assert "weights_only" not in str(refused.value)


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clocks", [[(time, "time"), (tqdm.std, "time")], [(time, "perf_counter")]], ids=["set", "own"])
def test_a_clock_that_goes_back_changes_nothing_but_the_seconds(make, x, tmp_path, monkeypatch, clocks):
    straight, trainer, now = make(), make(), [2e9]
    straight.fit(x, epochs=3, progress=False)

    def back():
        now[0] -= 1800.0
        return now[0]

    for module, name in clocks:
        monkeypatch.setattr(module, name, back)
    trainer.fit(x, epochs=3, checkpoint=tmp_path / "model.pt", progress=True)
    monkeypatch.undo()
    assert now[0] < 2e9 - 3600
    assert_equal(everything(tmp_path / "model.pt"), everything(straight, tmp_path))
    seconds = trainer.history["seconds"]
    assert all(map(math.isfinite, seconds)) and (len(clocks) == 1 or (seconds > 0).all())
