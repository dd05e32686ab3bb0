"""Korean numbers as they are spoken: Sino-Korean for amounts and dates, native for hours and for things counted."""

from __future__ import annotations

DIGITS = ("영", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구")
PLACES = ("", "십", "백", "천")
GROUPS = ("", "만", "억", "조")
NATIVE_ONES = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
NATIVE_TENS = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")


def sino(number: int) -> str:
    """Return a number from 0 to under 10^16 in Sino-Korean: 4200 is 사천이백, 50000 is 오만."""
    if number == 0:
        return DIGITS[0]
    words, group = [], 0
    while number:
        number, four = divmod(number, 10_000)
        if four:
            spoken = _four_digits(four)
            # Ten thousand is 만, not 일만.
            words.append(GROUPS[group] if group == 1 and four == 1 else spoken + GROUPS[group])
        group += 1
    return " ".join(reversed(words))


def _four_digits(number: int) -> str:
    spoken = ""
    for place in (3, 2, 1, 0):
        digit = number // 10**place % 10
        if digit:
            spoken += ("" if digit == 1 and place else DIGITS[digit]) + PLACES[place]
    return spoken


def native(number: int) -> str:
    """Return a number from 1 to 99 in native Korean, in the form before a counted noun: 1 is 한, 20 is 스무."""
    if number == 20:
        return "스무"
    tens, ones = divmod(number, 10)
    return NATIVE_TENS[tens] + NATIVE_ONES[ones]


def digit_by_digit(digits: str, zero: str = "공") -> str:
    """Return digits as they are read one by one, a space where the text has a hyphen: 010-12 is 공일공 일이."""
    return "".join(" " if mark == "-" else zero if mark == "0" else DIGITS[int(mark)] for mark in digits)
