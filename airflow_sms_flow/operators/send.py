"""Send SMS Message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_sms_flow.core.delivery import StepName
from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.message import SmsMessage
from airflow_sms_flow.core.values import read_choice, read_id
from airflow_sms_flow.operators._base import is_literal
from airflow_sms_flow.operators._flow_step import FlowStepOperator, ids_and_phones

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.core.delivery import Campaign
    from airflow_sms_flow.core.message import BoundMessage
    from airflow_sms_flow.courier import Plan
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.steps.membership import Membership
    from airflow_sms_flow.steps.send import SendStep
    from airflow_sms_flow.steps.step import Recipient, Step

_MARKETO_TOKEN = re.compile(r"\{\{\s*(lead|company|my)\.", re.IGNORECASE)
_MEMBERSHIPS = ("lookup", "extract", "mirror", "campaign")
#: Above this many people the log says how long looking each of them up will take.
_MANY_LOOKUPS = 50_000
_ONE_OF = "give an SmsMessage, the name of a .sms file, a text, or the event_type of a campaign that stands"


class SendSmsMessageOperator(FlowStepOperator):
    """Text the people of the audience who are on the Vibes list now. Never starts a subscription.

    Returns the step report, and in it as `delivery` what is known by then of the texts under this key: most
    carriers tell later, and `SmsDeliverySensor` waits for them. Further XCom key: `results` (`id, phone,
    state, reason, event_id, at`).

    :param message: an `SmsMessage`, the name of a `.sms` file beside the DAG, or a text. Only a text is run
        through Jinja; Marketo's tokens want one of the other two, or a Param that holds them.
    :param event_type: of an event-triggered campaign that stands in Vibes and has exactly this list as its
        subscription filter. With `message`, the text travels to it as `ev.message_body`.
    :param membership: how to know that somebody is on the list now. "lookup": each person is looked up
        within the minute before their event, at 100 people a second. The others send 300 a second.
        "extract": who stands in the vendor's daily file (see `extract`) and is not known to have left since.
        "mirror": the ledger's own copy of the list, kept by callbacks and corrected by
        `SyncSubscribersOperator`. "campaign": the subscription filter of the verified campaign decides alone;
        who is not on the list is then known only to Vibes. That filter stands behind the others, too.
    :param extract: for `membership="extract"`: a Current Subscriber Extract, or the folder that Vibes
        delivers them to, of which the newest counts; any path or address that ObjectStoragePath understands.
    :param membership_max_age: how old the extract, or the last correction of the mirror, may be.
    :param on_in_doubt: "hold" never repeats a send whose answer was lost; "resend" does, with the same
        event id.
    :param repeat_within: in a run started by hand without a `campaign_key`, a number that got this very text
        on this list so recently is skipped; None turns that off.
    """

    template_fields: Sequence[str] = (
        *FlowStepOperator.template_fields,
        "message",
        "event_type",
        "membership",
        "extract",
        "on_in_doubt",
    )
    step_name: ClassVar[StepName] = StepName.SEND

    def __init__(
        self,
        *,
        message: SmsMessage | str | None = None,
        event_type: str | None = None,
        membership: str = "lookup",
        extract: str | None = None,
        membership_max_age: timedelta = timedelta(hours=36),
        on_in_doubt: str = "hold",
        repeat_within: timedelta | None = timedelta(hours=24),
        **kwargs: Any,
    ) -> None:
        self.message = message
        self.event_type = event_type
        self.membership = membership
        self.extract = extract
        self.membership_max_age = membership_max_age
        self.on_in_doubt = on_in_doubt
        self.repeat_within = repeat_within
        self._columns: tuple[str, ...] = ()
        super().__init__(**kwargs)

    def make_step(self, client: VibesClient, path: str, ledger: Ledger | None) -> Step:
        """Bind the message to the audience's columns; make or verify the campaign that carries it."""
        from airflow_sms_flow.steps import event_campaign
        from airflow_sms_flow.steps.send import SendStep

        list_id = self._list_id()
        message = self._bound_message(path)
        client.get_subscription_list(list_id)
        if self.event_type is not None:
            event_type = self.event_type
            event_campaign.verify(client, event_type, list_id, None)
        else:
            event_type = self._our_event_type(client, list_id, ledger)
        membership = self._membership(client, path, ledger)
        return SendStep(client, membership, event_type, message, self.on_in_doubt)

    def columns(self) -> list[str]:
        """Those that the message's tokens name, too."""
        return list(dict.fromkeys(["id", "phone", *self._columns]))

    def _membership(self, client: VibesClient, path: str, ledger: Ledger | None) -> Membership:
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.steps import membership, membership_sources

        list_id, max_age = self._list_id(), self.membership_max_age
        hook = VibesHook(self.vibes_conn_id)
        match self.membership:
            case "extract":
                source = str(self.extract)
                return membership_sources.from_extract(source, hook.company_key, list_id, max_age, ledger)
            case "mirror":
                with nullcontext(ledger) if ledger is not None else closing(open_ledger()) as asked:
                    return membership_sources.from_mirror(hook.company_key, list_id, max_age, asked)
            case "campaign":
                return membership.TrustCampaign()
            case _:
                self._tell_how_long_lookups_take(path, hook.calls_per_second)
                return membership.LookUp(client, list_id)

    def _tell_how_long_lookups_take(self, path: str, calls_a_second: int) -> None:
        from airflow_sms_flow.storage import row_count

        if (people := row_count(path)) > _MANY_LOOKUPS:
            self.log.warning(
                "Looking up %s people at %s a second takes %.0f minutes at least. "
                "membership='extract', 'mirror' and 'campaign' need no call per person",
                f"{people:,}",
                calls_a_second,
                people / calls_a_second / 60,
            )

    def _our_event_type(self, client: VibesClient, list_id: str, ledger: Ledger | None) -> str:
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.steps import event_campaign

        hook = VibesHook(self.vibes_conn_id)
        source_code = hook.source_code or ""
        if ledger is None:
            event_campaign.verify_or_could_create(client, list_id, source_code)
            return event_campaign.our_event_type(list_id)
        ours = event_campaign.OurCampaign(
            client, ledger, hook.company_key, list_id, source_code, self.is_stopped
        )
        return ours.ensure()

    def recipients(self, batch: pa.RecordBatch) -> list[Recipient]:
        """With the columns that the message's tokens name."""
        from airflow_sms_flow.steps.step import Recipient

        wanted = [name for name in self._columns if name in batch.schema.names]
        records = batch.select(wanted).to_pylist() if wanted else [{}] * batch.num_rows
        people = zip(ids_and_phones(batch), records, strict=True)
        return [Recipient(lead_id, phone, record) for (lead_id, phone), record in people]

    def fingerprint(self, step: Step) -> str:
        """Of the message, or of the author's campaign."""
        send = cast("SendStep", step)
        return send.message.fingerprint if send.message is not None else f"event_type:{send.event_type}"[:64]

    def plan(self, context: Context, campaign: Campaign, step: Step) -> Plan:
        """A press of Trigger makes a new logical date, and so a new key: `repeat_within` is for that."""
        from dataclasses import replace

        plan = super().plan(context, campaign, step)
        by_hand = context["dag_run"].run_type == "manual" and self.campaign_key is None
        return replace(plan, repeat_within=self.repeat_within) if by_hand else plan

    def _bound_message(self, path: str) -> BoundMessage | None:
        from airflow_sms_flow.storage import display_names, read_metadata, read_schema

        if self.message is None:
            return None
        message = self.message if isinstance(self.message, SmsMessage) else SmsMessage(self._text())
        bound = message.bind(read_schema(path).names, display_names(read_metadata(path)))
        self._columns = bound.columns
        return bound

    def _text(self) -> str:
        """The text itself, or that of the `.sms` file it names, found where Airflow finds templates."""
        text = str(self.message).strip()
        if not text.endswith(".sms") or len(text.split()) > 1:
            return text
        from jinja2 import TemplateNotFound

        environment = self.get_template_env()
        try:
            if environment.loader is None:
                raise TemplateNotFound(text)
            return environment.loader.get_source(environment, text)[0].strip()
        except TemplateNotFound:
            raise InvalidInput(
                "message", text, "no such file beside the DAG or in its template_searchpath"
            ) from None

    def _check_literals(self, *, rendered: bool = False) -> None:
        super()._check_literals(rendered=rendered)
        if self.message is None and self.event_type is None:
            raise InvalidInput("message", None, _ONE_OF)
        if isinstance(self.message, str):
            self._check_text(self.message, rendered=rendered)
        for field, choices in (("membership", _MEMBERSHIPS), ("on_in_doubt", ("hold", "resend"))):
            if rendered or is_literal(getattr(self, field)):
                read_choice(field, getattr(self, field), choices)
        if self.membership == "extract" and (rendered or is_literal(self.extract)):
            read_id("extract", self.extract, "membership='extract' needs the file, or the folder it lies in")
        if not isinstance(self.membership_max_age, timedelta) or self.membership_max_age <= timedelta():
            remedy = "a time such as timedelta(hours=36): how old the list may be"
            raise InvalidInput("membership_max_age", self.membership_max_age, remedy)

    def _check_text(self, text: str, *, rendered: bool) -> None:
        if not text.strip():
            raise InvalidInput("message", text, _ONE_OF)
        if not rendered and _MARKETO_TOKEN.search(text):
            raise InvalidInput(
                "message",
                text[:60],
                "a plain text is run through Jinja, which does not know Marketo's tokens: wrap it as "
                "SmsMessage(...), or put it into a .sms file",
            )
