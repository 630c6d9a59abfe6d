"""The rules of a preparation, and the funnel that accounts for everybody. Light: a DAG file may import it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from airflow_sms_flow.core.conditions import Condition
from airflow_sms_flow.core.errors import BugError, InvalidInput
from airflow_sms_flow.core.values import read_limit, read_share

#: Why a lead is no part of the audience, in the order in which the reasons are tried.
#:
#: `filtered` comes first, so that all others speak of the people who were meant; a suppressed lead's numbers
#: stay suppressed although that lead is filtered. `holdout` comes last: it is about those who would have got
#: the text, and about a number as a whole, so that nobody who is held out gets it through a second lead.
REASONS = (
    "filtered",
    "suppressed",
    "no_phone",
    "invalid_phone",
    "suppressed_number",
    "denied",
    "not_allowed",
    "duplicate",
    "holdout",
)

LOWEST_ID, NEWEST_UPDATED = "lowest_id", "newest_updated"
#: Marketo's date of the last change, which `keep="newest_updated"` compares.
UPDATED_AT = "updatedAt"
#: The only column that may be missing although a rule names it: it is a default, and not everybody has it.
DEFAULT_COUNTRY_FIELD = "country"


@dataclass(frozen=True, slots=True)
class NumberFile:
    """A file of phone numbers: one a line, or a column of a CSV or Parquet file.

    `column` may be None where the file has one column only, or one called `phone`.
    """

    path: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class AudienceRules:
    """How leads become an audience. Column names are those of the extracted file.

    `phone_fields`: where the number may stand; the first *valid* one is the lead's phone.
    `default_region`: ISO-2 region of numbers without country code, where the lead's country does not tell.
    `country_field`: the column with the lead's country as free text, or None. The default, "country", may be
    missing from the file; any other name must be there.
    `suppress`: columns in which a "yes" keeps a lead out. Each must be there.
    `suppress_scope`: "number" keeps a suppressed lead's numbers out for everybody who shares one of them;
    "lead" keeps out the lead alone, as Marketo itself does.
    `keep`: who wins among leads with one number: "lowest_id", "newest_updated" (the latest `updatedAt`), or
    any column, where the *highest* value wins (numbers before text, a missing value last). Ties: lowest id.
    `where`: conditions that a lead must all meet.
    `allow_list`, `deny_list`: files of numbers; only those of the first, none of the second.
    `holdout`: the share of the audience, from 0 to less than 1, that is kept back for comparison, chosen by a
    hash of `holdout_name` and the lowest id among all leads with the number, whichever of them is kept.
    `max_recipients`: more than these are a mistake, so that there is no audience at all.

    Raises `InvalidInput` for what can never work. Whether `default_region` exists is checked here, too.
    """

    phone_fields: tuple[str, ...] = ("mobilePhone",)
    default_region: str = "US"
    country_field: str | None = DEFAULT_COUNTRY_FIELD
    suppress: tuple[str, ...] = ("blackListed", "marketingSuspended")
    suppress_scope: str = "number"
    keep: str = LOWEST_ID
    where: tuple[Condition, ...] = ()
    allow_list: NumberFile | None = None
    deny_list: NumberFile | None = None
    holdout: float = 0.0
    holdout_name: str = ""
    max_recipients: int | None = None

    def __post_init__(self) -> None:
        _check_names("phone_fields", self.phone_fields)
        _check_names("suppress", self.suppress)
        if not self.phone_fields:
            raise InvalidInput("phone_fields", (), 'name at least one column, such as "mobilePhone"')
        if self.default_region != "US":
            # The library is loaded at DAG parse only by those who need its opinion.
            from airflow_sms_flow.core.phone import check_region

            check_region("default_region", self.default_region)
        if self.country_field is not None:
            _check_name("country_field", self.country_field)
        if self.suppress_scope not in ("number", "lead"):
            raise InvalidInput("suppress_scope", self.suppress_scope, 'give "number" or "lead"')
        _check_name("keep", self.keep)
        read_share("holdout", self.holdout)
        if not isinstance(self.holdout_name, str):
            raise InvalidInput("holdout_name", self.holdout_name, "give a name as text, or leave it out")
        read_limit("max_recipients", self.max_recipients)

    def check_size(self, funnel: Funnel) -> None:
        """Raise `InvalidInput` where more people are left than allowed; nothing may be handed on then."""
        if self.max_recipients is not None and funnel.kept > self.max_recipients:
            remedy = (
                f"the audience has {funnel.kept:,} people (of {funnel.extracted:,} extracted) and you "
                f"allowed {self.max_recipients:,}, so nobody is texted; look at the list and its filters, or "
                "allow more"
            )
            raise InvalidInput("max_recipients", self.max_recipients, remedy)

    @property
    def keep_column(self) -> str | None:
        """The column that decides between leads with one number, None where the id alone does."""
        return {LOWEST_ID: None, NEWEST_UPDATED: UPDATED_AT}.get(self.keep, self.keep)

    def to_json(self) -> str:
        """The rules as they stand in a prepared file's metadata."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> AudienceRules:
        """The way back from `to_json`."""
        told = {name: _tuple(value) for name, value in json.loads(text).items()}
        told["where"] = tuple(
            Condition(**{name: _tuple(value) for name, value in one.items()}) for one in told["where"]
        )
        for name in ("allow_list", "deny_list"):
            told[name] = NumberFile(**told[name]) if told[name] is not None else None
        return cls(**told)


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many came in, how many are kept, and how many were rejected for which reason.

    Always adds up: extracted = kept + the sum of `rejected`; anything else is a `BugError`.
    """

    extracted: int
    kept: int
    rejected: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = {reason: int(self.rejected.get(reason, 0)) for reason in REASONS}
        unknown = sorted(set(self.rejected) - set(REASONS))
        object.__setattr__(self, "rejected", whole)
        if unknown or min(self.kept, *whole.values()) < 0:
            raise BugError(f"a funnel with unknown reasons {unknown} or negative counts: {self.to_dict()}")
        self.check()

    def check(self) -> None:
        """Raise `BugError` unless everybody is accounted for."""
        if self.extracted != self.kept + sum(self.rejected.values()):
            raise BugError(
                f"the funnel does not add up, so somebody was lost: {self.to_dict()}. Please report it"
            )

    def to_dict(self) -> dict[str, int]:
        """Flat and JSON-ready: {"extracted": n, "kept": n, "suppressed": n, ...}, every reason named."""
        return {"extracted": self.extracted, "kept": self.kept, **self.rejected}

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> Funnel:
        """The way back from `to_dict`."""
        known = {one.name for one in fields(cls)}
        rejected = {reason: int(count) for reason, count in counts.items() if reason not in known}
        return cls(int(counts["extracted"]), int(counts["kept"]), rejected)

    def __str__(self) -> str:
        """A few aligned lines for a log."""
        lines = {
            "extracted": self.extracted,
            **{f"- {k}": v for k, v in self.rejected.items()},
            "kept": self.kept,
        }
        return "\n".join(f"{name:<20}{count:>12,}" for name, count in lines.items())


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_names(rule: str, names: object) -> None:
    if not isinstance(names, tuple):
        raise InvalidInput(rule, names, "give the names of columns as a tuple or list")
    for name in names:
        _check_name(rule, name)
    if len(set(names)) < len(names):
        raise InvalidInput(rule, names, "name each column once")


def _check_name(rule: str, name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(rule, name, "give the name of a column as text")
