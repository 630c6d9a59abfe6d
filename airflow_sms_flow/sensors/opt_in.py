"""Wait for opt-ins: until everybody whom Vibes asked has confirmed, declined or let the time pass."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.opt_in import OptInState, read_min_confirmed
from airflow_sms_flow.core.opt_in_wait import LookPlan, needed_to_go_on, read_wait_for
from airflow_sms_flow.core.values import read_flag, read_id
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal
from airflow_sms_flow.operators._errors import translated_errors
from airflow_sms_flow.sensors._waiting import read_times, time_out

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.hooks.vibes import VibesHook
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.waiting.board import OptInBoard
    from airflow_sms_flow.waiting.looking import Question
    from airflow_sms_flow.waiting.watch import OptInWatch

#: A day for the answers, and two hours in which Vibes or Airflow may be out of reach.
_TIMEOUT = timedelta(hours=26)
_BATCH = 10_000


class VibesOptInSensor(SmsFlowOperator, BaseSensorOperator):
    """Wait until each person of a pending audience has confirmed, declined, or not answered in time.

    Returns `{"rows", "confirmed", "declined", "expired", "pending"}`, in people. XCom keys: the audiences
    `confirmed`, `declined`, `expired`, and `pending` (those still open where `min_confirmed` or `wait_for`
    ended the wait early). They keep the columns of the audience that Subscribe was given.

    - confirmed: a callback said so, or they were seen on the list.
    - declined: a callback said so, or two looks at least 30 seconds apart, within the confirm window, found
      the person neither pending nor on the list.
    - expired: a look later than a minute after `expire_date` did not find them on the list. Where Vibes names
      none, Subscribe writes 24 hours from the question; where the file has none, it is 24 hours after the
      sensor's first look.

    The ledger is asked first: where Vibes' callbacks are received, it knows of each answer within a second,
    and the wait costs a call for each person who stays silent. Vibes itself is asked only about people who
    are open, after `poke_interval`, then each time after twice as long, up to an hour (six hours where
    callbacks for this campaign come), and never more than `[sms_flow] opt_in_calls_per_minute` a minute for
    all sensors of a campaign together; on top come the looks that end the confirm windows. All share the
    account's rate limit.

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
    :param wait_for: "all"; or "first", which is `min_confirmed=1` and takes no other beside it.
    :param deferrable: False polls in the worker, in the `mode` that sensors have.
    :param vibes_conn_id: a connection of the type Vibes.
    :param poke_interval: seconds, or a timedelta, between two looks at the ledger. Default:
        `[sms_flow] opt_in_poll_seconds` (60).
    :param timeout: seconds or a timedelta; 26 hours unless given.
    """

    template_fields: Sequence[str] = (
        "audience",
        "list_id",
        "acquisition_campaign_id",
        "min_confirmed",
        "wait_for",
        "vibes_conn_id",
    )
    ui_color = "#fef9c3"

    # Made in the task itself: an event cannot be copied, and Airflow copies operators.
    _stop: threading.Event | None = None

    def __init__(
        self,
        *,
        audience: Any,
        list_id: str,
        acquisition_campaign_id: str,
        min_confirmed: int | float | str | None = None,
        wait_for: str = "all",
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
        self.wait_for = wait_for
        self.deferrable = read_flag("deferrable", deferrable)
        self.vibes_conn_id = vibes_conn_id
        self._check_parameters()

    # -- what Airflow calls ----------------------------------------------------------------------------------

    def run(self, context: Context) -> Any:
        """The first look, and everything that wrong input can be told by; called by `execute`."""
        self._check_parameters(rendered=True)
        if not self.deferrable:
            return BaseSensorOperator.execute(self, context)
        return self._look_or_wait(context, None)

    def resume(self, context: Context, event: Any = None) -> dict[str, int]:
        """Look again, since the trigger found it worthwhile."""
        with translated_errors():
            self._check_parameters(rendered=True)
            (deadline,) = read_times(event, "deadline")
            return self._look_or_wait(context, deadline)

    def poke(self, context: Context) -> PokeReturnValue:
        """One look in the worker, for `deferrable=False`."""
        from airflow_sms_flow.hooks.ledger import open_ledger

        with translated_errors(), closing(open_ledger()) as ledger:
            counts = self._look(context, ledger)
        return PokeReturnValue(counts is not None, counts)

    def on_kill(self) -> None:
        """No further request leaves."""
        if self._stop is not None:
            self._stop.set()

    def now(self, ledger: Ledger) -> datetime:
        """Aware UTC; the database's, so that a worker whose clock is wrong decides nothing."""
        return ledger.now()

    # -- looking and waiting ---------------------------------------------------------------------------------

    def _look_or_wait(self, context: Context, deadline: datetime | None) -> dict[str, int]:
        """`deadline`: when the sensor times out; None: it begins just now."""
        from airflow_sms_flow.hooks.ledger import open_ledger

        with closing(open_ledger()) as ledger:
            deadline = deadline or self.now(ledger) + timedelta(seconds=self.timeout)
            counts = self._look(context, ledger)
            if counts is None:
                self._wait(deadline, deadline - self.now(ledger))
        return counts

    def _wait(self, deadline: datetime, remaining: timedelta) -> NoReturn:
        """Give the worker free until the trigger fires."""
        if remaining <= timedelta(0):
            time_out(self, "Not everybody has confirmed, declined or expired")
        from airflow_sms_flow.references import resolve_path
        from airflow_sms_flow.storage import row_count
        from airflow_sms_flow.triggers.opt_in import VibesOptInTrigger

        path = resolve_path(self.audience)
        trigger = VibesOptInTrigger(
            audience_path=path,
            list_id=self._list_id(),
            acquisition_campaign_id=self._acquisition_campaign_id(),
            vibes_conn_id=self.vibes_conn_id,
            poll_interval_seconds=self._interval(),
            deadline=deadline.isoformat(),
            needed=needed_to_go_on(self.wait_for, self.min_confirmed, row_count(path)),
        )
        # Airflow counts this from now on anew, and does not apply the sensor's own timeout to a deferral.
        self.defer(trigger=trigger, method_name="resume", timeout=remaining)

    def _look(self, context: Context, ledger: Ledger) -> dict[str, int] | None:
        """Ask the ledger, then Vibes; the counts where that ends the wait, else None."""
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.references import resolve_path
        from airflow_sms_flow.settings import opt_in_calls_per_minute, refuse_local_parts_on_other_machines
        from airflow_sms_flow.storage import check_prepared
        from airflow_sms_flow.waiting.board import OptInBoard, check_pending_columns
        from airflow_sms_flow.waiting.looking import Question
        from airflow_sms_flow.waiting.watch import OptInWatch

        refuse_local_parts_on_other_machines()
        path = resolve_path(self.audience)
        check_pending_columns(path)
        rows = check_prepared(path).rows
        if not rows:
            self.log.info("The audience is empty: nobody was asked, so there is nothing to wait for")
            return self._finish(context, OptInBoard.empty(), path)
        hook = VibesHook(self.vibes_conn_id)
        question = Question(hook.company_key, self._list_id(), self._acquisition_campaign_id())
        plan = LookPlan(max(1.0, self._interval()), opt_in_calls_per_minute())
        needed = needed_to_go_on(self.wait_for, self.min_confirmed, rows)
        watch = OptInWatch(question, path, plan, needed)
        halt = self._stop = threading.Event()
        _check_pair(question, hook, ledger, halt)
        ledger.hear_all()
        watch.read(ledger, self.now(ledger))
        if not watch.is_over:
            self._ask(watch, hook, ledger, halt)
        return self._finish(context, watch.board, path) if watch.is_over else None

    def _ask(self, watch: OptInWatch, hook: VibesHook, ledger: Ledger, halt: threading.Event) -> None:
        """Look up at Vibes who is due."""
        from airflow_sms_flow.waiting.looking import open_line

        left = watch.ask(ledger, self.now(ledger), halt, partial(open_line, hook, ledger))
        told = ", ".join(f"{state} {n:,}" for state, n in watch.board.counts().items())
        self.log.info("%s%s", told, f" ({left:,} could not be looked up this time)" if left else "")

    # -- what is pushed --------------------------------------------------------------------------------------

    def _finish(self, context: Context, board: OptInBoard, path: str) -> dict[str, int]:
        """Write an audience for each state and push their references."""
        from airflow_sms_flow.references import reference
        from airflow_sms_flow.storage import read_metadata, read_schema, write_parquet

        metadata, schema = read_metadata(path), read_schema(path).remove_metadata()
        decided = schema.remove(schema.get_field_index("expire_date"))
        counts: dict[str, int] = {}
        for state in (OptInState.CONFIRMED, OptInState.DECLINED, OptInState.EXPIRED, OptInState.PENDING):
            file = f"{self.folder(context)}/{state.value}.parquet"
            rows = write_parquet(
                file,
                _people(path, board, state),
                schema=schema if state is OptInState.PENDING else decided,
                metadata=metadata,
            )
            context["ti"].xcom_push(key=state.value, value=reference(file, rows))
            counts[state.value] = rows
        self.log.info("The wait is over: %s", ", ".join(f"{name} {n:,}" for name, n in counts.items()))
        return {"rows": sum(counts.values()), **counts}

    # -- parameters ------------------------------------------------------------------------------------------

    def _interval(self) -> float:
        from airflow_sms_flow.settings import opt_in_poll_seconds

        return opt_in_poll_seconds() if self._polls_as_configured else self.poke_interval

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
        if rendered or is_literal(self.wait_for):
            read_wait_for(self.wait_for)
        if rendered or (is_literal(self.min_confirmed) and is_literal(self.wait_for)):
            needed_to_go_on(self.wait_for, self.min_confirmed, people=1)


def _check_pair(question: Question, hook: VibesHook, ledger: Ledger, halt: threading.Event) -> None:
    """Ask Vibes whether the campaign is one of the list, unless the ledger knows that from before: not at
    each poke. Nothing may be written of a wait until then, or answers would count for a wrong list."""
    campaign_id = question.acquisition_campaign_id
    if ledger.list_of(question.company_key, campaign_id) != question.list_id:
        with hook.sharing_client(ledger, stop=halt.is_set) as client:
            check_campaign(client, question.list_id, campaign_id)


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


def _people(path: str, board: OptInBoard, state: OptInState) -> Iterator[pa.RecordBatch]:
    """The rows of those who stand so; `write_parquet` drops the columns that its schema lacks."""
    from airflow_sms_flow.storage import read_batches

    for batch in read_batches(path, batch_size=_BATCH):
        yield batch.filter(board.is_in(batch.column("phone"), state))
