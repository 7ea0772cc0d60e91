"""A folder of parts holds what one table would, goes on where it was stopped, and mixes nothing."""

import json

import pandas as pd
import pytest

import hg_helpers as hg
from hg_helpers.__main__ import main
from hg_helpers.app import files as parts

PATIENTS = 600  # three blocks, the last one not full


@pytest.fixture(scope="module")
def model() -> hg.Synthesizer:
    return hg.Synthesizer.pretrained("v2")


@pytest.fixture(scope="module")
def whole(model) -> pd.DataFrame:
    return model.sample(PATIENTS, seed=3)


def test_parts_together_are_the_table(model, whole, tmp_path):
    done = []
    files = hg.write_parts(model, tmp_path / "made", PATIENTS, seed=3, per_part=256, progress=done.append)
    assert [f.name for f in files] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert done == [256, 512, 600]
    pd.testing.assert_frame_equal(pd.concat(map(pd.read_parquet, files), ignore_index=True), whole)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "made"), whole)
    assert not list((tmp_path / "made").glob(".*"))


def test_what_is_there_is_kept_and_what_is_missing_is_written(model, whole, tmp_path, monkeypatch):
    calls, table = [], parts.pd.concat

    def stopped(tables, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return table(tables, **kwargs)

    monkeypatch.setattr(parts.pd, "concat", stopped)
    with pytest.raises(KeyboardInterrupt):
        hg.write_parts(model, tmp_path, PATIENTS, seed=3, per_part=256)
    first = tmp_path / "part-00000.parquet"
    before = first.stat().st_mtime_ns
    assert [f.name for f in tmp_path.glob("*.parquet")] == [first.name]
    files = hg.write_parts(model, tmp_path, PATIENTS, seed=3, per_part=256)
    monkeypatch.undo()
    assert len(calls) == 4 and first.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(pd.concat(map(pd.read_parquet, files), ignore_index=True), whole)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed"),
        ({"decode": "sample"}, "decode"),
        ({"patients": 601}, "patients"),
        ({"per_part": 512}, "per_part"),
    ],
)
def test_parts_of_something_else_are_not_mixed_in(model, tmp_path, change, named):
    asked = {"patients": 256, "seed": 3, "per_part": 256}
    hg.write_parts(model, tmp_path, **asked)
    with pytest.raises(ValueError, match=f"another {named}.*another folder"):
        hg.write_parts(model, tmp_path, **{**asked, **change})


def test_parts_of_another_model_are_not_mixed_in(model, tmp_path):
    hg.write_parts(model, tmp_path, 2, per_part=256)
    with pytest.raises(ValueError, match="another model"):
        hg.write_parts(hg.Synthesizer.pretrained("v1"), tmp_path, 2, per_part=256)


def test_only_sampling_has_parts(tmp_path):
    with pytest.raises(SystemExit) as refused:
        main(["simulate", "--patients", "2", "--parts", "256", "--out", str(tmp_path / "made")])
    assert refused.value.code == 2 and not list(tmp_path.iterdir())


def test_a_folder_with_other_files_or_a_broken_manifest_is_refused(model, whole, tmp_path):
    whole.to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match="empty folder"):
        hg.write_parts(model, tmp_path, 2)
    (tmp_path / "mine.parquet").unlink()
    for broken in ("{", "[]", json.dumps({"seed": 0})):
        (tmp_path / parts.MANIFEST).write_text(broken)
        with pytest.raises(ValueError, match="another folder"):
            hg.write_parts(model, tmp_path, 2)


@pytest.mark.parametrize("per_part", [0, 100, True, 2.5])
def test_a_part_is_whole_blocks(model, tmp_path, per_part):
    with pytest.raises(ValueError, match=f"per_part must be a .*, not {per_part}"):
        hg.write_parts(model, tmp_path, 2, per_part=per_part)


def test_the_command_line_writes_parts_and_goes_on(model, whole, tmp_path, capsys):
    model.save(tmp_path / "v2.pt")
    line = ["sample", "--model", str(tmp_path / "v2.pt"), "--patients", str(PATIENTS), "--seed", "3", "--quiet"]
    line += ["--parts", "256", "--out", str(tmp_path / "made")]
    assert main(line) == 0
    (tmp_path / "made" / "part-00001.parquet").unlink()
    assert main(line) == 0  # no --force needed
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "made"), whole)
    assert main([*line[:-1], str(tmp_path / "other"), "--parts", "100"]) == 1
    assert "multiple of 256" in capsys.readouterr().err
