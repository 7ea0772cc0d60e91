"""Files that survive a crash, and files that are refused."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from hg_helpers.runtime.checkpoint import FORMAT, atomic, load_checkpoint, save_checkpoint

STATE = {
    "kind": "trainer",
    "weights": {"a": torch.linspace(0, 1, 1000), "b": torch.arange(6).view(2, 3)},
    "position": [1, 2, 3],
    "words": {"name": "Gender", "codes": (1, 2.5, None, True)},
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, STATE)
    return path


# --- atomic -----------------------------------------------------------------------------------------------------------


def test_a_file_appears_under_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent and temporary != path  # same folder: a rename is one step
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it" and os.listdir(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [RuntimeError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_leftover(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["table.csv"]


def test_a_failure_before_anything_was_written_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic(tmp_path / "table.csv"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic(path):
        pass
    assert path.read_text() == "old"


# --- save and load ----------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(saved):
    state = load_checkpoint(saved, "trainer")
    assert state["format"] == FORMAT
    assert {k: state[k] for k in ("kind", "position", "words")} == {k: STATE[k] for k in ("kind", "position", "words")}
    for name, tensor in STATE["weights"].items():
        assert torch.equal(state["weights"][name], tensor) and state["weights"][name].dtype == tensor.dtype
    assert load_checkpoint(str(saved), "synthesizer", "trainer")["kind"] == "trainer"


def test_saving_again_replaces_the_file_and_leaves_no_other(saved):
    save_checkpoint(saved, {**STATE, "position": [9]})
    assert load_checkpoint(saved, "trainer")["position"] == [9] and os.listdir(saved.parent) == ["model.pt"]


def test_a_checkpoint_that_cannot_be_written_keeps_the_old_one_and_names_the_file(saved, monkeypatch):
    before = saved.read_bytes()

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail] . file write failed")  # what torch says of a full disk

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"model\.pt.*untouched"):
        save_checkpoint(saved, STATE)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == ["model.pt"]


def test_a_folder_in_the_files_place_is_an_error_naming_it(tmp_path):
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(OSError, match=r"could not write .*model\.pt"):
        save_checkpoint(tmp_path / "model.pt", STATE)
    assert os.listdir(tmp_path) == ["model.pt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"could not write .*model\.pt"):
        save_checkpoint(tmp_path / "file" / "model.pt", STATE)


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(FileNotFoundError, match=str(path)):
            load_checkpoint(path, "trainer")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(saved, share):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"model\.pt cannot be loaded.*damaged"):
        load_checkpoint(saved, "trainer")


@pytest.mark.parametrize("position", [0, 1999, 3998])
def test_one_flipped_bit_in_a_tensor_is_refused(saved, position):
    whole = bytearray(saved.read_bytes())
    start = whole.index(STATE["weights"]["a"].numpy().tobytes())
    whole[start + position] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(ValueError, match=r"model\.pt cannot be loaded.*checksum.*damaged"):
        load_checkpoint(saved, "trainer")


@pytest.mark.parametrize("content", [b"", b"PatientID,VL\n1,2\n", pickle.dumps({"format": FORMAT, "kind": "trainer"})])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.pt cannot be loaded"):
        load_checkpoint(path, "trainer")


@pytest.mark.parametrize("state", [{"weights": torch.ones(2)}, {"format": FORMAT}, [1, 2], torch.ones(3)], ids=str)
def test_somebody_elses_checkpoint_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not written by hg_helpers"):
        load_checkpoint(tmp_path / "model.pt", "trainer")


class Trap:
    """Unpickling this would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_not_run(tmp_path):
    sprung = tmp_path / "sprung"
    path = tmp_path / "model.pt"
    torch.save({"format": FORMAT, "kind": "trainer", "trap": Trap(sprung)}, path)
    with pytest.raises(ValueError, match=r"model\.pt cannot be loaded.*could be code") as refused:
        load_checkpoint(path, "trainer")
    assert "weights_only" not in str(refused.value)  # torch's advice on how to run it nevertheless
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match=r"model\.pt cannot be loaded"):
        load_checkpoint(path, "trainer")
    assert not sprung.exists()
    torch.save({"trap": Trap(sprung)}, path)
    torch.load(path, weights_only=False)["trap"].close()  # the trap does work where it is let
    assert sprung.exists()


def test_an_object_among_the_numbers_is_not_loaded(tmp_path):
    save_checkpoint(tmp_path / "model.pt", {"kind": "trainer", "array": np.ones(3)})
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_checkpoint(tmp_path / "model.pt", "trainer")


def test_a_checkpoint_of_another_format_says_which_and_what_to_do(tmp_path):
    path = tmp_path / "model.pt"
    save_checkpoint(path, {**STATE, "format": FORMAT + 1})
    with pytest.raises(ValueError, match=rf"format {FORMAT + 1}.*reads {FORMAT}.*version that wrote it"):
        load_checkpoint(path, "trainer")


def test_a_checkpoint_of_another_kind_says_what_it_is(tmp_path):
    save_checkpoint(tmp_path / "model.pt", {**STATE, "kind": "synthesizer"})
    with pytest.raises(ValueError, match=r"model\.pt holds a synthesizer, not a trainer"):
        load_checkpoint(tmp_path / "model.pt", "trainer")


def test_a_checkpoint_is_an_archive_that_other_tools_can_look_into(saved):
    assert zipfile.is_zipfile(saved)
