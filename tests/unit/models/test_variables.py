"""Variables that count no more are answered with what replaces them."""

import pytest

from malgeul.models.variables import answers, memory_cap


def test_only_what_is_set_and_changes_nothing_is_answered():
    assert answers({"HF_HOME": "/models", "HF_HUB_OFFLINE": "1", "MAX_MEMORY_GB": "16"}) == []
    (line,) = answers({"TRANSFORMERS_CACHE": "/models"})
    assert line.startswith("TRANSFORMERS_CACHE is set and changes nothing: ")
    assert "HF_HOME" in line


def test_a_cap_is_gigabytes_and_anything_else_is_said():
    assert memory_cap({}) is None
    assert memory_cap({"MAX_MEMORY_GB": " 1.5 "}) == 3 << 29
    for wrong in ("much", "0", "-1", "inf", "nan"):
        with pytest.raises(ValueError, match="MAX_MEMORY_GB"):
            memory_cap({"MAX_MEMORY_GB": wrong})
