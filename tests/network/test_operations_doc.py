"""docs/operations.md lists every registered operation, and nothing else."""

import pathlib
import re

import pytest

from netgain.network.read import aten
from netgain.network.read.lowering import DISCRETE_LOWERINGS, LOWERINGS

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "operations.md"


def test_table_is_complete():
    assert aten.__all__
    listed = DOCUMENT.read_text().partition("## Registered aten operations")[2]
    named = {f"aten.{name}" for name in re.findall(r"`(\w+\.\w+)`", listed)}
    registered = set(LOWERINGS) | set(DISCRETE_LOWERINGS)
    assert named == registered, f"missing {sorted(registered - named)}, stale {sorted(named - registered)}"


def test_a_second_lowering_of_one_name_is_refused():
    with pytest.raises(ValueError, match="registered already"):
        LOWERINGS.register("aten.relu.default")(lambda call: ())
