"""A text with Marketo's tokens: parsed once, checked against the columns, rendered per person.

Rendering is one pass. What stands in a person's data, or in a `my` token, is printed and never read as a
token; and what Vibes' own template language could take for a tag is written with round brackets, over the
whole text, so that braces which only meet by concatenation do not open one, either.

Only the standard library is imported here: a DAG file has `SmsMessage` at its top.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.segments import Segments, count_segments

__all__ = [
    "MAX_CHARACTERS",
    "BoundMessage",
    "Rendered",
    "Segments",
    "SmsMessage",
    "Token",
    "Unsendable",
    "count_segments",
]

#: Marketo's cap. Longer texts would be cut off at send: we refuse them instead (facts E.4).
MAX_CHARACTERS = 900

#: Marketo's display names of usual fields and their REST names, for files that bring no names of their own.
STANDARD_NAMES: Mapping[str, str] = {
    "Id": "id",
    "Person Id": "id",
    "Salutation": "salutation",
    "First Name": "firstName",
    "Middle Name": "middleName",
    "Last Name": "lastName",
    "Job Title": "title",
    "Email Address": "email",
    "Mobile Phone Number": "mobilePhone",
    "Phone Number": "phone",
    "Company Name": "company",
    "Industry": "industry",
    "Website": "website",
    "Address": "address",
    "City": "city",
    "State": "state",
    "Postal Code": "postalCode",
    "Country": "country",
    "Date of Birth": "dateOfBirth",
    "Person Time Zone": "personTimeZone",
    "Created At": "createdAt",
    "Updated At": "updatedAt",
}

_PERSON_FAMILIES = ("lead", "company")
_DEFAULT = re.compile(r"\s*:\s*default\s*=", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Unsendable(StrEnum):
    """Why a person's text cannot be sent."""

    TOO_LONG = "too_long"  #: more than 900 characters after rendering
    EMPTY_TEXT = "empty_text"  #: nothing but white space after rendering


@dataclass(frozen=True, slots=True)
class Token:
    """`{{family.name:default=...}}`; `default` is None where none was given."""

    family: str
    name: str
    default: str | None = None

    def __str__(self) -> str:
        return f"{{{{{self.family}.{self.name}}}}}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """One person's text, ready to send."""

    text: str
    segments: Segments


@dataclass(frozen=True, repr=False)
class SmsMessage:
    """The text of a message, with Marketo's tokens in it.

    `{{lead.First Name:default=there}}` and `{{company.Company Name}}` take a person's field by display or
    REST name, `{{my.offer}}` a value from `my`. A field without value prints its default, or nothing. Case
    and outer spaces of names do not count. Raises `InvalidInput` at once, so at DAG parse, for a text that is
    empty, longer than 900 characters without its tokens, or holds a token that is unclosed, of another
    family, or a `my` token without value. Liquid and Jinja are not read here.
    """

    text: str
    my: Mapping[str, str] = field(default_factory=dict, hash=False)
    _parts: tuple[str | Token, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise InvalidInput("message", self.text, "write the text of the message")
        object.__setattr__(self, "my", _checked_my(self.my))
        object.__setattr__(self, "_parts", tuple(_parse(self.text)))
        for token in self.tokens:
            if token.family == "my" and token.default is None and _find(token.name, self.my) is None:
                remedy = f"give it a value: SmsMessage(text, my={{{token.name!r}: ...}})"
                raise InvalidInput("message", str(token), remedy)
        length = sum(len(part) for part in self._parts if isinstance(part, str))
        if length > MAX_CHARACTERS:
            raise InvalidInput(
                "message", f"{length} characters", f"shorten it to {MAX_CHARACTERS} characters"
            )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], my: Mapping[str, str] | None = None) -> SmsMessage:
        """Read a UTF-8 file; blank lines at its end are no part of the text."""
        try:
            text = Path(path).read_text(encoding="utf-8-sig").rstrip()
        except (OSError, UnicodeError) as error:
            remedy = f"cannot be read as UTF-8 text ({type(error).__name__}); give the path of a .sms file"
            raise InvalidInput("message", os.fspath(path), remedy) from None
        if not text:
            raise InvalidInput("message", os.fspath(path), "the file is empty; write the text of the message")
        return cls(text, my or {})

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens in the order of the text."""
        return tuple(part for part in self._parts if isinstance(part, Token))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over text and `my`, the same in every process."""
        stable = json.dumps([self.text, sorted(self.my.items())])
        return hashlib.sha256(stable.encode("ascii")).hexdigest()

    def bind(self, columns: Iterable[str], display_names: Mapping[str, str] | None = None) -> BoundMessage:
        """Find the column behind every token.

        `display_names` maps Marketo's display names to columns; it wins over the columns' own names, and
        these over the usual names. Raises `InvalidInput` that lists the unknown tokens and what there is.
        """
        names = list(columns)
        found: list[str | _Field] = []
        unknown: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                found.append(part)
            elif part.family == "my":
                found.append(_find(part.name, self.my) or part.default or "")
            elif (column := _column(part.name, names, display_names or {})) is None:
                unknown.append(_describe_unknown(part, names, display_names or {}))
            else:
                found.append(_Field(column, part.default or ""))
        if unknown:
            remedy = (
                f"no such extracted column; add the field to the extraction, or use one of {sorted(names)}"
            )
            raise InvalidInput("message", ", ".join(unknown), remedy)
        return BoundMessage(tuple(found), self.fingerprint)

    def __repr__(self) -> str:
        """Short and without the text: Airflow shows and stores this."""
        return f"SmsMessage({len(self.text)} characters, {len(self.tokens)} tokens, {self.fingerprint[:12]})"


@dataclass(frozen=True, slots=True)
class _Field:
    column: str
    default: str


@dataclass(frozen=True, slots=True, repr=False)
class BoundMessage:
    """A message whose tokens all have a column. Made by `SmsMessage.bind`."""

    _parts: tuple[str | _Field, ...]
    fingerprint: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that rendering reads, each once."""
        return tuple(dict.fromkeys(part.column for part in self._parts if isinstance(part, _Field)))

    def render(self, record: Mapping[str, object]) -> Rendered | Unsendable:
        """One person's text, or why there is none. `record` holds at least `columns`."""
        pieces = [
            part if isinstance(part, str) else _as_text(record[part.column]) or part.default
            for part in self._parts
        ]
        text = neutralise("".join(pieces))
        if not text.strip():
            return Unsendable.EMPTY_TEXT
        if len(text) > MAX_CHARACTERS:
            return Unsendable.TOO_LONG
        return Rendered(text, count_segments(text))


def neutralise(text: str) -> str:
    """Leave nothing that Liquid could read as a tag: `{{name}}` becomes `((name))`, `{% if %}` `(% if %)`.

    Single braces stay. Control characters other than tab and line ends go. Doing it twice changes nothing.
    """
    text = _CONTROL.sub("", text)
    text = re.sub(r"\{{2,}", lambda run: "(" * len(run[0]), text)
    text = re.sub(r"\}{2,}", lambda run: ")" * len(run[0]), text)
    return text.replace("{%", "(%").replace("%}", "%)")


def _checked_my(my: Mapping[str, object]) -> dict[str, str]:
    checked = {}
    for name, value in my.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidInput(f"my[{name!r}]", type(value).__name__, "give the value as text")
        checked[str(name)] = str(value)
    return checked


def _parse(text: str) -> Iterable[str | Token]:
    if "{%" in text:
        raise InvalidInput(
            "message", "{%", "Liquid and Jinja are not read here; use Marketo's {{lead.Field}}"
        )
    start = 0
    while (opening := text.find("{{", start)) >= 0:
        closing = text.find("}}", opening)
        inside = text[opening + 2 : closing]
        if closing < 0 or "{" in inside:
            shown = text[opening : opening + 30]
            raise InvalidInput("message", shown, "close the token with }} before anything else is opened")
        yield text[start:opening]
        yield _parse_token(inside)
        start = closing + 2
    yield text[start:]


def _parse_token(inside: str) -> Token:
    name, *default = _DEFAULT.split(inside, maxsplit=1)
    family, dot, name = (part.strip() for part in name.partition("."))
    if family.casefold() not in (*_PERSON_FAMILIES, "my") or not dot or not name:
        remedy = "use {{lead.Field}}, {{company.Field}} or {{my.name}}; other tokens are not known here"
        raise InvalidInput("message", f"{{{{{inside}}}}}", remedy)
    return Token(family.casefold(), name, default[0] if default else None)


def _find(name: str, mapping: Mapping[str, str]) -> str | None:
    """The value under a name, exactly or else whatever its case and outer spaces."""
    if name in mapping:
        return mapping[name]
    alike = {value for key, value in mapping.items() if key.strip().casefold() == name.casefold()}
    if len(alike) > 1:
        raise InvalidInput(
            "message", name, "several names differ from this one only in case; write it exactly"
        )
    return alike.pop() if alike else None


def _column(name: str, columns: Iterable[str], display_names: Mapping[str, str]) -> str | None:
    own = {column: column for column in columns}
    for names in (display_names, own, STANDARD_NAMES):
        # The first that knows the name decides: another field that happens to be called alike is no stand-in.
        if (column := _find(name, names)) is not None:
            return own.get(column)
    return None


def _describe_unknown(token: Token, columns: list[str], display_names: Mapping[str, str]) -> str:
    known = {**STANDARD_NAMES, **display_names}
    if (rest_name := _find(token.name, known)) is not None:
        return f"{token} (field {rest_name!r})"
    near = get_close_matches(token.name, [*columns, *known], n=1)
    return f"{token} (did you mean {near[0]!r}?)" if near else str(token)


def _as_text(value: object) -> str:
    """How a cell prints: missing or blank as nothing, whole numbers without ".0", booleans as Marketo's."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if type(value).__name__ in ("bool", "bool_"):  # Python's and NumPy's
        return str(value).lower()
    text = str(value)
    return text if text.strip() else ""
