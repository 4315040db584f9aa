"""The README and the committed results say the same."""

import re

from amfir_lib import paths
from amfir_lib.readme import PARTS, README, stale_parts, update


def test_the_generated_parts_of_the_readme_equal_the_committed_results():
    assert stale_parts() == []


def test_the_readme_has_a_place_for_every_generated_part_and_no_other():
    text = README.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- generated: (\w+) -->", text)) == set(PARTS)
    assert set(re.findall(r"<!-- end: (\w+) -->", text)) == set(PARTS)


def test_an_update_fills_a_part_once_and_leaves_the_rest_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(PARTS, "times", lambda results: "| 3 minutes |")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- generated: times -->\nold\n<!-- end: times -->\nafter\n", encoding="utf-8")
    empty = tmp_path / "results"
    assert update(readme, empty) == ["times"]
    assert readme.read_text(encoding="utf-8") == (
        "before\n<!-- generated: times -->\n| 3 minutes |\n<!-- end: times -->\nafter\n"
    )
    assert update(readme, empty) == []


def test_every_relative_link_of_the_readme_leads_somewhere():
    text = README.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (paths.REPOSITORY / target).exists()] == []
