"""Personal numbers and addresses in Korean text, found by their form and checksum and replaced by what they are.

A number counts where it can be checked (resident registration, business, card numbers), where its form is unmistakable
(mobile phones, e-mail, public IP addresses), or where a word near it says what it is (accounts, numbers without
hyphens). Names and postal addresses have no form and are not looked for. Hotlines (1588-0000) are nobody's.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

RANDOM_SINCE = date(2020, 10, 5)
"""Resident registration numbers given since then end in random digits: there is no checksum in them."""

LAST_YEAR = 2040
"""Nobody is taken to be born later; a fixed year, so that the same text is always masked alike."""

# Two numbers may be parted by a comma or a slash alone.
_NOT_IN_NUMBER = r"(?<![0-9A-Za-z@])(?<!\d[-.])"
_NO_NUMBER_AFTER = r"(?!\d)(?![-.:]\d)"
# A letter may stand before a phone number: TEL02-123-4567.
_NOT_IN_PHONE = r"(?<![0-9@])(?<!\d[-.])"


@dataclass(frozen=True)
class Kind:
    """A kind of personal number: what stands for it in the text, how it looks, and what else must hold.

    ``accepts`` gets the match and the characters before it (up to :data:`CONTEXT`).
    """

    name: str
    placeholder: str
    form: re.Pattern[str]
    accepts: Callable[[re.Match[str], str], bool]


CONTEXT = 24
"""How many characters before a number are looked at for a word that says what it is."""


def mask(text: str) -> tuple[str, Counter[str]]:
    """Return the text with placeholders for personal numbers, and how many of each kind there were."""
    counts: Counter[str] = Counter()
    if not _WORTH_LOOKING.search(text):
        return text, counts
    pieces: list[str] = []
    at = 0
    for start, end, kind in find(text):
        pieces += [text[at:start], kind.placeholder]
        counts[kind.name] += 1
        at = end
    return "".join([*pieces, text[at:]]), counts


def masked_lines(text: str) -> list[str]:
    """Return the lines of a text with placeholders for personal numbers; one that goes over its end is in both."""
    waiting = deque(find(text))
    lines: list[str] = []
    begin = 0
    for line in text.split("\n"):
        pieces: list[str] = []
        at, end = begin, begin + len(line)
        while waiting and waiting[0][0] < end:
            start, stop, kind = waiting[0]
            pieces += [text[at : max(at, start)], kind.placeholder]
            at = min(stop, end)
            if stop > end:
                break
            waiting.popleft()
        lines.append("".join([*pieces, text[at:end]]))
        begin = end + 1
    return lines


def find(text: str) -> list[tuple[int, int, Kind]]:
    """Return where personal numbers stand, [start, end) with their kind, in order; they do not overlap."""
    found: list[tuple[int, int, Kind]] = []
    if _WIDE.search(text):  # a tenth of the time that translating takes
        text = text.translate(_NARROW)
    taken = bytearray(len(text))
    for kind in KINDS:  # the surest first: what it takes, later ones cannot
        for match in kind.form.finditer(text):
            start, end = match.span()
            if not any(taken[start:end]) and kind.accepts(match, text[max(0, start - CONTEXT) : start]):
                found.append((start, end, kind))
                taken[start:end] = b"\1" * (end - start)
    return sorted(found, key=lambda one: one[0])


def resident_number_holds(digits: str) -> bool:
    """Return whether 13 digits are a resident or foreigner registration number: date, century, checksum.

    The checksum is that of the registration law's form (weights 2 to 9, then 2 to 5, modulo 11); a foreigner's is
    moved by 2. Numbers of people born since :data:`RANDOM_SINCE` have none.
    """
    born = _born(digits)
    if born is None:
        return False
    if born >= RANDOM_SINCE:
        return True
    weights = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)
    weighed = sum(int(digit) * weight for digit, weight in zip(digits[:12], weights, strict=True))
    moved = 2 if digits[6] in "5678" else 0
    return ((11 - weighed % 11) % 10 + moved) % 10 == int(digits[12])


def _born(digits: str) -> date | None:
    century = {"9": 1800, "0": 1800, "1": 1900, "2": 1900, "5": 1900, "6": 1900}.get(digits[6], 2000)
    try:
        born = date(century + int(digits[:2]), int(digits[2:4]), int(digits[4:6]))
    except ValueError:
        return None
    return born if born.year <= LAST_YEAR else None


def business_number_holds(digits: str) -> bool:
    """Return whether 10 digits are a business registration number (weights 1 3 7 1 3 7 1 3 5, the ninth carries)."""
    weighed = sum(int(digit) * weight for digit, weight in zip(digits[:9], (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True))
    return (10 - (weighed + int(digits[8]) * 5 // 10) % 10) % 10 == int(digits[9])


def luhn_holds(digits: str) -> bool:
    """Return whether digits end in their check digit by Luhn's formula (ISO/IEC 7812)."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _digits(match: re.Match[str]) -> str:
    return re.sub(r"\D", "", match.group())


def _resident(match: re.Match[str], before: str) -> bool:
    digits = _digits(match)
    if _COMPANY.search(before):  # 110111 is a court, and a date, too
        return False
    named = bool(re.search("주민|등록\\s*번호|외국인", before))
    unchecked = (born := _born(digits)) is not None and born >= RANDOM_SINCE
    written_so = named or len(match.group()) > len(digits)
    if resident_number_holds(digits) and (written_so or not unchecked):
        return True
    return named and born is not None


def _business(match: re.Match[str], before: str) -> bool:
    return business_number_holds(_digits(match)) and ("-" in match.group() or "사업자" in before)


def _card(match: re.Match[str], before: str) -> bool:
    digits = _digits(match)
    grouped = len(match.group()) > len(digits)
    return digits[0] in "34569" and luhn_holds(digits) and (grouped or "카드" in before)


def _account(match: re.Match[str], before: str) -> bool:
    number, after = match.group(), match.string[match.end() : match.end() + CONTEXT]
    if not 10 <= len(_digits(match)) <= 14 or _DATE.search(number) or _YEARS.fullmatch(number):
        return False
    if not _LAST_HYPHENED.search(number) and (_COUNTED.match(after) or _ROUND.fullmatch(number)):
        return False
    named = _BANK.search(before) and not _OTHER_NUMBER.search(before)
    return bool(named or (_HYPHENED.fullmatch(number) and _BANK_BEHIND.match(after)))


def _phone(match: re.Match[str], before: str) -> bool:
    if re.search(r"(?:모델|품번|버전|사건|번지)\s*(?:번호)?[은는:\s]*$", before) or _CODE.search(before):
        return False
    if before.endswith("제") and match.string.startswith("호", match.end()):  # a document's: 제02-2019-1234호
        return False
    if "\n" in match.group() and "-" not in match.group():  # numbers below each other, as a table has them
        return False
    digits = re.sub("^(?:0082|82)0?", "0", _digits(match))
    parted = len(match.group()) > len(_digits(match)) or before.endswith("(")
    known = parted or digits[:2] == "01" or bool(re.search("전화|번호|연락|팩스|☎|tel", before, re.IGNORECASE))
    return known and bool(_PHONE_PLAN.fullmatch(digits))


def _public_ip(match: re.Match[str], before: str) -> bool:
    if re.search(r"(?:v|ver\.?|version|버전|판)\s*$", before, re.IGNORECASE):
        return False
    if _DAYS_OR_POINTS.fullmatch(match.group()) and not _ADDRESS.search(before):
        return False
    try:
        return ipaddress.ip_address(match.group()).is_global
    except ValueError:
        return False


def _always(match: re.Match[str], before: str) -> bool:
    return True


_DAYS_OR_POINTS = re.compile(r"(?:[12]?\d|3[01])(?:\.(?:[12]?\d|3[01])){3}")
"""19.4.30.14 is a time, and 3.1.2.4 a section; of addresses one in five thousand has no number above 31."""

_ADDRESS = re.compile(r"ip|dns|아이피|주소|서버|접속", re.IGNORECASE)

_NARROW = {
    **dict(zip(range(0xFF01, 0xFF5F), range(0x21, 0x7F), strict=True)),
    **dict.fromkeys(map(ord, "‐‑‒–—―−─ㅡー"), ord("-")),
    **dict.fromkeys([0xA0, 0x3000], ord(" ")),
}
"""Full-width forms, as old Korean pages write numbers in, and what else is written for a hyphen or a space, to ASCII: a
character for each, so that places hold."""

_WIDE = re.compile(f"[{''.join(map(chr, _NARROW))}]")

_WORTH_LOOKING = re.compile(r"\d{3}|[@＠]|\d\.\d|:[0-9A-Fa-f]{0,4}:")

_BANK = re.compile(
    r"계좌|통장|입금|송금|예금주|무통장|은행|뱅크|농협|수협|신협|새마을금고|우체국|[카케토]뱅|(?:국민|신한|우리|하나|기업|토스|카카오|씨티|SC제일|IBK)\s*:?\s*$"
)

_COMPANY = re.compile(r"법인\s*(?:등록)?\s*(?:번호)?[\s:은는이가(\[]{0,5}$")
"""What says that the number behind it is a company's, of the form of a resident's."""

_DATE = re.compile(r"(?<!\d)(?:19|20)\d\d([ -])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?!\d)")
_YEARS = re.compile(r"(?:19|20)\d\d(?:[ -]+(?:19|20)\d\d)+")
_COUNTED = re.compile(r"\s?(?:[만천억]\s?)?(?:원|달러|위안|유로|명(?!의)|개(?!설))|\s?[만억]\s")
_ROUND = re.compile(r"\d+0{5}|\d+000(?: \d+000)+")
"""Sums of money and counts; of accounts one in 100,000 ends in five zeros."""

_OTHER_NUMBER = re.compile(
    r"(?:(?:등기|송장|택배|우편)(?:\s*번호)?|(?:접수|주문|사건|문서|고객|회원|승인|거래|증권|증서)\s*번호)\s*[:은는]?\s*$"
)
"""What says that the number behind it is another one that banks and post offices have, too."""

_LAST_HYPHENED = re.compile(r"- ?\d+$")
_HYPHENED = re.compile(r"\d+(?: ?- ?\d+){2,}")
_BANK_BEHIND = re.compile(r"[\s(\[,/]{0,3}(?:예금주|농협|수협|신협|새마을금고|우체국|[가-힣A-Za-z]{1,6}(?:은행|뱅크))")

_CODE = re.compile(r"(?<![A-Za-z])(?!(?:tel|fax|phone|mobile|hp|[tfmhpc])$)[A-Za-z]+$", re.IGNORECASE)
"""What makes a code of the number behind it: letters that are no word for a telephone."""

_PHONE_PLAN = re.compile(
    r"01[016789]\d{7,8}|02\d{7,8}|0(?:3[1-3]|4[1-4]|5[1-5]|6[1-4])\d{7,8}|0(?:70|[35]0\d|60|80)\d{7,8}"
)
"""South Korea's numbering plan: mobile, Seoul, the other areas, internet, fax and virtual numbers."""

KINDS = (
    Kind(
        "email",
        "[이메일]",
        re.compile(
            r"(?<![A-Za-z0-9])[A-Za-z0-9][\w.+-]{0,63}@"
            r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![A-Za-z0-9])",
            re.ASCII,
        ),
        _always,
    ),
    Kind(
        "ip_address",
        "[IP주소]",
        re.compile(
            r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d|\w)"
            r"|(?<![\w.:])(?:[0-9A-Fa-f]{1,4}:){1,7}[0-9A-Fa-f:]*[0-9A-Fa-f](?![\w:])",
            re.ASCII,
        ),
        _public_ip,
    ),
    Kind(
        "resident_number",
        "[주민등록번호]",
        re.compile(_NOT_IN_NUMBER + r"\d{6}\s?(?:-\s?)?[1-8]\d{6}" + _NO_NUMBER_AFTER),
        _resident,
    ),
    Kind(
        "card_number",
        "[카드번호]",
        re.compile(
            _NOT_IN_NUMBER
            + r"\d{4}(?P<by>(?: ?- ?| )?)(?:\d{4}(?P=by)\d{4}(?P=by)\d{4}|\d{6}(?P=by)\d{5})"
            + _NO_NUMBER_AFTER
        ),
        _card,
    ),
    Kind(
        "business_number",
        "[사업자등록번호]",
        re.compile(_NOT_IN_NUMBER + r"\d{3}(?: ?[-.] ?| )?\d{2}(?: ?[-.] ?| )?\d{5}" + _NO_NUMBER_AFTER),
        _business,
    ),
    Kind(
        "phone_number",
        "[전화번호]",
        re.compile(
            _NOT_IN_PHONE
            + r"(?:(?:\+|00)?82[-.\s]?(?:\(0\)\s?|\(?0?\)?)\d{1,2}|\(0\d{1,3}\)|0\d{1,3}\)?)"
            + r"(?:(?:\s?[-.]{1,2}\s?|\s{1,2})?\d{3,4}(?:\s?[-.]{1,2}\s?|\s)?"
            + r"|(?<=01\d)(?P<by>[/_·~*])\d{3,4}(?P=by))\d{4}"
            + _NO_NUMBER_AFTER
        ),
        _phone,
    ),
    Kind(
        "account_number",
        "[계좌번호]",
        re.compile(
            # All of its groups are parted alike: what stands behind a space is no part of a number with hyphens.
            _NOT_IN_NUMBER
            + r"(?:\d{2,6}(?: ?- ?\d{1,8}+){1,4}|\d{2,6}(?: \d{2,8}+){1,4}|\d{10,14}+)"
            + _NO_NUMBER_AFTER
        ),
        _account,
    ),
    Kind(
        "account_number",
        "[계좌번호]",
        # Unless that alone is too short to be one: 3333-01 1234567.
        re.compile(_NOT_IN_NUMBER + r"\d{2,6}(?:(?: ?- ?| )\d{2,8}+){1,4}" + _NO_NUMBER_AFTER),
        _account,
    ),
)  # fmt: skip
"""Kinds of personal numbers, the surest first."""
