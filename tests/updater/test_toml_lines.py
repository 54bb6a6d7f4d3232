# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from updater.toml_lines import KeyPath, Lines

TEXT = '''\
# a comment with [brackets] and "quotes
top = 1

[table] # [not.this]
plain = "a # and ]"
'quoted key' = 2
dotted.inner = 3
literal = 'C:\\[path'
many = [
  "first", # ]
  { key = 1 },
]
inline = { deep = { deeper = 1 }, other = 2 }
long = """
[no.table]
key = 5 \\""" still
"""
after = 6
raw = \'\'\'
[[no.array]]\'\'\'

[[slot]]
name = "a"
[slot.sub]
x = 1
[[slot]]
name = "b"
[slot.sub]
x = 2
[ spaced . "out" ]
y = 1979-05-27T07:32:00Z
z.'w' = [[1,
  2]]
'''


def lines_of(text: str) -> Lines:
    return Lines.of(text, tomllib.loads(text.replace("\r\n", "\n")))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("table",), 4),
        (("table", "plain"), 5),
        (("table", "quoted key"), 6),
        (("table", "dotted"), 7),
        (("table", "dotted", "inner"), 7),
        (("table", "literal"), 8),
        (("table", "many"), 9),
        (("table", "inline", "deep", "deeper"), 13),
        (("table", "long"), 14),
        (("table", "after"), 18),
        (("slot", 0), 22),
        (("slot", 0, "name"), 23),
        (("slot", 0, "sub", "x"), 25),
        (("slot", 1), 26),
        (("slot", 1, "name"), 27),
        (("slot", 1, "sub", "x"), 29),
        (("spaced", "out", "y"), 31),
        (("spaced", "out", "z", "w"), 32),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_key_has_its_line(path: KeyPath, line: int, end: str) -> None:
    assert lines_of(TEXT.replace("\n", end)).find(path) == line


def test_a_key_inside_a_value_of_several_lines_has_none() -> None:
    lines = lines_of(TEXT)
    assert lines.find(("table", "many", 1, "key")) is None
    assert lines.find(("spaced", "out", "z", "w", 0)) is None


def test_what_is_nowhere_has_the_line_of_its_table_or_none() -> None:
    lines = lines_of(TEXT)
    assert lines.find(("table", "nothing")) == 4
    assert lines.find(("nothing",)) is None
    assert lines.find(()) is None


def test_where_scan_and_parser_differ_no_line_is_told() -> None:
    lines = Lines.of("a = 1\nb = 2\n", {"a": 1})
    assert lines.find(("a",)) is None
    assert Lines.of("= what\n", {}).numbers == {}
    assert Lines.of('a = "', {}).numbers == {}


_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,5}", fullmatch=True)
_VALUES = st.sampled_from(
    [
        *("1", "true", '"text # [x]"', "'[literal'", "[]", "[1, 2]"),
        *("{ x = 1 }", '"""\nkey = 1\n[t]\n"""', "[\n  1, # ]\n  2,\n]", "'''\n[[s]]'''"),
    ]
)


@given(
    st.lists(
        st.tuples(_NAMES, st.dictionaries(_NAMES, _VALUES, max_size=4), st.booleans()), max_size=5
    )
)
def test_every_key_of_any_document_has_the_line_that_it_was_written_on(
    tables: list[tuple[str, dict[str, str], bool]],
) -> None:
    text, expected = "# head\n\n", {}
    arrays: dict[str, int] = {}
    plain: set[str] = set()
    for name, pairs, array in tables:
        path: KeyPath = (name,)
        if array and name not in plain:
            arrays[name] = arrays.get(name, -1) + 1
            path = (name, arrays[name])
            text += f"[[{name}]]  # x\n"
        elif name not in plain and name not in arrays:
            plain.add(name)
            text += f"[{name}]\n"
        else:
            continue
        expected[path] = text.count("\n")
        for key, value in pairs.items():
            expected[(*path, key)] = text.count("\n") + 1
            text += f"{key} = {value}\n"
    lines = lines_of(text)
    assert {path: lines.find(path) for path in expected} == expected
