import csv
import os
import pathlib

import pytest

from netgain.core.errors import UsageError
from netgain.report import write


def names(folder: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_the_whole_content(tmp_path):
    path = write.write_text(tmp_path / "a.json", "größe\n")
    assert path.read_bytes() == "größe\n".encode()
    assert names(tmp_path) == ["a.json"]


def test_replaces_and_keeps_permissions(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o640)
    write.write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_midway_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(UsageError, match=r"cannot write .*No space left on device"):
        write.write_text(path, "new" * 1000)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_an_interrupt_midway_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("old")

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write.write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a"
    target.write_text("old")
    (tmp_path / "link").symlink_to(target)
    write.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"


def test_long_names_still_have_room_for_the_temporary_name(tmp_path):
    write.write_text(tmp_path / ("n" * 250), "x")
    assert names(tmp_path) == ["n" * 250]


def test_missing_folders_and_folders_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot write"):
        write.write_text(tmp_path / "none" / "a", "x")
    with pytest.raises(UsageError, match="it is a folder"):
        write.write_text(tmp_path, "x")


def test_a_device_is_written_to_directly():
    write.write_text("/dev/null", "x")
    assert not pathlib.Path("/dev/null").is_file()


def test_rows_round_trip_with_every_digit(tmp_path):
    path = write.write_rows(tmp_path / "a.csv", ["name", "value", "none"], [['a,"b"\nc', 0.1 + 0.2, None]])
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["name", "value", "none"], ['a,"b"\nc', repr(0.1 + 0.2), ""]]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x"])
def test_cells_that_spreadsheets_would_run_are_disarmed(tmp_path, cell):
    path = write.write_rows(tmp_path / "a.csv", ["name"], [[cell]])
    assert path.read_text().splitlines()[1] == f"'{cell}"


def test_ragged_rows_are_refused_and_write_nothing(tmp_path):
    with pytest.raises(ValueError, match="a row of 1 cells"):
        write.write_rows(tmp_path / "a.csv", ["a", "b"], [["x"]])
    assert names(tmp_path) == []
