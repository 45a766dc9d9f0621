"""Which names stay inside a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recsys.names import is_inner
from tests.support.names import OUTSIDE


@pytest.mark.parametrize("name", ["DONE", "trials/0a1b/DONE", ".hidden", "a..b/...", "a b", "ü"])
def test_a_name_inside_may_have_any_visible_characters(name):
    assert is_inner(name)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_or_that_a_terminal_would_obey_is_none(name):
    assert not is_inner(name)


@given(st.text(alphabet="./\\a\x00\n"))
@example("a/../../b")
def test_a_name_inside_stays_below_any_folder(name):
    folder = Path("/folder")

    assert not is_inner(name) or (folder / name).resolve().is_relative_to(folder)
