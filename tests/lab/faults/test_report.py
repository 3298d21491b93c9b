"""The page that a run ends with."""

import pytest

from tests.lab.faults import report, sample_history
from tests.lab.faults.checker import check


@pytest.fixture
def verdict():
    return check(sample_history.good().records)


def test_a_green_run_says_so(verdict):
    page = report.page(verdict)
    assert "**4 faults: 0 lost, 0 doubled, 0 gaps.** Every invariant held." in page
    assert "| N5 | kill -9 of PostgreSQL | 1 |" in page


def test_a_red_run_says_what_did_not_hold():
    told = sample_history.good()
    acked = told.find("ok", key="a4")
    acked["seq"] += 1
    page = report.page(check(told.records))
    assert "1 lost" in page
    assert "**Did not hold: I1.**" in page
    assert f"- a4 was acknowledged as #{acked['seq']} in lobby" in page


def test_the_results_go_into_the_page_of_the_docs(verdict, tmp_path, monkeypatch):
    page = tmp_path / "RELIABILITY.md"
    page.write_text(report.PAGE.read_text())
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr("tests.lab.figures.PICTURES", tmp_path / "pictures")
    for _time in range(2):
        report.write(verdict)
    assert page.read_text().count("4 faults: 0 lost") == 1
    assert page.read_text().startswith("# Reliability")
    found = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert found == ["faults-recovery.svg", "faults-timeline.svg"]
