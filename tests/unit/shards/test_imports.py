"""Large imports are not looked through for garbage, or left out where nobody asks for them."""

import gc
import subprocess
import sys
import weakref

import pytest

from malgeul import ROOT
from malgeul.shards.imports import lasting_imports


class Node:
    """Something that can be in a cycle."""


@pytest.fixture(autouse=True)
def thawed():
    """Leave other tests' objects to the collector again."""
    yield
    gc.unfreeze()


def test_nothing_is_collected_in_the_block_and_what_it_made_is_left_alone():
    with lasting_imports():
        assert not gc.isenabled()
        made = Node()
    assert gc.isenabled()
    assert all(one is not made for one in gc.get_objects())


def test_cycles_that_come_after_are_collected():
    with lasting_imports():
        pass
    node = Node()
    node.self = node
    seen = weakref.ref(node)
    del node
    gc.collect()
    assert seen() is None


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ModuleNotFoundError), lasting_imports():
        import no_such_library_as_this  # noqa: F401
    assert gc.isenabled()


def test_a_job_over_tables_imports_no_pandas_and_leaves_it_to_those_who_ask_for_it():
    program = (
        "import sys, pyarrow\n"
        "from malgeul.shards.imports import keep_pandas_out\n"
        "keep_pandas_out()\n"
        "table = pyarrow.Table.from_pylist([{'id': 'a'}, {'id': None}])\n"
        "assert table.to_pylist() == [{'id': 'a'}, {'id': None}]\n"
        "print('pandas' in sys.modules)\n"
        "print(type(table.to_pandas()).__module__.split('.')[0])\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["False", "pandas"]


def test_a_program_of_the_users_may_give_pyarrow_columns_of_pandas(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        "import pandas, pyarrow\n"
        "def load():\n"
        "    return lambda: pyarrow.array(pandas.Series(['a', None, float('nan')])).to_pylist()\n"
    )
    program = (
        "import sys, pyarrow\n"
        "from pathlib import Path\n"
        "from malgeul.shards.imports import keep_pandas_out\n"
        "from malgeul.shards.programs import load_program\n"
        "keep_pandas_out()\n"
        "print(load_program(Path(sys.argv[1]), {})())\n"
    )
    command = [sys.executable, "-c", program, str(own)]
    said = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "['a', None, None]"
