"""What is shown: escaped, composed, with nothing in it that hides or reorders text; a missing value is an error."""

import pytest
from jinja2 import UndefinedError

from malgeul.pages.rendering import templates, visible

HOSTILE = "<script>alert('말글')</script>\u202egpj.m4a"


def test_names_that_are_no_text_are_spelled_out():
    assert visible("caf\udce9.m4a") == "caf\\xe9.m4a"
    assert visible("\u1112\u1161\u11ab") == "한", "decomposed names are shown composed"
    assert visible("a\x00b\u200bc\nd") == "a\\x00b\\u200bc\nd"
    assert visible(HOSTILE).encode("utf-8")


def test_templates_escape_what_they_show(tmp_path):
    (tmp_path / "a.html.j2").write_text('<p title="{{ value }}">{{ value }}</p>', encoding="utf-8")
    shown = templates(tmp_path).get_template("a.html.j2").render(value=f'" onclick="{HOSTILE}')
    assert shown.count("<") == 2
    assert shown.count('"') == 2
    assert "\u202e" not in shown


def test_a_missing_value_is_an_error(tmp_path):
    (tmp_path / "a.html.j2").write_text("{{ value }}", encoding="utf-8")
    with pytest.raises(UndefinedError):
        templates(tmp_path).get_template("a.html.j2").render()


def test_what_is_shared_is_found_beside_a_wings_own(tmp_path):
    (tmp_path / "a.css").write_text('{% include "palette.css" %}{% include "page.css" %}', encoding="utf-8")
    assert "prefers-color-scheme: dark" in templates(tmp_path).get_template("a.css").render()
