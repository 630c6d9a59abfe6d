"""Everybody who is new since the last run: joined a list, left it, bounced, wrote back. Each exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_sms_flow.core.delivery import check_campaign_key
from airflow_sms_flow.core.errors import ConfigError, InvalidInput
from airflow_sms_flow.core.facts import ChangeKind
from airflow_sms_flow.core.values import read_choice, read_flag, read_id
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.ledger.changes import Taken
    from airflow_sms_flow.new_people import NewPeople
    from airflow_sms_flow.references import AudienceRef


class NewPeopleOperator(SmsFlowOperator):
    """What `NewSubscribersOperator` and its like have in common; not used by itself.

    Returns the reference of a prepared audience, with a funnel; the XCom key `rejected` holds the others,
    each with a `reason`: `duplicate` (an older change of the same number in this run), and `left_again` or
    `joined_again` (the opposite happened since). Columns: `id`, the Marketo lead where Vibes knows it, else a
    negative number; `phone`; `at` (UTC), when it happened at Vibes; `why`, in Vibes' own words.

    A *cursor* says how far somebody has read. Each run takes what lies behind it, and takes the very same
    again when it is retried or cleared: no change goes to two runs, none is passed by.

    :param cursor: its name. Default: DAG and task. Tasks that share one share the people between them.
    :param look_back: how far the first run of a new cursor looks back, dry or not, so that a new DAG does not
        greet those who joined last year.
    :param vibes_conn_id: a connection of the type Vibes.
    :param dry_run: look without moving the cursor, hand an empty audience on, and count everybody as
        `dry_run`; the next run that is not dry finds them, however much later. When the first dry run was,
        a note under `[sms_flow] storage` says, in `.cursors`.
    :param on_backfill: "skip" (default) takes nobody in a backfill: "new" has no meaning in the past.
    """

    template_fields: Sequence[str] = ("cursor", "vibes_conn_id", "dry_run", "on_backfill")
    ui_color = "#fef3c7"

    kind: ClassVar[ChangeKind]

    def __init__(
        self,
        *,
        cursor: str | None = None,
        look_back: timedelta = timedelta(days=1),
        vibes_conn_id: str = "vibes_default",
        dry_run: bool | str = False,
        on_backfill: str = "skip",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cursor = cursor
        self.look_back = look_back
        self.vibes_conn_id = vibes_conn_id
        # Airflow has a method of this name, which only renders templates; the parameter's name is agreed.
        self.dry_run = dry_run  # type: ignore[assignment, method-assign]  # see above
        self.on_backfill = on_backfill
        self._check_literals()

    def scope_id(self) -> str:
        """Which list, or which source code."""
        raise NotImplementedError

    def run(self, context: Context) -> AudienceRef:
        """Take, write both files, push."""
        self._check_literals(rendered=True)
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.new_people import NewPeople
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines

        refuse_local_parts_on_other_machines()
        company_key = VibesHook(self.vibes_conn_id).company_key
        with closing(open_ledger()) as ledger:
            ledger.hear_all()
            taken = self._take(context, ledger, company_key)
            people = NewPeople.read(ledger, taken) if taken else NewPeople.nobody(self.kind)
        return self._push(context, people)

    def _take(self, context: Context, ledger: Ledger, company_key: str) -> Taken | None:
        """Which part of the tape is ours; None: of a backfill nothing is."""
        if context["dag_run"].run_type == "backfill" and self.on_backfill == "skip":
            self.log.info("This is a backfill and on_backfill is 'skip': nobody is taken")
            return None
        ti = context["ti"]
        index = f"[{ti.map_index}]" if ti.map_index is not None and ti.map_index >= 0 else ""
        name = self.cursor or f"{ti.dag_id}/{ti.task_id}{index}"
        check_campaign_key(name, field="cursor")  # also the usual one: ids may be long
        of: dict[str, Any] = {"company_key": company_key, "kind": self.kind, "scope_id": self.scope_id()}
        is_dry = read_flag("dry_run", self.dry_run)
        of["first_since"] = self._first_run_at(ledger, is_dry, [*of.values(), name]) - self.look_back
        if is_dry:
            return ledger.untaken(name, **of)
        return ledger.take_changes(name, f"{ti.dag_id}/{ti.task_id}{index}/{ti.run_id}", **of)

    def _first_run_at(self, ledger: Ledger, is_dry: bool, cursor: Sequence[str]) -> datetime:
        """When the first run of a new cursor was. A dry one leaves this note and no row in the ledger, so
        that whom it shows does not fall out of `look_back` before the first run that is not dry."""
        from airflow_sms_flow.settings import storage_root
        from airflow_sms_flow.storage import cursor_note, read_note, write_note

        note = cursor_note(storage_root(), *cursor)
        written, now = read_note(note), ledger.now()
        if written is None:
            if is_dry:
                write_note(note, now.isoformat())
            return now
        try:
            return datetime.fromisoformat(written).astimezone(UTC)
        except ValueError:
            raise ConfigError(
                f"{note} holds no time, where the first dry run had written one: write it there again "
                "(2026-03-02T12:00:00+00:00), or delete the file to begin with the present"
            ) from None

    def _push(self, context: Context, people: NewPeople) -> AudienceRef:
        from airflow_sms_flow.references import reference
        from airflow_sms_flow.storage import PREPARED_KEY, write_parquet

        if read_flag("dry_run", self.dry_run):
            people = people.all_rejected("dry_run")
        audience, rejected = (f"{self.folder(context)}/{name}.parquet" for name in ("audience", "rejected"))
        write_parquet(audience, [people.kept], metadata={PREPARED_KEY: people.rules_json()})
        write_parquet(rejected, [people.rejected])
        funnel = people.funnel()
        for name, count in funnel.items():
            self.log.info("%-14s%12s", name, f"{count:,}")
        context["ti"].xcom_push(key="rejected", value=reference(rejected, people.rejected.num_rows))
        return reference(audience, people.kept.num_rows, funnel)

    def _check_literals(self, *, rendered: bool = False) -> None:
        if self.cursor is not None and (rendered or is_literal(self.cursor)):
            check_campaign_key(self.cursor, field="cursor")
        if rendered or is_literal(self.on_backfill):
            read_choice("on_backfill", self.on_backfill, ("skip", "take"))
        if rendered or is_literal(self.dry_run):
            read_flag("dry_run", self.dry_run)
        if not isinstance(self.look_back, timedelta) or self.look_back < timedelta():
            raise InvalidInput("look_back", self.look_back, "a time such as timedelta(days=1)")


class _OfAList(NewPeopleOperator):
    template_fields: Sequence[str] = ("list_id", *NewPeopleOperator.template_fields)

    def __init__(self, *, list_id: str, **kwargs: Any) -> None:
        self.list_id = list_id
        super().__init__(**kwargs)

    def scope_id(self) -> str:
        """The list."""
        return read_id("list_id", self.list_id, "the id of a Vibes subscription list, as its page shows it")

    def _check_literals(self, *, rendered: bool = False) -> None:
        super()._check_literals(rendered=rendered)
        if rendered or is_literal(self.list_id):
            self.scope_id()


class NewSubscribersOperator(_OfAList):
    """Everybody who joined a Vibes list since the last run and is on it still; see `NewPeopleOperator`.

    Marketo's trigger "Subscribes to Vibes List". What an extract finds counts too, but not the first one of
    a list, which only says who was there before.

    :param list_id: the Vibes subscription list.
    """

    kind = ChangeKind.SUBSCRIBED


class NewUnsubscribersOperator(_OfAList):
    """Everybody who left a Vibes list since the last run and has not come back; see `NewPeopleOperator`.

    :param list_id: the Vibes subscription list.
    """

    kind = ChangeKind.UNSUBSCRIBED


class NewBouncesOperator(_OfAList):
    """Everybody whom a text of ours did not reach, by list; see `NewPeopleOperator`. Marketo's trigger "SMS
    Message Bounces".

    :param list_id: the Vibes subscription list that the text went to.
    """

    kind = ChangeKind.BOUNCED


class NewRepliesOperator(NewPeopleOperator):
    """Everybody who wrote something that Vibes had no use for; see `NewPeopleOperator`. The words stay in the
    ledger, as the callback brought them.

    :param source_code: the short code that they wrote to.
    """

    template_fields: Sequence[str] = ("source_code", *NewPeopleOperator.template_fields)
    kind = ChangeKind.REPLIED

    def __init__(self, *, source_code: str, **kwargs: Any) -> None:
        self.source_code = source_code
        super().__init__(**kwargs)

    def scope_id(self) -> str:
        """The code."""
        return read_id("source_code", self.source_code, "a short code of yours, such as 52623")

    def _check_literals(self, *, rendered: bool = False) -> None:
        super()._check_literals(rendered=rendered)
        if rendered or is_literal(self.source_code):
            self.scope_id()
