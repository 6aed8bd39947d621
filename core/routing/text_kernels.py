"""Reading a plain (ASCII) text, compiled: the same facts and codes as `core.routing.features` and
`core.routing.structure` read with regular expressions, some ten times as fast.

Those two say what is read, and any other text is read by them; this says nothing of its own, and
is tested to give the same. What to look for comes as tables: numba's cache on disk notices changes
of this file only.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.routing.compiling import compiled

Bytes = NDArray[np.uint8]
Codes = NDArray[np.uint64]
Counts = NDArray[np.int64]
Singles = NDArray[np.float32]
SPACE, LETTER, DIGIT, OTHER = 0, 1, 2, 3
_NEWLINE, _HASH, _ZERO, _TAB, _BLANK, _OPEN = 10, 35, 48, 9, 32, 40
_ALL_ONES = np.uint64(0xFFFFFFFF)


class TextTables(NamedTuple):
    """What is looked for.

    Attributes:
        kind: 128; `SPACE`, `LETTER`, `DIGIT` or `OTHER` of each character, letters in lower case.
        symbol: 128; which counted symbol a character is, or -1.
        symbols: How many there are.
        signs: Bytes of all signs, one after another.
        sign_at: P + 1; where each sign begins.
        sign_group: P; which count a sign goes to.
        sign_lowered: P; 1 where the text is to be read in lower case.
        by_first: 129; of the signs in `sign_order`, where those begin whose first byte, in lower
            case, is a character.
        sign_order: P signs by first byte.
        groups: How many counts of signs there are.
        crc: 256; table of CRC-32.
        asked_code: Codes of the words that tell what is asked, hashed; 0 where there is none.
        asked_group: Their groups.
        asked: How many groups there are.
        most_words, long_word: See `core.routing.features`, `core.routing.structure`.
    """

    kind: Bytes
    symbol: Counts
    symbols: int
    signs: Bytes
    sign_at: Counts
    sign_group: Counts
    sign_lowered: Bytes
    by_first: Counts
    sign_order: Counts
    groups: int
    crc: Codes
    asked_code: Codes
    asked_group: Counts
    asked: int
    most_words: int
    long_word: int


@compiled
def _lower(byte: np.int64) -> np.int64:
    return byte + np.int64(32) if 65 <= byte <= 90 else byte


@compiled
def _crc(text: Bytes, start: int, end: int, its: TextTables) -> np.uint64:
    """CRC-32 of a part of the text, in lower case."""
    crc = _ALL_ONES
    for at in range(start, end):
        byte = np.uint64(_lower(np.int64(text[at])))
        crc = its.crc[(crc ^ byte) & np.uint64(255)] ^ (crc >> np.uint64(8))
    return crc ^ _ALL_ONES


@compiled
def _crc_of_number(digits: int, its: TextTables) -> np.uint64:
    """CRC-32 of `#` and how many digits there are."""
    tens = 1
    while tens * 10 <= digits:
        tens *= 10
    crc = _ALL_ONES
    crc = its.crc[(crc ^ np.uint64(_HASH)) & np.uint64(255)] ^ (crc >> np.uint64(8))
    while tens > 0:
        byte = np.uint64(_ZERO + digits // tens % 10)
        crc = its.crc[(crc ^ byte) & np.uint64(255)] ^ (crc >> np.uint64(8))
        tens //= 10
    code: np.uint64 = crc ^ _ALL_ONES
    return code


@compiled
def _is_added(code: np.uint64, seen: Codes) -> bool:
    """Add a code to an open hash table of codes + 1; False when it was there."""
    mask, key = np.uint64(len(seen) - 1), code + np.uint64(1)
    at = code & mask
    while seen[at] != np.uint64(0):
        if seen[at] == key:
            return False
        at = (at + np.uint64(1)) & mask
    seen[at] = key
    return True


@compiled
def _table_for(count: int) -> Codes:
    size = 8
    while size < 2 * count:
        size *= 2
    return np.zeros(size, np.uint64)


@compiled
def tokens_of(text: Bytes, its: TextTables) -> tuple[Counts, Counts]:
    """Return where words, numbers and symbols begin and end."""
    starts, ends = np.empty(len(text), np.int64), np.empty(len(text), np.int64)
    found, at = 0, 0
    while at < len(text):
        kind = its.kind[_lower(np.int64(text[at]))]
        start = at
        at += 1
        if kind == SPACE:
            continue
        if kind != OTHER:
            while at < len(text) and its.kind[_lower(np.int64(text[at]))] == kind:
                at += 1
        starts[found], ends[found] = start, at
        found += 1
    return starts[:found], ends[:found]


@compiled
def _sign_counts(text: Bytes, its: TextTables) -> Counts:
    """Count signs as `str.count` does: each from the left, not overlapping itself."""
    counts, free_from = np.zeros(its.groups, np.int64), np.zeros(len(its.sign_group), np.int64)
    for at in range(len(text)):
        first = _lower(np.int64(text[at]))
        for place in range(its.by_first[first], its.by_first[first + 1]):
            sign = its.sign_order[place]
            begin, length = its.sign_at[sign], its.sign_at[sign + 1] - its.sign_at[sign]
            if at < free_from[sign] or at + length > len(text):
                continue
            alike = True
            for i in range(length):
                byte = np.int64(text[at + i])
                if its.sign_lowered[sign]:
                    byte = _lower(byte)
                if byte != its.signs[begin + i]:
                    alike = False
                    break
            if alike:
                counts[its.sign_group[sign]] += 1
                free_from[sign] = at + length
    return counts


@compiled
def _option_start(text: Bytes, start: int, end: int, its: TextTables) -> int:
    """Return where the text of an option begins in a line; -1 when the line is none."""
    at = start
    while at < end and (text[at] == _BLANK or text[at] == _TAB):
        at += 1
    if at < end and text[at] == _OPEN:
        at += 1
    if at >= end:
        return -1
    kind = its.kind[_lower(np.int64(text[at]))]
    if kind not in (LETTER, DIGIT):
        return -1
    at += 1
    if kind == DIGIT and at < end and its.kind[text[at]] == DIGIT:
        at += 1
    # One of . ) : and at least one blank.
    if at + 1 >= end or not (text[at] == 46 or text[at] == 41 or text[at] == 58):
        return -1
    at += 1
    if text[at] != _BLANK and text[at] != _TAB:
        return -1
    while at < end and (text[at] == _BLANK or text[at] == _TAB):
        at += 1
    return at if at < end and its.kind[_lower(np.int64(text[at]))] != SPACE else -1


@compiled
def _options(text: Bytes, its: TextTables) -> tuple[Counts, Counts]:
    """Return where the options of a multiple-choice question begin and end."""
    starts, ends = np.empty(len(text) + 1, np.int64), np.empty(len(text) + 1, np.int64)
    found, line = 0, 0
    for at in range(len(text) + 1):
        if at < len(text) and text[at] != _NEWLINE:
            continue
        begins = _option_start(text, line, at, its)
        if begins >= 0:
            starts[found], ends[found] = begins, at
            found += 1
        line = at + 1
    return starts[:found], ends[:found]


@compiled
def _option_facts(text: Bytes, facts: Singles, its: TextTables) -> None:
    """Write six facts; see `core.routing.structure`."""
    starts, ends = _options(text, its)
    count = len(starts)
    facts[:6] = 0
    if count < 2:
        return
    total = (ends - starts).sum()
    mean, squares = total / count, 0.0
    words, distinct, with_digit = 0, 0, 0
    seen = _table_for(total)
    for option in range(count):
        squares += (ends[option] - starts[option] - mean) ** 2
        at, has_digit = starts[option], False
        while at < ends[option]:
            kind, begin = its.kind[_lower(np.int64(text[at]))], at
            at += 1
            has_digit = has_digit or kind == DIGIT
            if kind != LETTER:
                continue
            while at < ends[option] and its.kind[_lower(np.int64(text[at]))] == LETTER:
                at += 1
            words += 1
            distinct += _is_added(_crc(text, begin, at, its), seen)
        with_digit += has_digit
    facts[0] = math.log1p(count)
    facts[1] = math.log1p(mean) / 3
    facts[2] = math.sqrt(squares / count) / mean
    facts[3] = with_digit / count
    facts[4] = 1 - distinct / max(1, words)
    facts[5] = math.log1p(len(text) - total) / 5


@compiled
def _counted_facts(
    text: Bytes, chars: int, starts: Counts, ends: Counts, facts: Singles, its: TextTables
) -> None:
    """Write 8 facts and one per symbol; see `core.routing.features`."""
    blanks, lines = 0, 0
    symbols = np.zeros(its.symbols, np.int64)
    for byte in text:
        blanks += byte == _BLANK
        lines += byte == _NEWLINE
        if its.symbol[byte] >= 0:
            symbols[its.symbol[byte]] += 1
    numbers, digits, longest, covered = 0, 0, 0, 0
    for token in range(len(starts)):
        length = ends[token] - starts[token]
        covered += length
        if its.kind[_lower(np.int64(text[starts[token]]))] == DIGIT:
            numbers += 1
            digits += length
            longest = max(longest, length)
    facts[0] = math.log1p(chars) / 5
    facts[1] = math.log1p(blanks) / 4
    facts[2] = math.log1p(lines) / 3
    facts[3] = math.log1p(numbers)
    facts[4] = math.log1p(digits)
    facts[5] = longest / 4
    facts[6] = digits / max(1, numbers) / 4
    facts[7] = covered / max(1, len(text))
    for symbol in range(its.symbols):
        facts[8 + symbol] = math.log1p(symbols[symbol])


@compiled
def _word_facts(
    text: Bytes, starts: Counts, ends: Counts, codes: Codes, facts: Singles, its: TextTables
) -> None:
    """Write the codes of words, three facts of words, the share of capitals, and what is asked.

    Args:
        facts: First the three, then the capitals, then (behind three others) a fact per group.
    """
    letters, total, long, distinct = 0, 0, 0, 0
    seen = _table_for(len(starts))
    asked = np.zeros(its.asked, np.int64)
    mask = np.uint64(len(its.asked_code) - 1)
    for token in range(len(starts)):
        kind, length = its.kind[_lower(np.int64(text[starts[token]]))], ends[token] - starts[token]
        if kind == DIGIT:
            codes[token] = _crc_of_number(length, its)
            continue
        code = _crc(text, starts[token], ends[token], its)
        codes[token] = code
        if kind != LETTER:
            continue
        letters += 1
        total += length
        long += length >= its.long_word
        distinct += _is_added(code, seen)
        at = code & mask
        while its.asked_code[at] != np.uint64(0):
            if its.asked_code[at] == code:
                asked[its.asked_group[at]] += 1
                break
            at = (at + np.uint64(1)) & mask
    capitals = 0
    for byte in text:
        capitals += 65 <= byte <= 90
    facts[0] = total / max(1, letters) / 5
    facts[1] = distinct / max(1, letters)
    facts[2] = long / max(1, letters)
    facts[3] = capitals / max(1, len(text)) * 5
    for group in range(its.asked):
        facts[7 + group] = math.log1p(asked[group])


@compiled
def read_plain(
    text: Bytes, chars: int, earlier: int, earlier_chars: int, its: TextTables
) -> tuple[Singles, Codes]:
    """Return the facts of a text and its words' codes.

    Args:
        text: ASCII bytes of the query; a part of it when it is long.
        chars: Length of the whole query.
        earlier: Messages of the conversation before it.
        earlier_chars: Their length together.
    """
    starts, ends = tokens_of(text, its)
    counted, options = 8 + its.symbols, 6
    facts = np.empty(counted + options + its.groups + 7 + its.asked, np.float32)
    _counted_facts(text, chars, starts, ends, facts[:counted], its)
    if len(starts) > its.most_words:
        half, tail = its.most_words // 2, len(starts) - its.most_words // 2
        starts = np.concatenate((starts[:half], starts[tail:]))
        ends = np.concatenate((ends[:half], ends[tail:]))
    _option_facts(text, facts[counted : counted + options], its)
    place = counted + options
    signs = _sign_counts(text, its)
    for group in range(its.groups):
        facts[place + group] = math.log1p(signs[group])
    facts[place + its.groups - 1] /= 2
    place += its.groups
    codes = np.empty(len(starts), np.uint64)
    _word_facts(text, starts, ends, codes, facts[place:], its)
    facts[place + 4] = 0.0
    facts[place + 5] = math.log1p(earlier)
    facts[place + 6] = math.log1p(earlier_chars) / 5
    return facts, codes
