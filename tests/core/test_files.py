import sys

import pytest

from netgain.core.files import missing, names_object, python_file, python_object


def test_a_misspelled_file_gets_a_suggestion(tmp_path):
    (tmp_path / "plain.onnx").write_bytes(b"")
    assert missing(str(tmp_path / "plain.onnx")) == ""
    assert f"did you mean {tmp_path / 'plain.onnx'}?" in missing(str(tmp_path / "plian.onnx"))
    assert missing(str(tmp_path / "zzz")).endswith("zzz does not exist")
    assert "is a folder" in missing(str(tmp_path))
    assert f"no folder {tmp_path / 'none'}" in missing(str(tmp_path / "none" / "plain.onnx"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("package.module:build", True),
        ("module:Outer.build", True),
        ("path/to/file.py:build", True),
        (r"C:\models\file.py:build", True),
        ("/some where/file-1.py:build", True),
        ("file.py", False),
        ("model.onnx", False),
        (r"C:\models\model.onnx", False),
        ("path/to/module:build", False),
        ("module:", False),
        (":build", False),
    ],
)
def test_what_names_an_object(spec, expected):
    assert names_object(spec) is expected


def test_an_object_of_a_file_is_found_with_its_neighbours(tmp_path):
    (tmp_path / "netgain_neighbour.py").write_text("VALUE = 7\n")
    file = tmp_path / "with-dash.py"
    file.write_text(
        "import dataclasses\n"
        "@dataclasses.dataclass\n"
        "class Box:\n"
        "    value: int = 0\n"
        "def late():\n"
        "    import netgain_neighbour\n"
        "    return Box(netgain_neighbour.VALUE)\n"
    )
    before = list(sys.path)
    assert python_file(f"{file}:late") == str(file)
    assert python_object(f"{file}:late", lambda late: late()).value == 7
    assert sys.path == before
    with pytest.raises(AttributeError):
        python_object(f"{file}:none", lambda found: found)


def test_a_file_is_run_anew_and_keeps_no_others_name(tmp_path):
    file = tmp_path / "json.py"
    file.write_text("VALUE = 1\n")
    assert python_object(f"{file}:VALUE", int) == 1
    file.write_text("VALUE = 22\n")
    assert python_object(f"{file}:VALUE", int) == 22
    assert hasattr(sys.modules.get("json", sys), "__name__")
    assert not hasattr(sys.modules.get("json"), "VALUE")
