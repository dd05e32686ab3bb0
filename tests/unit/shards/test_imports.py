"""Large imports are not looked through for garbage; what comes after them is."""

import gc
import weakref

import pytest

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
