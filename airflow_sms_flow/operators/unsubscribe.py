"""Unsubscribe from Vibes List."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow_sms_flow.core.delivery import StepName
from airflow_sms_flow.operators._flow_step import FlowStepOperator

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_sms_flow.clients.vibes import VibesClient
    from airflow_sms_flow.ledger import Ledger
    from airflow_sms_flow.steps.step import Step


class UnsubscribeFromVibesListOperator(FlowStepOperator):
    """Take each person of the audience off the list. Spares nobody: blocklisted people most need to leave.

    Takes raw audiences (straight from the smart list) or prepared ones; a number of a prepared one that is
    not in E.164 is read like a raw one. A lead without a valid number is tried by its Marketo id. Returns the
    step report. Further XCom key: `results`.

    :param phone_fields: where a raw audience has numbers; the first valid one counts.
    :param default_region: whose numbering plan reads a number of a lead without a known country.
    :param country_field: the audience's column with the lead's country, if it has one.
    """

    template_fields: Sequence[str] = (
        *FlowStepOperator.template_fields,
        "phone_fields",
        "default_region",
        "country_field",
    )
    step_name: ClassVar[StepName] = StepName.UNSUBSCRIBE

    def __init__(
        self,
        *,
        phone_fields: Sequence[str] = ("mobilePhone",),
        default_region: str = "US",
        country_field: str | None = "country",
        **kwargs: Any,
    ) -> None:
        self.phone_fields = phone_fields
        self.default_region = default_region
        self.country_field = country_field
        self._prepared: tuple[str, ...] = ()  # of a prepared audience, the columns that count
        super().__init__(**kwargs)

    def check_audience(self, path: str) -> int:
        """Raw audiences want `id` and the columns with numbers; suppress columns are not looked at."""
        from airflow_sms_flow.storage import read_batches, row_count

        wanted = ["id", "phone"] if self._is_prepared(path) else ["id", *self._phone_fields()]
        for _ in read_batches(path, wanted, batch_size=1):
            break  # says which column is missing
        return row_count(path)

    def make_step(self, client: VibesClient, path: str, ledger: Ledger | None) -> Step:
        """Check that the list is there."""
        from airflow_sms_flow.steps.unsubscribe import UnsubscribeStep

        client.get_subscription_list(self._list_id())
        self._prepared = self._columns_of_prepared(path)
        return UnsubscribeStep(client, self._list_id())

    def columns(self) -> list[str] | None:
        """A raw audience may have its numbers anywhere."""
        return list(self._prepared) or None

    def people(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """By number where there is a valid one, else `lead:<id>`; `lead:0` is whoever has neither."""
        import pyarrow as pa

        from airflow_sms_flow.ledger.known import LEAD_PREFIX

        ids = cast("list[int]", batch.column("id").to_pylist())
        numbers = self._numbers_of_prepared(batch) if self._prepared else self._read_numbers(batch)
        phones = [number or f"{LEAD_PREFIX}{max(lead, 0)}" for lead, number in zip(ids, numbers, strict=True)]
        return pa.record_batch({"id": batch.column("id"), "phone": pa.array(phones, pa.string())})

    def _numbers_of_prepared(self, batch: pa.RecordBatch) -> list[str | None]:
        """A number in E.164 counts as it stands, also one that the library does not know any more. Whatever
        else came into the file since it was prepared is read like a raw number."""
        from airflow_sms_flow.core.phone_set import is_e164

        told: list[str | None] = batch.column("phone").to_pylist()
        good = is_e164(batch.column("phone"))
        if good.all():
            return told
        read = self._read_numbers(batch, ("phone",))
        return [one if is_good else other for one, is_good, other in zip(told, good, read, strict=True)]

    def _read_numbers(self, batch: pa.RecordBatch, phone_fields: tuple[str, ...] = ()) -> list[str | None]:
        from airflow_sms_flow.core.leads import first_valid_phones
        from airflow_sms_flow.core.rules import AudienceRules

        there = not phone_fields or self.country_field in batch.schema.names
        rules = AudienceRules(
            phone_fields=phone_fields or self._phone_fields(),
            default_region=self.default_region,
            country_field=self.country_field if there else None,
            suppress=(),
        )
        return first_valid_phones(batch, rules)

    def _phone_fields(self) -> tuple[str, ...]:
        fields = self.phone_fields
        return (fields,) if isinstance(fields, str) else tuple(fields)

    def _is_prepared(self, path: str) -> bool:
        from airflow_sms_flow.storage import PREPARED_KEY, read_metadata

        return PREPARED_KEY in read_metadata(path)

    def _columns_of_prepared(self, path: str) -> tuple[str, ...]:
        """Empty for a raw audience."""
        from airflow_sms_flow.storage import read_schema

        if not self._is_prepared(path):
            return ()
        has_country = self.country_field in read_schema(path).names
        return ("id", "phone", *([str(self.country_field)] if has_country else []))
