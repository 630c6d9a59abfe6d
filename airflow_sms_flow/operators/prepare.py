"""Prepare Audience: one row per phone number that may be texted, and a reason for everybody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.conditions import read_conditions
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.rules import AudienceRules, NumberFile
from airflow_sms_flow.core.values import read_limit, read_shards, read_share
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.references import AudienceRef

_RULES = (
    "phone_fields",
    "default_region",
    "country_field",
    "suppress",
    "suppress_scope",
    "keep",
    "where",
    "allow_list",
    "deny_list",
    "holdout",
    "holdout_name",
    "max_recipients",
)


class PrepareAudienceOperator(SmsFlowOperator):
    """Write `audience.parquet` and `rejected.parquet`; returns the audience's reference, with the funnel.

    With `shards` it writes as many audience files and returns the list of their references, for the next
    task to be mapped over: `SendSmsMessageOperator.partial(...).expand(audience=prepare.output)`. The funnel
    of all is the XCom key `funnel` then. A number's shard hangs on the number alone.

    The XCom key `rejected` holds the reference of those who are not texted, each with a `reason`:
    `filtered`, `suppressed`, `no_phone`, `invalid_phone`, `suppressed_number`, `denied`, `not_allowed`,
    `duplicate` or `holdout`, tried in this order.
    `phone` is the E.164 number in both files; a column `phone` of Marketo's own is `phone_raw` there.

    :param audience: the extraction's output, the reference that it pushed, or the path of a Parquet file; or
        a list of these, which are prepared as one.
    :param phone_fields: columns with the number, the first *valid* one counts.
    :param default_region: where a number without country code belongs, if the lead's country does not tell.
    :param country_field: the column with the lead's country as free text; None: there is none.
    :param suppress: columns in which a "yes" keeps a lead out; each must be there.
    :param suppress_scope: "number" keeps a suppressed lead's numbers out for everybody, "lead" does not.
    :param keep: who wins among leads with one number: "lowest_id", "newest_updated", or a column, in which
        the highest value wins.
    :param where: conditions that a lead must all meet: `[("country", "in", ["US", "CA"]), ("score", ">=",
        50)]`, or the same as JSON. Operators: =, !=, <, <=, >, >=, in, not in, contains, is missing, is not
        missing. A missing value meets none but "is missing". A column of text is ordered against a number
        only where all its cells are numbers.
    :param allow_list: a file of phone numbers; nobody else is texted. One number a line, or a CSV or Parquet
        file with one column or a column `phone`; another one is named so: `{"path": ..., "column": ...}`.
        Numbers without a country code belong to `default_region`. A task's output will do, too.
    :param deny_list: such a file of numbers that are never texted. An entry that is no valid number in
        `default_region` is an error: it might be somebody's in another country. Only one with + and nothing
        but one number that nobody can have is passed over, with a warning.
        Either list must be there once it is named: an empty Param or a task without output is an error, and
        so is a file in which nothing is a number. One without any entry is an empty list.
    :param holdout: the share of the audience to keep back for comparison, such as 0.1. Always the same leads.
    :param holdout_name: campaigns with one name hold out the same leads, other names others.
    :param max_recipients: where more people than these would be left, the task fails and hands nothing on.
    :param shards: from 1 to 100; 1 is a list, too.

    An empty audience is a success. A missing column or an impossible rule fails the task without retries.
    """

    template_fields: Sequence[str] = ("audience", *_RULES, "shards")
    ui_color = "#dcfce7"

    def __init__(
        self,
        *,
        audience: Any,
        phone_fields: Sequence[str] | str = ("mobilePhone",),
        default_region: str = "US",
        country_field: str | None = "country",
        suppress: Sequence[str] | str = ("blackListed", "marketingSuspended"),
        suppress_scope: str = "number",
        keep: str = "lowest_id",
        where: Sequence[Sequence[Any]] | str | None = None,
        allow_list: Any = None,
        deny_list: Any = None,
        holdout: float | str = 0.0,
        holdout_name: str = "",
        max_recipients: int | str | None = None,
        shards: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.audience = audience
        self.phone_fields = phone_fields
        self.default_region = default_region
        self.country_field = country_field
        self.suppress = suppress
        self.suppress_scope = suppress_scope
        self.keep = keep
        self.where = where
        self.allow_list = allow_list
        self.deny_list = deny_list
        self.holdout = holdout
        self.holdout_name = holdout_name
        self.max_recipients = max_recipients
        self.shards = shards
        self._lists_named = [rule for rule in ("allow_list", "deny_list") if getattr(self, rule) is not None]
        # What is rendered later is checked then.
        if is_literal(shards):
            read_shards("shards", shards)
        self._rules(lambda name: is_literal(getattr(self, name)))

    def run(self, context: Context) -> AudienceRef | list[AudienceRef]:
        """Read, decide, write all files, push."""
        rules, shards = self._rules(), read_shards("shards", self.shards)
        for rule in self._lists_named:
            if getattr(self, rule) is None:  # a task that pushed nothing, or an empty Param
                raise InvalidInput(rule, None, "names a list that is not there, so nobody is texted")
        from airflow_sms_flow.operators._handing_on import hand_on
        from airflow_sms_flow.preparation import prepare_files
        from airflow_sms_flow.references import resolve_paths
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines
        from airflow_sms_flow.sources.number_files import read_lists

        refuse_local_parts_on_other_machines()
        paths = resolve_paths(self.audience)
        lists = read_lists(rules)
        prepared = prepare_files(paths, rules, lists, self.folder(context), shards=shards or 1)
        return hand_on(context, prepared, rules, shards)

    def _rules(self, known: Callable[[str], bool] = lambda name: True) -> AudienceRules:
        """The rules that are known, checked."""
        given = {
            name: _READ.get(name, _as_it_is)(name, getattr(self, name)) for name in _RULES if known(name)
        }
        return AudienceRules(**given)


def _as_it_is(rule: str, value: Any) -> Any:
    return value


def _text(rule: str, value: Any) -> Any:
    return "" if value in (None, "None") else value


def _names(rule: str, value: Any) -> Any:
    """Columns as a tuple: a list, or one text with commas between, as a form gives it."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value) if isinstance(value, list) else value


def _held_back(rule: str, value: Any) -> Any:
    """Such columns, at least one where they come as a text: who left the field empty meant no such thing."""
    names = _names(rule, value)
    if isinstance(value, str) and not names:
        remedy = "names no column, so nobody would be held back; name some (in the DAG file () means nobody)"
        raise InvalidInput(rule, value, remedy)
    return names


def _number_file(rule: str, value: Any) -> NumberFile | None:
    """A path, a reference that a task pushed, or a mapping that names the column, too."""
    column = None
    if isinstance(value, Mapping):
        value, column = value.get("path"), value.get("column")
    elif value is None:
        return None
    # An empty text is no "no list": who left the field empty might have meant a list that keeps people out.
    named = isinstance(value, str) and value.strip() not in ("", "None")
    if not named or not isinstance(column, str | None):
        remedy = (
            'give the path of a file of numbers, or {"path": ..., "column": ...}; for no list leave it out'
        )
        raise InvalidInput(rule, type(value).__name__, remedy)
    return NumberFile(value.strip(), column or None)


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "phone_fields": _names,
    "suppress": _held_back,
    "where": lambda rule, value: read_conditions(value),
    "allow_list": _number_file,
    "deny_list": _number_file,
    "holdout": read_share,
    "holdout_name": _text,
    "max_recipients": read_limit,
}
