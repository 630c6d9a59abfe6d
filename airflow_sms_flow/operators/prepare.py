"""Prepare Audience: one row per phone number that may be texted, and a reason for everybody else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.rules import AudienceRules
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal

if TYPE_CHECKING:
    import pandas as pd
    from airflow.sdk import Context

    from airflow_sms_flow.storage import AudienceRef

_RULES = ("phone_fields", "default_region", "country_field", "suppress", "suppress_scope", "keep")


class PrepareAudienceOperator(SmsFlowOperator):
    """Write `audience.parquet` and `rejected.parquet`; returns the audience's reference, with the funnel.

    The XCom key `rejected` holds the reference of those who are not texted, each with a `reason`:
    `suppressed`, `no_phone`, `invalid_phone`, `suppressed_number` or `duplicate`, tried in this order.
    `phone` is the E.164 number in both files; a column `phone` of Marketo's own is `phone_raw` there.

    :param audience: the extraction's output, the reference that it pushed, or the path of a Parquet file.
    :param phone_fields: columns with the number, the first *valid* one counts.
    :param default_region: where a number without country code belongs, if the lead's country does not tell.
    :param country_field: the column with the lead's country as free text; None: there is none.
    :param suppress: columns in which a "yes" keeps a lead out; each must be there.
    :param suppress_scope: "number" keeps a suppressed lead's numbers out for everybody, "lead" does not.
    :param keep: who wins among leads with one number: "lowest_id", "newest_updated", or a column, in which
        the highest value wins.

    An empty audience is a success. A missing column or an impossible rule fails the task without retries.
    """

    template_fields: Sequence[str] = ("audience", *_RULES)
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
        if all(is_literal(getattr(self, name)) for name in _RULES):
            self._rules()

    def run(self, context: Context) -> AudienceRef:
        """Read, decide, write both files, push."""
        rules = self._rules()
        from airflow_sms_flow.core.audience import prepare, renamed_display_names
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines
        from airflow_sms_flow.storage import (
            DISPLAY_NAMES_KEY,
            PREPARED_KEY,
            display_names,
            read_metadata,
            reference,
            resolve_path,
            write_parquet,
        )

        refuse_local_parts_on_other_machines()
        path = resolve_path(self.audience)
        metadata = read_metadata(path)
        if PREPARED_KEY in metadata:
            raise InvalidInput("audience", path, "is prepared already; give the output of the extraction")
        leads = _read_frame(path)
        prepared = prepare(leads, rules)
        names = renamed_display_names(display_names(metadata), leads.columns)
        labels = {DISPLAY_NAMES_KEY: json.dumps(names, sort_keys=True)}
        audience, rejected = (f"{self.folder(context)}/{name}.parquet" for name in ("audience", "rejected"))
        # Only the audience says that it was prepared: nobody can send to the rejected by mistake.
        write_parquet(audience, [prepared.audience], metadata={**labels, PREPARED_KEY: rules.to_json()})
        write_parquet(rejected, [prepared.rejected], metadata=labels)
        for line in str(prepared.funnel).splitlines():
            self.log.info(line)
        if not prepared.funnel.kept:
            self.log.warning("The audience is empty: nobody will be texted")
        if not rules.suppress:
            self.log.warning("suppress is empty: nobody was held back for being blocklisted or suspended")
        context["ti"].xcom_push(key="rejected", value=reference(rejected, len(prepared.rejected)))
        return reference(audience, prepared.funnel.kept, prepared.funnel.to_dict())

    def _rules(self) -> AudienceRules:
        return AudienceRules(
            phone_fields=_names(self.phone_fields),
            default_region=self.default_region,
            country_field=self.country_field,
            suppress=_names(self.suppress),
            suppress_scope=self.suppress_scope,
            keep=self.keep,
        )


def _names(value: Any) -> Any:
    """Columns as a tuple: a list, or one text with commas between, as a form gives it."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value) if isinstance(value, list) else value


def _read_frame(path: str) -> pd.DataFrame:
    """The whole file with the types that it has: pandas' own would turn ids with gaps into decimals."""
    import pandas as pd
    import pyarrow as pa

    from airflow_sms_flow.storage import read_batches, read_schema

    table = pa.Table.from_batches(read_batches(path), schema=read_schema(path).remove_metadata())
    return table.to_pandas(types_mapper=pd.ArrowDtype)
