# Copyright (c) 2026, virtops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""JMESPath over records: predicates that choose domains, and projections of results. The only file that imports jmespath."""

from __future__ import annotations

import functools
import re
import sys
import typing as t

from .._agent import untrusted
from .._errors import InvalidInput

#: AST nodes whose first child alone is looked up where the node itself is; the others see what the first one found.
_FIRST_CHILD_ONLY: t.Final = frozenset(
    {
        "subexpression",
        "index_expression",
        "projection",
        "value_projection",
        "filter_projection",
        "flatten",
        "pipe",
    }
)


@functools.cache
def _with_match() -> t.Any:
    """JMESPath's functions, and ours: ``match(text, regex)`` says whether the text begins with what the expression describes, as
    Ansible's test of that name does. A text that a guest did not give matches nothing.
    """
    import jmespath.functions

    class Functions(jmespath.functions.Functions):  # type: ignore[misc]
        @jmespath.functions.signature({"types": ["string", "null"]}, {"types": ["string"]})  # type: ignore[untyped-decorator]
        def _func_match(self, text: str | None, pattern: str) -> bool:
            return text is not None and re.match(pattern, text) is not None

    return jmespath.Options(custom_functions=Functions())


#: Of domains in one sentence, and what an expression's own words of a trouble may take: these have the guest's.
_NAMED_MAX: t.Final = 5
_TROUBLE_MAX: t.Final = 200


class Expression:
    """A compiled JMESPath expression, named by the option that it came from."""

    def __init__(self, text: str, option: str) -> None:
        """
        :raise InvalidInput: the text is no JMESPath expression, or jmespath is not installed here.
        """
        try:
            import jmespath.exceptions  # here, for most inventories have no expression
        except ImportError:
            raise InvalidInput(
                f"{option} needs jmespath, which the Python that runs this ({sys.executable}) does not have",
                hint="install jmespath for it (Debian, Fedora: python3-jmespath, or pip install jmespath)",
            ) from None
        self._option = option
        self.text = text
        self._failure: type[Exception] = jmespath.exceptions.JMESPathError
        self._of_the_data: tuple[type[Exception], ...] = (jmespath.exceptions.JMESPathTypeError, re.error)
        try:
            self._compiled = jmespath.compile(text)
        except self._failure as error:
            raise InvalidInput(f"{option}: {text!r} is not a JMESPath expression: {_one_line(error)}") from error
        for pattern in _patterns(self._compiled.parsed):
            try:
                re.compile(pattern)
            except re.error as error:
                raise InvalidInput(f"{option}: {pattern!r} is not a regular expression: {_one_line(error)}") from error

    def search(self, data: t.Any) -> t.Any:
        """
        :raise InvalidInput: the expression cannot be applied to this data.
        """
        try:
            return self._compiled.search(data, _with_match())
        except (self._failure, re.error) as error:
            raise InvalidInput(f"{self._option}: {self.text!r} cannot be applied: {_one_line(error)}") from error

    def is_of_the_data(self, error: InvalidInput) -> bool:
        """Whether ``search`` has failed by what it was given, and would not by other data."""
        return isinstance(error.__cause__, self._of_the_data)

    def matches(self, data: t.Any) -> bool:
        """JMESPath's truth: null, false and what is empty do not match."""
        value = self.search(data)
        return bool(value) or (isinstance(value, (int, float)) and value is not False)

    def roots(self) -> set[str]:
        """The top-level keys that the expression looks at; ``@`` where it looks at the whole."""
        return _roots(self._compiled.parsed)


def _roots(node: dict[str, t.Any]) -> set[str]:
    kind, children = node["type"], node["children"]
    if kind == "field":
        return {node["value"]}
    if kind in ("current", "identity"):
        return {"@"}
    if kind == "expref":
        return set()
    seen = children[:1] if kind in _FIRST_CHILD_ONLY else children
    found: set[str] = set()
    for child in seen:
        if isinstance(child, dict):
            found |= _roots(child)
    return found


def _patterns(node: dict[str, t.Any]) -> t.Iterator[str]:
    """The regular expressions that stand in it as they are."""
    children = [child for child in node["children"] if isinstance(child, dict)]
    is_match = node["type"] == "function_expression" and node["value"] == "match" and len(children) == 2
    if is_match and isinstance(pattern := children[1].get("value"), str) and children[1]["type"] == "literal":
        yield pattern
    for child in children:
        yield from _patterns(child)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class Selection:
    """``include`` and ``exclude``: a record is in when an include matches it (or there is none) and no exclude does."""

    def __init__(self, include: t.Sequence[str], exclude: t.Sequence[str], strict: bool = True) -> None:
        """:param strict: whether one that cannot be applied to what a guest has said is an error. If not, it does not match."""
        self._strict = strict
        #: expression -> what is wrong, and the domains where
        self._troubles: dict[str, tuple[str, list[str]]] = {}
        self._include = [Expression(text, "include") for text in include]
        self._exclude = [Expression(text, "exclude") for text in exclude]
        self._early_include = self._include if all(map(_is_early, self._include)) else []
        self._early_exclude = [expression for expression in self._exclude if _is_early(expression)]

    def before_agent(self, record: t.Any) -> bool:
        """What a record with nothing but ``libvirt`` in it decides already."""
        return self._selected(record, self._early_include, self._early_exclude)

    def after_agent(self, record: t.Any) -> bool:
        return self._selected(record, self._include, self._exclude)

    def troubles(self) -> list[str]:
        """A sentence for each expression that could not be applied to what some guests have said."""
        said = []
        for trouble, names in self._troubles.values():
            more = len(names) - _NAMED_MAX
            where = ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
            said.append(f"{trouble}; it does not match {where}")
        return said

    def _selected(self, record: t.Any, include: t.Sequence[Expression], exclude: t.Sequence[Expression]) -> bool:
        try:
            included = not include or any(self._matches(expression, record) for expression in include)
            return included and not any(self._matches(expression, record) for expression in exclude)
        except InvalidInput:
            if _has_xml(record):
                raise
            return True  # what is not known now leaves no domain out

    def _matches(self, expression: Expression, record: t.Any) -> bool:
        try:
            return expression.matches(record)
        except InvalidInput as error:
            if self._strict or _is_early(expression) or not _has_xml(record) or not expression.is_of_the_data(error):
                raise
            trouble = untrusted.clean(error.detail, _TROUBLE_MAX)
            self._troubles.setdefault(expression.text, (trouble, []))[1].append(record["libvirt"]["name"])
            return False


def _is_early(expression: Expression) -> bool:
    return expression.roots() <= {"libvirt"}


def _has_xml(record: t.Any) -> bool:
    return not isinstance(record, dict) or record.get("libvirt", {}).get("vcpus", 0) is not None
