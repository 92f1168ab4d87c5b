"""What strict JSON accepts, what it refuses, and that it tells where; at any input it stays quick and calm."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from acked_common.model import strict_json
from acked_common.model.json_scanner import JsonScanner
from acked_common.model.strict_json import MAX_BYTES, MAX_DEPTH, StrictJsonError

INTS = st.integers(-(2**63), 2**63 - 1)
# "Cs" are the surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
SCALARS = st.none() | st.booleans() | INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=40)


def refused(data: bytes, **limits: int) -> StrictJsonError:
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(data, **limits)
    return caught.value


def place(data: bytes) -> tuple[str, str, int]:
    error = refused(data)
    assert error.detail
    return error.name, error.pointer, error.offset


@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.just(2))
@example(value={"": {"": {"$ne": 1, "a.b": ":"}}}, ascii_only=True, indent=None)
@example(value="😀 \ud7ff \ue000 \x00 \x7f", ascii_only=True, indent=None)
def test_all_that_json_writes_is_read_as_json_reads_it(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent, allow_nan=False)
    data = text.encode()
    JsonScanner(data, 1000).scan()
    if _depth(value) > MAX_DEPTH:
        assert refused(data).name == "too-deep"
    else:
        assert strict_json.parse(data) == json.loads(text)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


FRAGMENTS = st.sampled_from(
    [
        b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"a":', b"\\", b"\\u", b"\\u0000", b"\\u003a", b"\\ud83d",
        b"\\ude00", b"0", b"1", b"-", b".", b"e", b"E+5", b"1e999", b"true", b"null", b"NaN", b"Infinity", b" ", b"\n",
        b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xc3\xa9", b"\x00", b"\x1f", b"9223372036854775808", b"9" * 150,
    ]
)  # fmt: skip


@given(
    value=VALUES,
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), FRAGMENTS | st.binary(max_size=3)), max_size=4),
)
@example(value={"a": 1}, changes=[(0.0, 0, b"\xef\xbb\xbf")])
def test_changed_bytes_are_read_or_refused_and_both_paths_agree(
    value: Any, changes: list[tuple[float, int, bytes]]
) -> None:
    data = json.dumps(value).encode()
    for where, removed, inserted in changes:
        at = int(where * len(data))
        data = data[:at] + inserted + data[at + removed :]
    _assert_agreement(data)


@given(st.lists(FRAGMENTS, max_size=12).map(b"".join))
def test_joined_fragments_are_read_or_refused_and_both_paths_agree(data: bytes) -> None:
    _assert_agreement(data)


@given(st.binary(max_size=40))
def test_random_bytes_are_read_or_refused_and_both_paths_agree(data: bytes) -> None:
    _assert_agreement(data)


def _assert_agreement(data: bytes) -> None:
    """The quick path and the exact one decide alike, and never against Python's reader."""
    try:
        JsonScanner(data, MAX_DEPTH).scan()
    except StrictJsonError as exact:
        error = refused(data)
        assert (error.name, error.pointer, error.offset) == (exact.name, exact.pointer, exact.offset)
        assert 0 <= error.offset <= len(data)
        error.pointer.encode()
        error.detail.encode()
        assert error.pointer == "" or error.pointer.startswith("/")
    else:
        assert strict_json.parse(data) == json.loads(data)


@pytest.mark.parametrize(
    ("data", "name", "pointer", "offset"),
    [
        (b"", "bad-json", "", 0),
        (b" \n\t", "bad-json", "", 3),
        (b"\xef\xbb\xbf{}", "bad-encoding", "", 0),
        (b'{"a": [1, 2', "bad-json", "/a", 11),
        (b'{"a": "x', "bad-json", "/a", 8),
        (b'{"a": tru', "bad-json", "/a", 6),
        (b'{"a": 1} x', "bad-json", "", 9),
        (b"{} {}", "bad-json", "", 3),
        (b"[1,]", "bad-json", "", 3),
        (b'{"a":1,}', "bad-json", "", 7),
        (b"[1 2]", "bad-json", "", 3),
        (b'{"a" 1}', "bad-json", "/a", 5),
        (b"{1: 2}", "bad-json", "", 1),
        (b"{'a': 2}", "bad-json", "", 1),
        (b"[[0], [01]]", "bad-json", "/1/0", 7),
        (b"[1.]", "bad-json", "/0", 1),
        (b"[.5]", "bad-json", "/0", 1),
        (b"[+1]", "bad-json", "/0", 1),
        (b"[0x10]", "bad-json", "/0", 1),
        (b"[NaN]", "bad-json", "/0", 1),
        (b'{"n": -Infinity}', "bad-json", "/n", 6),
        (b'["a\nb"]', "bad-json", "/0", 3),
        (b'["a\\x"]', "bad-json", "/0", 3),
        (b'["\\u12g4"]', "bad-json", "/0", 2),
        (b'["\\u"]', "bad-json", "/0", 2),
        (b'{"\\u": 1}', "bad-json", "", 2),
        (b"// no\n{}", "bad-json", "", 0),
        (b"[1]\x00", "bad-json", "", 3),
        (b"[1]\x0b", "bad-json", "", 3),
        (b'{"a": "\xff"}', "bad-encoding", "/a", 7),
        (b'{"\xc0\x80": 1}', "bad-encoding", "", 2),
        (b'["\xed\xa0\x80"]', "bad-encoding", "/0", 2),
        (b"[\xff]", "bad-encoding", "/0", 1),
        ('{"a": 1}'.encode("utf-16"), "bad-encoding", "", 0),
        (b'["ok \\ud83d\\ude00 \\ud800"]', "bad-text", "/0", 18),
        (b'["\\\\\\udc00"]', "bad-text", "/0", 4),
        (b'["\\ud800\\ud800\\udc00"]', "bad-text", "/0", 2),
        (b'["\\ud800\\n"]', "bad-text", "/0", 2),
        (b'{"a": {"\\ud800": 1}}', "bad-text", "/a", 8),
        (b'{"a": {"b\\u0000c": 1}}', "bad-text", "/a", 7),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate-key", "/b/c", 23),
        (b'{"a": 1, "\\u0061": 2}', "duplicate-key", "/a", 9),
        (b'{"a:b": ":", "a\\u003ab": 2}', "duplicate-key", "/a:b", 13),
        (b'{"": 1, "": 2}', "duplicate-key", "/", 8),
        ('{"é": 1, "\\u00e9": 2}'.encode(), "duplicate-key", "/é", 10),
        (b'{"a": {"b:": 1}, "a": 2}', "duplicate-key", "/a", 17),
        (b'{"a/b": {"c~d": [0, NaN]}}', "bad-json", "/a~1b/c~0d/1", 20),
        (b"[1180591620717411303424]", "bad-number", "/0", 1),
        (b"9223372036854775808", "bad-number", "", 0),
        (b"-9223372036854775809", "bad-number", "", 0),
        (b"18446744073709551615", "bad-number", "", 0),
        (b"[" + b"9" * 5000 + b"]", "bad-number", "/0", 1),
        (b"[1e999]", "bad-number", "/0", 1),
        (b"[-1e999]", "bad-number", "/0", 1),
        (b"[0." + b"1" * 399 + b"]", "bad-number", "/0", 1),
        (b"[" + b"1" * 132 + b"." + b"1" * 133 + b"e-" + b"0" * 132 + b"1]", "bad-number", "/0", 1),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_and_placed(data: bytes, name: str, pointer: str, offset: int) -> None:
    assert place(data) == (name, pointer, offset)


@pytest.mark.parametrize(
    "data",
    [
        b"9223372036854775807", b"-9223372036854775808", b"-0", b"1e308", b"1e-999", b"0.1234567890123456789012345",
        b'"12345678901234567890123"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\x7f"', b'{"\\u0001": 1}', b'"\\\\u0000"',
        b'{"\\\\u0000": 1}', b'{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 1}]}', b"  null\r\n",
        b'{"a\\u003a": ":::"}',
        b"[0." + b"1" * 398 + b"]",
    ],
)  # fmt: skip
def test_what_is_strange_and_right_is_accepted(data: bytes) -> None:
    assert strict_json.parse(data) == json.loads(data)
    strict_json.parse(data)


def test_each_lone_surrogate_is_refused_and_each_pair_accepted() -> None:
    for unit in range(0xD800, 0xE000):
        assert place(f'["\\u{unit:04x}"]'.encode()) == ("bad-text", "/0", 2)
        assert place(f'["\\u{unit:04X}\\u0041"]'.encode()) == ("bad-text", "/0", 2)
    for unit in (0xD800, 0xDBFF):
        for second in (0x0000, 0x0041, 0xD800, 0xDBFF, 0xE000, 0xFFFF):
            assert place(f'["\\u{unit:04x}\\u{second:04x}"]'.encode()) == ("bad-text", "/0", 2)
    for second in range(0xDC00, 0xE000):
        text = f'"\\ud83d\\u{second:04x}"'
        assert strict_json.parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"b":', b"}]")])
def test_nesting_ends_at_the_limit(opening: bytes, closing: bytes) -> None:
    levels = MAX_DEPTH // (opening.count(b"[") + opening.count(b"{"))
    strict_json.parse(opening * levels + b"1" + closing * levels)
    error = refused(opening * levels + b"[]" + closing * levels)
    assert error.name == "too-deep"
    assert error.offset == len(opening) * levels
    assert refused(b"[[[1]]]", max_depth=2).pointer == "/0/0"
    strict_json.parse(b"[[1], {}]", max_depth=2)
    strict_json.parse(b"1", max_depth=0)


def test_many_siblings_are_not_deep() -> None:
    strict_json.parse(b"[" + b'{"a":[]},' * 5000 + b"1]")


def test_the_limit_of_bytes_is_kept() -> None:
    strict_json.parse(b'"' + b"a" * (MAX_BYTES - 2) + b'"')
    assert refused(b'"' + b"a" * (MAX_BYTES - 1) + b'"').name == "body-too-large"
    assert refused(b"[1, 2]", max_bytes=5).offset == 5


def test_a_pointer_does_not_echo_huge_keys() -> None:
    error = refused(b'{"a": {"' + b"k" * 5000 + b'": NaN}}')
    assert error.pointer == "/a"
    assert len(refused(b'{"' + b"k" * 5000 + b'": 1, "' + b"k" * 5000 + b'": 1}').detail) < 200


LARGE = MAX_BYTES - 100
ADVERSARIAL = {
    "opened arrays": b"[" * 100_000,
    "opened objects": b'{"a":' * 50_000,
    "many keys": b"{" + b",".join(b'"%d":0' % i for i in range(20_000)) + b"}",
    "many keys, the last twice": b"{" + b",".join(b'"%d":0' % i for i in range(20_000)) + b',"7":0}',
    "digits": b"9" * LARGE,
    "fraction": b"0." + b"9" * LARGE,
    "exponent": b"1e" + b"9" * LARGE,
    "exponent of zeros": b"1e" + b"0" * LARGE + b"1",
    "minus signs": b"-" * LARGE,
    "escapes": b'"' + b"\\n" * (LARGE // 2) + b'"',
    "escapes without an end": b'"' + b"\\u0000" * (LARGE // 6),
    "surrogates": b'"' + b"\\ud800" * (LARGE // 6) + b'"',
    "pairs, then a lone one": b'"' + b"\\ud83d\\ude00" * (LARGE // 12 - 1) + b'\\ud800"',
    "backslashes": b'"' + b"\\" * LARGE,
    "quotes": b'"' * LARGE,
    "white space": b" " * LARGE,
    "white space before an error": b"[" + b" " * LARGE + b"}",
    "small arrays": b"[" + b"[]," * (LARGE // 3 - 2) + b"[]]",
    "small arrays, then an error": b"[" + b"[]," * (LARGE // 3 - 2) + b"[}]",
    "single digits, then an error": b"[" + b"1," * (LARGE // 2 - 100) + b"]",
    "runs of digits just short": b"[" + b",".join([b"1" * 18] * (LARGE // 19)) + b"]",
    "words": b"a" * LARGE,
    "not UTF-8 at the end": b'"' + b"a" * LARGE + b"\xff" + b'"',
    "NUL": b"\0" * LARGE,
}


@pytest.mark.parametrize("text", [b'{"\\u": 1}', b'{"a\\x": 1}', b'["\\u00"]', b'"' + b"\\n" * 5000 + b'\\u"'])
def test_unfinished_escapes_are_refused_on_every_python(text: bytes) -> None:
    error = refused(text)
    assert error.name == "bad-json"
    assert "an unknown escape" in error.detail


@pytest.mark.parametrize("data", ADVERSARIAL.values(), ids=ADVERSARIAL.keys())
def test_no_text_takes_long_or_raises_anything_else(data: bytes) -> None:
    started_at = time.process_time()
    try:
        strict_json.parse(data)
    except StrictJsonError as error:
        assert len(error.pointer) <= 1000
        assert len(error.detail) < 300
    # Linear work takes up to 0.1 s here; quadratic work would take minutes.
    assert time.process_time() - started_at < 2.0


def test_numbers_that_overflow_are_judged_alike_at_the_border() -> None:
    for text in ("1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1.8e308", "17e307"):
        if math.isinf(float(text)):
            assert refused(text.encode()).name == "bad-number"
        else:
            assert strict_json.parse(text.encode()) == float(text)
