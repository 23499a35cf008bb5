"""Reports and what they do to an account: the table of cases, on books in memory."""

import pytest

from tests.charging.cases.story import Case, Memory, Play, cases


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_case_comes_out_as_written(case: Case) -> None:
    assert Play(case, Memory()).run() == []
