"""Shards keep their numbers when inputs are added (law 4)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from malgeul.shards.buckets import Item, Limits, power_of_two, split

LIMITS = Limits(items=8, size=1000)


def items(names):
    return [Item(name, 100) for name in names]


def contents(buckets):
    return {number: [item.name for item in inside] for number, inside in buckets.items()}


@given(st.sets(st.text(min_size=1), max_size=60))
def test_every_item_is_in_exactly_one_bucket_within_the_limits(names):
    buckets = split(items(names), LIMITS)
    assert sorted(name for inside in contents(buckets).values() for name in inside) == sorted(names)
    assert all(len(inside) <= LIMITS.items for inside in buckets.values())
    assert list(buckets) == sorted(buckets)
    assert all(inside == sorted(inside) for inside in contents(buckets).values())
    assert len(names) > LIMITS.items or list(buckets) == [0][: len(names)], "what fits is not split"


@given(st.sets(st.text(min_size=1), min_size=1, max_size=60), st.text(min_size=1))
def test_adding_an_input_touches_one_bucket_or_splits_it(names, added):
    before = contents(split(items(names - {added}), LIMITS))
    after = contents(split(items(names | {added}), LIMITS))
    touched = [number for number, inside in before.items() if after.get(number) != inside]
    assert len(touched) <= 1
    new = [number for number in after if number not in before]
    moved = sorted(name for number in new for name in after[number] if name != added)
    left = sorted(name for number in touched for name in before[number] if name not in after.get(number, []))
    assert moved == left


def test_the_order_of_inputs_does_not_matter():
    names = [f"녹음 {k}.m4a" for k in range(100)]
    shuffled = random.Random(0).sample(names, len(names))
    assert split(items(names), LIMITS) == split(items(shuffled), LIMITS)


def test_a_single_item_over_the_size_has_a_bucket_of_its_own():
    buckets = split([Item("big", 5000), Item("a", 10), Item("b", 10)], LIMITS)
    assert ["big"] in contents(buckets).values()
    assert contents(split([Item("big", 5000)], LIMITS)) == {0: ["big"]}


def test_powers_of_two():
    assert [power_of_two(n) for n in (0.2, 1, 2, 3, 5, 1024.5)] == [1, 1, 2, 4, 8, 2048]
