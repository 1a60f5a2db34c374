"""Words survive the files that carry them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.runtime.quoting import (
    environment_line,
    exec_line,
    fits_unit_environment,
    shell_word,
    unit_line,
    unit_word,
)

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", '""'),
        ("plain", '"plain"'),
        ("two words", '"two words"'),
        ('"', r'"\""'),
        ("\\", r'"\\"'),
        ("$HOME ${X} $$", '"$$HOME $${X} $$$$"'),
        ("100%h", '"100%%h"'),
        ("a\nb\tc\x1b", r'"a\nb\tc\x1b"'),
        ("ü", '"ü"'),
        (";", '";"'),
    ],
)
def test_a_word_of_a_command_line(text: str, word: str) -> None:
    assert unit_word(text) == word


def test_the_executable_keeps_its_dollar_and_its_own_name() -> None:
    assert exec_line("/bin/a$b", ["-sh", "$x"]) == '"@/bin/a$b" "-sh" "$$x"'


@pytest.mark.parametrize("text", [" /x", "/x ", "/x\ny", "/x\\"])
def test_a_path_that_systemd_can_not_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no way to write"):
        unit_line(text)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("A", "b", True),
        ("A_1", "two\nlines\t", True),
        ("a.b", "", False),
        ("a-b", "", False),
        ("1a", "", False),
        ("ä", "", False),
        ("A", "\x1b[0m", False),
    ],
)
def test_what_systemd_takes_as_a_variable(name: str, value: str, fits: bool) -> None:
    assert fits_unit_environment(name, value) is fits


def test_a_line_of_an_environment_file() -> None:
    assert environment_line("A", 'x "y" $z `w` \\') == r'A="x \"y\" \$z \`w\` \\"'


@settings(max_examples=50, deadline=None)
@given(TEXT)
def test_a_shell_reads_back_what_was_quoted(text: str) -> None:
    ran = subprocess.run(["/bin/sh", "-c", f"printf %s {shell_word(text)}"], capture_output=True, check=True)
    assert ran.stdout == text.encode()


def read_words(line: str) -> list[str]:
    """The words of ExecStart= as systemd reads them: quotes and escapes, then specifiers, then variables."""
    words: list[str] = []
    rest = iter(line)
    for char in rest:
        if char == " ":
            continue
        assert char == '"'
        word = ""
        while (char := next(rest)) != '"':
            if char == "\\":
                char = next(rest)
                known = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
                char = chr(int(next(rest) + next(rest), 16)) if char == "x" else known[char]
            word += char
        words.append(word)
    for number, word in enumerate(words):
        assert not word.replace("%%", "").count("%")
        word = word.replace("%%", "%")
        if number:
            assert not word.replace("$$", "").count("$")
            word = word.replace("$$", "$")
        words[number] = word
    return words


@settings(max_examples=200, deadline=None)
@given(TEXT.filter(bool), st.lists(TEXT, max_size=5))
def test_systemd_reads_back_what_was_quoted(path: str, argv: list[str]) -> None:
    assert read_words(exec_line(path, argv)) == ["@" + path, *argv]


def read_assignment(line: str) -> tuple[str, str]:
    """An assignment of an EnvironmentFile= as systemd reads it: a backslash escapes in quotes as in a shell."""
    name, _, rest = line.partition("=")
    assert rest[0] == rest[-1] == '"'
    value, chars = "", iter(rest[1:-1])
    for char in chars:
        assert char != '"'
        if char == "\\":
            char = next(chars)
            assert char in '"\\`$'
        value += char
    return name, value


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_an_environment_file_gives_back_what_was_put_in(value: str) -> None:
    assert read_assignment(environment_line("NAME", value)) == ("NAME", value)
