"""What the three flow steps have in common at Airflow's side: when to run, under which key, what to push."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_sms_flow.core.delivery import StepName, check_campaign_key
from airflow_sms_flow.core.errors import BugError, ConfigError, InvalidInput, Unavailable, Unfinished
from airflow_sms_flow.core.values import read_choice, read_flag, read_id
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.core.delivery import Campaign
    from airflow_sms_flow.core.report import StepReport
    from airflow_sms_flow.courier import Plan
    from airflow_sms_flow.dispatch import Result, Settled
    from airflow_sms_flow.hooks.vibes import VibesHook
    from airflow_sms_flow.ledger import Ledger, TaskTry
    from airflow_sms_flow.results import Outcomes, Pick
    from airflow_sms_flow.steps.step import Recipient, Step

_BATCH = 10_000
_LIST_REMEDY = "the id of a Vibes subscription list, as its page in Vibes shows it"


class FlowStepOperator(SmsFlowOperator):
    """Parameters common to the three steps.

    :param audience: another task's output, the reference that it pushed, or the path of a Parquet file.
    :param list_id: the Vibes subscription list.
    :param vibes_conn_id: a connection of the type Vibes.
    :param campaign_key: what counts as the same message: nobody is reached twice under one key, list and
        step. Default: DAG, task and logical date of the run. `once:<name>` means once, ever.
    :param on_backfill: "skip" (default) does nothing in a backfill; "send" does what the step does.
    :param dry_run: check everything that reading can check, reach nobody, report everybody as skipped.
    :param concurrency: requests under way at once; 32 fill the vendor's limit at usual distances.
    """

    template_fields: Sequence[str] = (
        "audience",
        "list_id",
        "campaign_key",
        "on_backfill",
        "dry_run",
        "vibes_conn_id",
    )
    ui_color = "#f3e8ff"

    step_name: ClassVar[StepName]
    #: XCom key -> the people whose delivery stands so; pushed beside `results`.
    audiences: ClassVar[Mapping[str, Pick]] = {}

    # Made in the task itself: an event cannot be copied, and Airflow copies operators.
    _stop: threading.Event | None = None

    def __init__(
        self,
        *,
        audience: Any,
        list_id: str,
        vibes_conn_id: str = "vibes_default",
        campaign_key: str | None = None,
        on_backfill: str = "skip",
        dry_run: bool | str = False,
        concurrency: int = 32,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.audience = audience
        self.list_id = list_id
        self.vibes_conn_id = vibes_conn_id
        self.campaign_key = campaign_key
        self.on_backfill = on_backfill
        # Airflow has a method of this name, which only renders templates; the parameter's name is agreed.
        self.dry_run = dry_run  # type: ignore[assignment, method-assign]  # see above
        self.concurrency = concurrency
        self._check_literals()

    # -- what a step says of itself ----------------------------------------------------------------------

    @abstractmethod
    def make_step(self, client: VibesClient, path: str, ledger: Ledger | None) -> Step:
        """Check by reading calls what can be checked, and make the step. `ledger` None: a dry run, in
        which nothing may be made at Vibes."""

    def columns(self) -> list[str] | None:
        """What `people` and `recipients` need of the audience; None: all of it."""
        return ["id", "phone"]

    def people(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows with `phone` in E.164, or as `lead:<id>` where there is no number."""
        return batch

    def recipients(self, batch: pa.RecordBatch) -> list[Recipient]:
        """One per row of `people`."""
        from airflow_sms_flow.steps.step import Recipient

        return [Recipient(lead_id, phone) for lead_id, phone in ids_and_phones(batch)]

    def check_audience(self, path: str) -> int:
        """The number of rows; raises `InvalidInput` for an audience that this step must not take."""
        from airflow_sms_flow.storage import check_prepared

        return check_prepared(path).rows

    def fingerprint(self, step: Step) -> str:
        """Of what is sent: changed content under a kept key is noticed by it."""
        return ""

    def default_campaign_key(self, context: Context) -> str:
        """DAG, task and logical date: a retry, a cleared task and a backfill of the interval share it."""
        logical_date = context.get("logical_date")
        run = logical_date.isoformat() if logical_date is not None else context["run_id"]
        return f"{self.dag_id}/{self.task_id}/{run}"

    # -- the run -------------------------------------------------------------------------------------------

    def run(self, context: Context) -> dict[str, Any]:
        """Reach everybody who is due; returns the step report. Raises `Unfinished` where somebody could not
        be reached for a passing reason, after everything was pushed."""
        self._stop = threading.Event()
        self._check_literals(rendered=True)
        from airflow_sms_flow.hooks.vibes import VibesHook
        from airflow_sms_flow.references import resolve_path
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines

        refuse_local_parts_on_other_machines()
        path = resolve_path(self.audience)
        rows = self.check_audience(path)
        if self._is_skipped_backfill(context):
            return self._skip_everybody(context, path, "backfill")
        hook = VibesHook(self.vibes_conn_id)
        if read_flag("dry_run", self.dry_run):
            with self._reading_client(hook) as client:
                self.make_step(client, path, None)
            return self._skip_everybody(context, path, "dry_run")
        return self._dispatch(context, hook, path, rows)

    @contextmanager
    def _reading_client(self, hook: VibesHook) -> Iterator[VibesClient]:
        """Shares the account's rate limit with tasks that send meanwhile. Where no ledger stands there are
        none, and a dry run makes no ledger."""
        from airflow_sms_flow.hooks.ledger import open_standing_ledger

        ledger = open_standing_ledger()
        if ledger is None:
            with closing(hook.client(stop=self.is_stopped)) as client:
                yield client
            return
        with closing(ledger), hook.sharing_client(ledger, stop=self.is_stopped) as client:
            yield client

    def is_stopped(self) -> bool:
        """Whether Airflow told this task to stop."""
        return self._stop is not None and self._stop.is_set()

    def on_kill(self) -> None:
        """Airflow's kill signal, `execution_timeout`, marked as failed: nothing is claimed from here on."""
        if self._stop is not None:
            self._stop.set()

    def _dispatch(self, context: Context, hook: VibesHook, path: str, rows: int) -> dict[str, Any]:
        from airflow_sms_flow.dispatch import Dispatcher
        from airflow_sms_flow.hooks.ledger import open_ledger

        with closing(open_ledger()) as ledger:
            self._refuse_another_ledger(context, ledger)
            ledger.hear_all()  # what Vibes has told since the last try settles doubts
            campaign = self._campaign(context, hook.company_key)
            sharing = hook.sharing_client(ledger, stop=self.is_stopped, pool_maxsize=self.concurrency)
            with sharing as client:
                step = self.make_step(client, path, ledger)
                plan = self.plan(context, campaign, step)
                dispatcher = Dispatcher(ledger, step, plan, self._stop)
                try:
                    result = dispatcher.run(partial(self._everybody_once, path), rows)
                except (Unavailable, ConfigError, BugError):
                    # Whatever ends the task early: what was done and what is left stays countable.
                    if dispatcher.result is not None:
                        report = self._report(context, path, ledger, plan, dispatcher.result)
                        _push_report(context, report)
                    raise
            report = self._report(context, path, ledger, plan, result)
        # Whoever is left stands in the report as an earlier try left them: in doubt, refused or asked.
        if unreached := report.failed + result.left:
            _push_report(context, report)
            raise Unfinished(
                f"{unreached:,} of {rows:,} people could not be reached for a passing reason; nothing is "
                f"lost, the next try goes on with them"
            )
        return report.as_dict()

    def _refuse_another_ledger(self, context: Context, ledger: Ledger) -> None:
        """An earlier try of this run left the identity of its ledger. An empty database in that one's place
        knows of nobody who was reached, and would let everybody be reached again."""
        from airflow_sms_flow.storage import read_note, write_note

        note = f"{self.folder(context)}/ledger.txt"
        before, now = read_note(note), ledger.identity
        if before is None:
            write_note(note, now)
        elif before != now:
            raise ConfigError(
                "an earlier try of this task wrote to another ledger than the one found now, which does not "
                "know whom that try reached: bring the database back that [sms_flow] ledger_conn_id (or the "
                f"file in AIRFLOW_HOME) meant then. If that ledger is lost for good, delete {note}"
            )

    def _report(self, context: Context, path: str, ledger: Ledger, plan: Plan, result: Result) -> StepReport:
        report = self._push(context, path, ledger, plan, result)
        for line in report.lines():
            self.log.info(line)
        return report

    def plan(self, context: Context, campaign: Campaign, step: Step) -> Plan:
        """How this try goes about it."""
        from airflow_sms_flow.courier import Plan

        return Plan(campaign, self.fingerprint(step), _task_try(context), self.concurrency)

    def _campaign(self, context: Context, company_key: str) -> Campaign:
        from airflow_sms_flow.core.delivery import Campaign

        key = self.campaign_key if self.campaign_key is not None else self.default_campaign_key(context)
        return Campaign(company_key, check_campaign_key(key), self.step_name, self._list_id())

    def _list_id(self) -> str:
        return read_id("list_id", self.list_id, _LIST_REMEDY)

    def _everybody_once(self, path: str, settled: Settled) -> Iterator[Recipient]:
        """Whoever is not settled, once each. Most of a resumed audience is: that is left out in bulk."""
        import pyarrow as pa

        from airflow_sms_flow.ledger.known import FirstSeen
        from airflow_sms_flow.storage import read_batches

        first_seen = FirstSeen()
        for batch in read_batches(path, self.columns(), _BATCH):
            people = self.people(batch)
            left = people.filter(pa.array(~settled(_phones(people))))
            yield from self.recipients(left.filter(pa.array(first_seen(_phones(left)))))

    def _is_skipped_backfill(self, context: Context) -> bool:
        choice = read_choice("on_backfill", self.on_backfill, ("skip", "send"))
        if context["dag_run"].run_type != "backfill":
            return False
        if choice == "skip":
            self.log.info("This is a backfill and on_backfill is 'skip': nobody is reached")
            return True
        self.log.warning(
            "This is a backfill and on_backfill is 'send'. The audience is the smart list as it is now, not "
            "as of the interval, and each person is reached once per interval"
        )
        return False

    # -- what is pushed ------------------------------------------------------------------------------------

    def _push(self, context: Context, path: str, ledger: Ledger, plan: Plan, result: Result) -> StepReport:
        """Write results and audiences from the ledger for the whole audience, and push their references."""
        from airflow_sms_flow.core.report import Tally
        from airflow_sms_flow.results import RESULTS_SCHEMA, picked_batches, read_outcomes, result_batches
        from airflow_sms_flow.storage import read_batches

        def outcomes(columns: list[str] | None) -> Iterator[Outcomes]:
            batches = ((b, _phones(self.people(b))) for b in read_batches(path, columns, _BATCH))
            return read_outcomes(ledger, result.dispatch_id, batches)

        tally = Tally()
        results = result_batches(outcomes(self.columns()), tally, result.claimer_id)
        self._write(context, "results", results, RESULTS_SCHEMA)
        for name, pick in self.audiences.items():
            picked = picked_batches(outcomes(None), pick, with_expire_date=name == "pending")
            self._write_audience(context, name, path, picked)
        campaign = plan.campaign
        texts = self.step_name is StepName.SEND
        return tally.report(
            campaign.step,
            campaign.campaign_key,
            campaign.list_id,
            attempted=result.attempted,
            delivery=ledger.delivery_report(campaign) if texts else None,
        )

    def _skip_everybody(self, context: Context, path: str, reason: str) -> dict[str, Any]:
        """Nobody was reached: say so for everybody, and hand empty audiences on."""
        from airflow_sms_flow.core.receipts import DeliveryReport
        from airflow_sms_flow.core.report import Tally
        from airflow_sms_flow.results import RESULTS_SCHEMA, skipped_batches
        from airflow_sms_flow.storage import PREPARED_KEY, read_batches, read_metadata

        tally = Tally()
        # In a raw audience `phone` is a field of Marketo's own, not a number in E.164.
        columns = ["id", "phone"] if PREPARED_KEY in read_metadata(path) else ["id"]
        skipped = skipped_batches(read_batches(path, columns, _BATCH), reason, tally)
        self._write(context, "results", skipped, RESULTS_SCHEMA)
        for name in self.audiences:
            self._write_audience(context, name, path, ())
        key = self.campaign_key if self.campaign_key is not None else self.default_campaign_key(context)
        delivery = DeliveryReport() if self.step_name is StepName.SEND else None
        report = tally.report(self.step_name, key, self._list_id(), attempted=0, delivery=delivery)
        for line in report.lines():
            self.log.info(line)
        return report.as_dict()

    def _write_audience(
        self, context: Context, name: str, path: str, batches: Iterable[pa.RecordBatch]
    ) -> None:
        """An audience keeps the columns and the rules of the one it was taken from."""
        from airflow_sms_flow.results import with_expire_date
        from airflow_sms_flow.storage import read_metadata, read_schema

        schema = read_schema(path).remove_metadata()
        if name == "pending":
            schema = with_expire_date(schema)
        self._write(context, name, batches, schema, read_metadata(path))

    def _write(
        self,
        context: Context,
        name: str,
        batches: Iterable[pa.RecordBatch],
        schema: pa.Schema,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        from airflow_sms_flow.references import reference
        from airflow_sms_flow.storage import write_parquet

        file = f"{self.folder(context)}/{name}.parquet"
        rows = write_parquet(file, batches, schema=schema, metadata=metadata)
        context["ti"].xcom_push(key=name, value=reference(file, rows))

    def _check_literals(self, *, rendered: bool = False) -> None:
        """What can be known while the DAG file is parsed is refused there; the rest once it is rendered."""
        if rendered or is_literal(self.list_id):
            self._list_id()
        if self.campaign_key is not None and (rendered or is_literal(self.campaign_key)):
            check_campaign_key(self.campaign_key)
        if rendered or is_literal(self.on_backfill):
            read_choice("on_backfill", self.on_backfill, ("skip", "send"))
        if rendered or is_literal(self.dry_run):
            read_flag("dry_run", self.dry_run)
        if not isinstance(self.concurrency, int) or self.concurrency < 1:
            raise InvalidInput("concurrency", self.concurrency, "at least one request at a time: 1 or more")


def ids_and_phones(batch: pa.RecordBatch) -> Iterator[tuple[int, str]]:
    """Of `people`, where neither is ever missing."""
    return zip(cast("list[int]", batch.column("id").to_pylist()), _phones(batch), strict=True)


def _phones(batch: pa.RecordBatch) -> list[str]:
    return cast("list[str]", batch.column("phone").to_pylist())


def _push_report(context: Context, report: StepReport) -> None:
    """Of a try that fails, of which Airflow keeps nothing by itself: whoever adds up is to be told, too."""
    context["ti"].xcom_push(key="return_value", value=report.as_dict())


def _task_try(context: Context) -> TaskTry:
    from airflow_sms_flow.ledger import TaskTry

    ti = context["ti"]
    index = f"[{ti.map_index}]" if ti.map_index is not None and ti.map_index >= 0 else ""
    return TaskTry(f"{ti.dag_id}/{ti.task_id}{index}", ti.run_id, ti.try_number)
