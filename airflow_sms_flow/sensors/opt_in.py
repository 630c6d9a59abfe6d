"""Wait for opt-ins: until everybody whom Vibes asked has confirmed, declined or let the time pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.opt_in import OptIn, OptInState, confirmations_needed, read_min_confirmed
from airflow_sms_flow.core.values import read_flag, read_id
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal
from airflow_sms_flow.operators._errors import translated_errors

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.hooks.vibes import VibesHook
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.triggers._opt_in_watch import OptInWatch

#: A day for the answers, and two hours in which Vibes or Airflow may be out of reach.
_TIMEOUT = timedelta(hours=26)
_BATCH = 10_000


class VibesOptInSensor(SmsFlowOperator, BaseSensorOperator):
    """Wait until each person of a pending audience has confirmed, declined, or not answered in time.

    Returns `{"rows", "confirmed", "declined", "expired", "pending"}`, in people. XCom keys: the audiences
    `confirmed`, `declined`, `expired`, and `pending` (those still open where `min_confirmed` ended the wait
    early). They keep the columns of the audience that Subscribe was given.

    - confirmed: seen on the list.
    - declined: two polls at least 30 seconds apart, within the confirm window, found the person neither
      pending nor on the list.
    - expired: a poll later than a minute after `expire_date` did not find them on the list. For whom Vibes
      named no `expire_date`, that is 24 hours after the sensor's first look.

    What was decided stands in the ledger: a retried or cleared task goes on with the others. Who could not be
    looked up, for a passing reason, stays open until they can be. An empty audience succeeds at once.

    The worker is free while the sensor waits. It needs a triggerer with access to the connection, the files
    and the ledger. `timeout` counts from the start of the try, over all deferrals: past it the task fails
    without retries, or is skipped with `soft_fail`.

    :param audience: what Subscribe pushed, `subscribe.output["pending"]`, or the path of such a file.
    :param list_id: the Vibes subscription list.
    :param acquisition_campaign_id: the acquisition campaign that asked.
    :param min_confirmed: end as soon as so many have confirmed: a number of people (1 or more), or a share of
        the audience (above 0, up to 1.0). None: wait for everybody.
    :param deferrable: False polls in the worker, in the `mode` that sensors have.
    :param vibes_conn_id: a connection of the type Vibes.
    :param poke_interval: seconds, or a timedelta, between two polls of everybody who is still open. Default:
        `[sms_flow] opt_in_poll_seconds` (60).
    :param timeout: seconds or a timedelta; 26 hours unless given.
    """

    template_fields: Sequence[str] = (
        "audience",
        "list_id",
        "acquisition_campaign_id",
        "min_confirmed",
        "vibes_conn_id",
    )
    ui_color = "#fef9c3"

    # Made in the task itself: an event cannot be copied, and Airflow copies operators.
    _stop: threading.Event | None = None
    _campaign_checked = False

    def __init__(
        self,
        *,
        audience: Any,
        list_id: str,
        acquisition_campaign_id: str,
        min_confirmed: int | float | str | None = None,
        deferrable: bool = True,
        vibes_conn_id: str = "vibes_default",
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = _TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poke_interval=60 if poke_interval is None else poke_interval, timeout=timeout, **kwargs
        )
        self._polls_as_configured = poke_interval is None
        self.audience = audience
        self.list_id = list_id
        self.acquisition_campaign_id = acquisition_campaign_id
        self.min_confirmed = min_confirmed
        self.deferrable = read_flag("deferrable", deferrable)
        self.vibes_conn_id = vibes_conn_id
        self._check_parameters()

    # -- what Airflow calls ----------------------------------------------------------------------------------

    def run(self, context: Context) -> Any:
        """The first look, and everything that wrong input can be told by; called by `execute`."""
        self._check_parameters(rendered=True)
        if not self.deferrable:
            return BaseSensorOperator.execute(self, context)
        return self._look_or_wait(context, self.now() + timedelta(seconds=self.timeout))

    def resume(self, context: Context, event: Any = None) -> dict[str, int]:
        """Look again, since the trigger found it worthwhile."""
        with translated_errors():
            self._check_parameters(rendered=True)
            # It may have ended meanwhile; those whom it asked may answer still.
            self._campaign_checked = True
            return self._look_or_wait(context, _read_deadline(event))

    def poke(self, context: Context) -> PokeReturnValue:
        """One poll in the worker, for `deferrable=False`."""
        with translated_errors():
            counts = self._look(context)
        return PokeReturnValue(counts is not None, counts)

    def on_kill(self) -> None:
        """No further request leaves."""
        if self._stop is not None:
            self._stop.set()

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime.now(UTC)

    # -- looking and waiting ---------------------------------------------------------------------------------

    def _look_or_wait(self, context: Context, deadline: datetime) -> dict[str, int]:
        counts = self._look(context)
        if counts is None:
            self._wait(deadline)
        return counts

    def _wait(self, deadline: datetime) -> NoReturn:
        """Give the worker free until the trigger fires."""
        remaining = deadline - self.now()
        if remaining <= timedelta(0):
            self._time_out()
        from airflow_sms_flow.settings import opt_in_poll_seconds
        from airflow_sms_flow.storage import resolve_path, row_count
        from airflow_sms_flow.triggers.opt_in import VibesOptInTrigger

        path = resolve_path(self.audience)
        trigger = VibesOptInTrigger(
            audience_path=path,
            list_id=self._list_id(),
            acquisition_campaign_id=self._acquisition_campaign_id(),
            vibes_conn_id=self.vibes_conn_id,
            poll_interval_seconds=opt_in_poll_seconds() if self._polls_as_configured else self.poke_interval,
            deadline=deadline.isoformat(),
            needed=confirmations_needed(read_min_confirmed(self.min_confirmed), row_count(path)),
        )
        # Airflow counts this from now on anew, and does not apply the sensor's own timeout to a deferral.
        self.defer(trigger=trigger, method_name="resume", timeout=remaining)

    def _look(self, context: Context) -> dict[str, int] | None:
        """Poll everybody who is undecided; the counts where that ends the wait, else None."""
        from airflow_sms_flow.hooks.ledger import open_ledger
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines
        from airflow_sms_flow.storage import check_prepared, resolve_path
        from airflow_sms_flow.triggers._opt_in_watch import OptInWatch, Question, check_pending_columns

        refuse_local_parts_on_other_machines()
        path = resolve_path(self.audience)
        check_pending_columns(path)
        rows = check_prepared(path).rows
        if not rows:
            self.log.info("The audience is empty: nobody was asked, so there is nothing to wait for")
            return self._finish(context, {}, path)
        hook = VibesHook(self.vibes_conn_id)
        question = Question(hook.company_key, self._list_id(), self._acquisition_campaign_id())
        with closing(open_ledger()) as ledger:
            watch = OptInWatch.load(ledger, question, path, self.now())
            if watch.undecided():
                self._poll(watch, hook, ledger)
        counts = watch.counts()
        needed = confirmations_needed(read_min_confirmed(self.min_confirmed), rows)
        if counts["pending"] and (needed is None or counts["confirmed"] < needed):
            return None
        return self._finish(context, watch.seen, path)

    def _poll(self, watch: OptInWatch, hook: VibesHook, ledger: Ledger) -> None:
        from airflow_sms_flow.triggers._opt_in_watch import POLL_OPTIONS

        halt = self._stop = threading.Event()
        question = watch.question

        def store(changed: Mapping[str, OptIn]) -> None:
            ledger.store_opt_ins(
                question.company_key, question.acquisition_campaign_id, question.list_id, changed
            )

        with hook.sharing_client(ledger, stop=halt.is_set, **POLL_OPTIONS) as client:
            if not self._campaign_checked:
                check_campaign(client, question.list_id, question.acquisition_campaign_id)
                self._campaign_checked = True
            left = watch.poll(client, now=self.now, halt=halt, store=store)
        told = ", ".join(f"{state} {n:,}" for state, n in watch.counts().items())
        self.log.info("%s%s", told, f" ({left:,} could not be looked up this time)" if left else "")

    def _time_out(self) -> NoReturn:
        from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException

        text = f"Not everybody has confirmed, declined or expired within {timedelta(seconds=self.timeout)}"
        if self.soft_fail or self.never_fail:
            raise AirflowSkipException(f"{text}: skipped, as soft_fail or never_fail asks")
        raise AirflowSensorTimeout(text)

    # -- what is pushed --------------------------------------------------------------------------------------

    def _finish(self, context: Context, seen: Mapping[str, OptIn], path: str) -> dict[str, int]:
        """Write an audience for each state and push their references."""
        from airflow_sms_flow.storage import read_metadata, read_schema, reference, write_parquet

        metadata, schema = read_metadata(path), read_schema(path).remove_metadata()
        decided = schema.remove(schema.get_field_index("expire_date"))
        counts: dict[str, int] = {}
        for state in (OptInState.CONFIRMED, OptInState.DECLINED, OptInState.EXPIRED, OptInState.PENDING):
            file = f"{self.folder(context)}/{state.value}.parquet"
            rows = write_parquet(
                file,
                _people(path, seen, state),
                schema=schema if state is OptInState.PENDING else decided,
                metadata=metadata,
            )
            context["ti"].xcom_push(key=state.value, value=reference(file, rows))
            counts[state.value] = rows
        self.log.info("The wait is over: %s", ", ".join(f"{name} {n:,}" for name, n in counts.items()))
        return {"rows": sum(counts.values()), **counts}

    # -- parameters ------------------------------------------------------------------------------------------

    def _list_id(self) -> str:
        remedy = "the id of a Vibes subscription list, as its page in Vibes shows it"
        return read_id("list_id", self.list_id, remedy)

    def _acquisition_campaign_id(self) -> str:
        remedy = "the id of the acquisition campaign that asked these people, as its page in Vibes shows it"
        return read_id("acquisition_campaign_id", self.acquisition_campaign_id, remedy)

    def _check_parameters(self, *, rendered: bool = False) -> None:
        """What can be known while the DAG file is parsed is refused there; the rest once it is rendered."""
        if rendered or is_literal(self.list_id):
            self._list_id()
        if rendered or is_literal(self.acquisition_campaign_id):
            self._acquisition_campaign_id()
        if rendered or is_literal(self.min_confirmed):
            read_min_confirmed(self.min_confirmed)


def check_campaign(client: VibesClient, list_id: str, acquisition_campaign_id: str) -> None:
    """Raise `InvalidInput` for a campaign of another list, `ConfigError` where Vibes knows list or campaign
    not. A campaign that has ended is no longer listed, and is taken as it is."""
    client.get_subscription_list(list_id)
    of_list = [campaign.id for campaign in client.list_acquisition_campaigns_of(list_id)]
    if acquisition_campaign_id in of_list:
        return
    if client.get_acquisition_campaign(acquisition_campaign_id).status == "active":
        raise InvalidInput(
            "acquisition_campaign_id",
            acquisition_campaign_id,
            f"is not an acquisition campaign of list {list_id}; the list's own campaigns are: "
            f"{', '.join(sorted(of_list)) or 'none'}",
        )


def _people(path: str, seen: Mapping[str, OptIn], state: OptInState) -> Iterator[pa.RecordBatch]:
    """The rows of those who stand so; `write_parquet` drops the columns that its schema lacks."""
    import pyarrow as pa

    from airflow_sms_flow.storage import read_batches

    for batch in read_batches(path, batch_size=_BATCH):
        phones: Any = batch.column("phone")
        taken = [seen[phone].state is state for phone in phones.to_pylist()]
        yield batch.filter(pa.array(taken, pa.bool_()))


def _read_deadline(event: Any) -> datetime:
    """The deadline that the trigger hands back. What is not our trigger's event is no success."""
    from airflow.providers.common.compat.sdk import AirflowException

    if isinstance(event, dict) and event.get("status") == "ready":
        try:
            deadline = datetime.fromisoformat(event["deadline"])
        except (KeyError, TypeError, ValueError):
            deadline = None
        if deadline is not None and deadline.tzinfo is not None:
            return deadline
    raise AirflowException(
        "The trigger fired an event that this sensor does not know: make sure that triggerer and workers run "
        "the same version of airflow-sms-flow, and clear this task"
    )
