# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse

import pytest

from tests.updater.running import Caflip, run_process
from updater.arguments import TAKES_VALUE, boolean, find_verb, log_level
from updater.commands import TREE_VERBS, VERBS


def test_every_option_that_takes_a_value_is_known_where_the_verb_is_looked_for() -> None:
    with_value = {
        flag
        for verb in VERBS
        for action in verb.parser("caflip")._actions
        for flag in action.option_strings
        if action.nargs != 0
    }
    assert with_value == TAKES_VALUE


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("make a b", "make"),
        ("--store x make a b", "make"),
        ("--store=x -v make a b", "make"),
        ("-l debug --json extract", "extract"),
        ("-- gc x", "gc"),
        ("- make", "-"),
    ],
)
def test_the_verb_is_the_first_that_is_neither_option_nor_value(line: str, verb: str) -> None:
    words = line.split()
    place = find_verb(words)
    assert place is not None
    assert words[place] == verb


@pytest.mark.parametrize("line", ["", "--store make", "-v", "--"])
def test_a_line_without_verb_has_none(line: str) -> None:
    assert find_verb(line.split()) is None


@pytest.mark.parametrize(("columns", "most"), [("60", 58), ("", 78), ("none", 78)])
def test_help_is_as_wide_as_the_terminal(columns: str, most: int) -> None:
    # Nothing of this process is a terminal: without $COLUMNS it is 80.
    lines = run_process("gc", "--help", more={"COLUMNS": columns}).text.splitlines()
    options = lines[lines.index("common options:") :]
    assert most - 10 < max(map(len, options)) <= most


@pytest.mark.parametrize("text", ["1", "yes", "y", "true", "t", "on", "YES"])
def test_casyncs_words_for_yes(text: str) -> None:
    assert boolean(text) is True


@pytest.mark.parametrize("text", ["0", "no", "n", "false", "f", "off"])
def test_casyncs_words_for_no(text: str) -> None:
    assert boolean(text) is False


def test_any_other_word_is_no_boolean() -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        boolean("maybe")


@pytest.mark.parametrize(
    ("text", "level"), [("emerg", 0), ("err", 3), ("warn", 4), ("warning", 4), ("7", 7)]
)
def test_log_levels_are_those_of_syslog(text: str, level: int) -> None:
    assert log_level(text) == level


@pytest.mark.parametrize("text", ["8", "-1", "loud", ""])
def test_any_other_word_is_no_log_level(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        log_level(text)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "frobnicate",
        "extract --bogus x.caibx y",
        "extract --reflink=perhaps x.caibx y",
        "make --chunk-size=bad x.caibx y",
        "make --digest=md5 x.caibx y",
        "make --compression=lz4 x.caibx y",
        "extract --seed=x@1Z+3 x.caibx y",
        "extract --rate-limit-bps=0 x.caibx y",
        "extract x.img y",
        "make x.img y",
        "make http://host/x.caibx y",
        "extract x.caibx http://host/y",
        "extract --what=blob x.caibx y",
        "extract --json x.caibx -",
        "extract --offset=1 x.caibx -",
        "make --json - y",
        "verify x.caibx",
        "verify x.caibx y z",
        "cache x.caibx",
        "digest",
        "digest http://host/x.img",
        "gc",
        "serve --listen=nowhere",
        "serve --listen=1:99999",
    ],
)
def test_a_line_that_makes_no_sense_is_a_usage_error(line: str, caflip: Caflip) -> None:
    done = caflip(*line.split())
    assert done.status == 64
    assert done.err.startswith("caflip: ")


@pytest.mark.parametrize("verb", TREE_VERBS)
def test_casyncs_verbs_for_trees_are_refused_by_name(verb: str, caflip: Caflip) -> None:
    done = caflip(verb, "x")
    assert done.status == 64
    assert f"{verb} is for directory trees" in done.err


@pytest.mark.parametrize(
    "line",
    [
        "make x.caidx .",
        "make x.catar .",
        "extract x.caidx y",
        "extract http://host/x.catar?token=1 y",
        "digest .",
        "digest x.catar",
        "digest --what=directory x",
        "make x.caibx .",
        "make --with=best x.caibx y",
        "extract --delete no x.caibx y",
    ],
)
def test_trees_are_refused_as_such(line: str, caflip: Caflip) -> None:
    done = caflip(*line.split())
    assert done.status == 64
    assert "tree" in done.err


def test_a_usage_error_is_json_too(caflip: Caflip) -> None:
    done = caflip("extract", "--json", "--bogus")
    assert done.last["event"] == "error"
    assert done.last["code"] == "usage"
    assert done.last["exit_status"] == 64


@pytest.mark.parametrize("line", ["--help", "-h", "help"])
def test_help_lists_the_verbs_and_the_exit_statuses(line: str, caflip: Caflip) -> None:
    done = caflip(line)
    assert done.status == 0
    assert all(verb.name in done.text for verb in VERBS)
    assert "75  try again later" in done.text


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_has_help_and_json(verb: str, caflip: Caflip) -> None:
    done = caflip(*verb.split(), "--help")
    assert done.status == 0
    assert done.text.startswith(f"usage: caflip {verb} ")
    assert "--json" in done.text
