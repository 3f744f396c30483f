# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicates and projections, and which of them need the agent."""

from __future__ import annotations

import sys
import typing as t

import pytest

from ansible_collections.virtops.guest_agent.plugins.module_utils._errors import InvalidInput
from ansible_collections.virtops.guest_agent.plugins.module_utils._records.query import Expression, Selection

ROOTS = [
    ("libvirt.name", {"libvirt"}),
    ("libvirt.name == 'web'", {"libvirt"}),
    ("starts_with(libvirt.name, 'web-')", {"libvirt"}),
    ("libvirt.vcpus > `2` && libvirt.memory_mib > `512`", {"libvirt"}),
    ("libvirt.name == hostname", {"libvirt", "hostname"}),
    ("!hostname || os.id == 'debian'", {"hostname", "os"}),
    ("interfaces[?mac=='x'].name", {"interfaces"}),
    ("interfaces[?mac==libvirt.name] | [0].hostname", {"interfaces"}),
    ("interfaces[0].ip_addresses[]", {"interfaces"}),
    ("libvirt.metadata.*.owner", {"libvirt"}),
    ("*", {"@"}),
    ("@", {"@"}),
    ("@.hostname", {"@"}),
    ("length(@)", {"@"}),
    ("keys(@)", {"@"}),
    ("[libvirt.name, hostname]", {"libvirt", "hostname"}),
    ("{a: libvirt.name, b: os.id}", {"libvirt", "os"}),
    ("sort_by(users, &user_name)[0]", {"users"}),
    ("libvirt | name", {"libvirt"}),
    ("contains(libvirt.name, 'a') || contains(keys(@), 'os')", {"libvirt", "@"}),
    ("`true`", set()),
    ("'text'", set()),
    ("match(libvirt.name, '^web')", {"libvirt"}),
    ("match(os.id || libvirt.name, '^web')", {"libvirt", "os"}),
]


@pytest.mark.parametrize(("text", "roots"), ROOTS)
def test_what_an_expression_looks_at(text: str, roots: set[str]) -> None:
    assert Expression(text, "include").roots() == roots


RECORD = {"libvirt": {"name": "web", "vcpus": 2}, "hostname": "h", "users_total": 0, "empty": {}}


@pytest.mark.parametrize(("text", "roots"), ROOTS)
def test_it_looks_at_nothing_else(text: str, roots: set[str]) -> None:
    """An expression's value does not depend on what is not among its roots."""
    if "@" in roots:
        return
    expression = Expression(text, "include")
    whole = {"libvirt": {"name": "a"}, "hostname": "b", "os": {"id": "x"}, "interfaces": [], "users": []}
    assert expression.search(whole) == expression.search({key: whole[key] for key in roots})


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("libvirt.name == 'web'", True),
        ("libvirt.name == 'db'", False),
        ("libvirt.name", True),
        ("missing", False),
        ("empty", False),
        ("`[]`", False),
        ("''", False),
        ("users_total", True),  # JMESPath: zero is true
        ("`0.0`", True),
        ("`false`", False),
        ("libvirt.vcpus > `1`", True),
        ("users[0]", False),
        ("match(libvirt.name, 'w.b$')", True),
        ("match(libvirt.name, 'we')", True),
        ("match(libvirt.name, 'eb')", False),
        ("match(libvirt.name, '.*b$')", True),
        ("match(libvirt.name, '(?i)WEB$')", True),
        ("match(os.pretty_name, '.*')", False),
        ("match(hostname, libvirt.name)", False),
        ("match('web1', libvirt.name)", True),
        ("!match(libvirt.name, 'db')", True),
    ],
)
def test_truth_is_jmespaths(text: str, matches: bool) -> None:
    assert Expression(text, "include").matches(RECORD) is matches


@pytest.mark.parametrize("text", ["match(libvirt.name, '(')", "hostname && !match(libvirt.name, '[')"])
def test_a_bad_pattern_is_found_before_anything_is_asked(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"include: '[(\[]' is not a regular expression: "):
        Expression(text, "include")


def test_a_pattern_of_the_record_may_be_none() -> None:
    with pytest.raises(InvalidInput, match="cannot be applied"):
        Expression("match(hostname, libvirt.name)", "include").matches({"libvirt": {"name": "("}, "hostname": "h"})


@pytest.mark.parametrize("text", ["match(libvirt.vcpus, 'a')", "match(hostname)", "match(hostname, `1`)"])
def test_match_takes_texts(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be applied"):
        Expression(text, "include").matches(RECORD)


@pytest.mark.parametrize("text", ["", "a b", "foo(", "[", "a ==", "unknown(a", "'"])
def test_bad_expressions_say_where_they_stand(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"include: ") as caught:
        Expression(text, "include")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["starts_with(libvirt.vcpus, 'a')", "nonsense(libvirt)", "abs('a')"])
def test_an_expression_that_cannot_be_applied(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"query: .*cannot be applied") as caught:
        Expression(text, "query").search(RECORD)
    assert "\n" not in str(caught.value)


def test_without_jmespath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jmespath", None)
    with pytest.raises(InvalidInput, match="include needs jmespath"):
        Expression("a", "include")


EARLY: dict[str, t.Any] = {"libvirt": {"name": "web"}}
LATE: dict[str, t.Any] = {**EARLY, "hostname": "h"}
SELECTIONS = [
    # include, exclude, before the agent is asked, after
    ([], [], True, True),
    (["libvirt.name=='web'"], [], True, True),
    (["libvirt.name=='db'"], [], False, False),
    (["libvirt.name=='db'", "hostname=='h'"], [], True, True),  # the second needs the agent: decided late
    (["libvirt.name=='db'", "hostname=='x'"], [], True, False),
    (["hostname=='h'"], [], True, True),
    (["@"], [], True, True),
    ([], ["libvirt.name=='web'"], False, False),
    ([], ["hostname=='h'"], True, False),
    ([], ["hostname=='x'", "libvirt.name=='web'"], False, False),
    (["libvirt.name=='web'"], ["libvirt.name=='web'"], False, False),
    ([], ["!hostname"], True, True),
]


@pytest.mark.parametrize(("include", "exclude", "before", "after"), SELECTIONS)
def test_selection(include: list, exclude: list, before: bool, after: bool) -> None:
    selection = Selection(include, exclude)
    assert selection.before_agent(EARLY) is before
    assert selection.after_agent(LATE) is after


SILENT: dict[str, t.Any] = {"libvirt": {**EARLY["libvirt"], "name": "db"}}


@pytest.mark.parametrize(
    ("include", "exclude", "selected", "troubled"),
    [
        ([], ["starts_with(hostname, 'h')"], [False, True], ["db"]),
        (["starts_with(hostname, 'h')"], [], [True, False], ["db"]),
        (["starts_with(hostname, 'h')", "libvirt.name=='db'"], [], [True, True], ["db"]),
        ([], ["sum(filesystems[].used_bytes) > `1`"], [True, True], ["web, db"]),
        ([], ["hostname=='h'"], [False, True], []),
    ],
)
def test_what_a_guest_does_not_say_costs_no_other_guest(include: list, exclude: list, selected: list, troubled: list) -> None:
    selection = Selection(include, exclude, strict=False)
    assert [selection.after_agent(record) for record in (LATE, SILENT)] == selected
    assert [trouble.rpartition("; it does not match ")[2] for trouble in selection.troubles()] == troubled
    assert all("cannot be applied" in trouble and len(trouble) < 300 for trouble in selection.troubles())
    if troubled:
        with pytest.raises(InvalidInput, match="cannot be applied"):
            Selection(include, exclude).after_agent(SILENT)


@pytest.mark.parametrize("text", ["abs(libvirt.name)", "nonsense(hostname)", "match(hostname)"])
def test_what_no_guest_can_help_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be applied"):
        Selection([], [text], strict=False).after_agent(LATE)


def test_a_sentence_names_few_domains() -> None:
    selection = Selection([], ["abs(hostname)"], strict=False)
    assert all(selection.after_agent({**LATE, "libvirt": {"name": f"d{n}"}}) for n in range(7))
    (trouble,) = selection.troubles()
    assert trouble.endswith("it does not match d0, d1, d2, d3, d4 and 2 more")
