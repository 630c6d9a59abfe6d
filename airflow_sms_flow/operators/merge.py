"""Merge Audiences: pieces that were prepared side by side become one audience."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.values import read_shards
from airflow_sms_flow.operators._base import SmsFlowOperator, is_literal
from airflow_sms_flow.references import is_several

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.references import AudienceRef


class MergeAudiencesOperator(SmsFlowOperator):
    """What one preparation of all pieces would have given: the same people, reasons, funnel and XCom keys.

    For audiences that are too large for one task: several lists are exported and prepared by mapped tasks,
    which is the slow part. A number in two pieces is texted once; a lead or number that is suppressed in one
    piece is suppressed in all; `max_recipients` holds for each piece and for the whole. Takes some thirty
    bytes of memory a lead.

    :param audiences: the output of the mapped preparation, `prepare.output`, or a list of outputs. All must
        have been prepared by the same rules. A piece whose task failed is missing from such a list, and with
        it who is suppressed in it: leave the trigger rule as it is.
    :param shards: as for `PrepareAudienceOperator`, whether the pieces have shards or not.
    """

    template_fields: Sequence[str] = ("audiences", "shards")
    ui_color = "#dcfce7"

    def __init__(self, *, audiences: Any, shards: int | str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.audiences = audiences
        self.shards = shards
        if is_literal(shards):
            read_shards("shards", shards)

    def run(self, context: Context) -> AudienceRef | list[AudienceRef]:
        """Read, decide, write all files, push."""
        shards = read_shards("shards", self.shards)
        from airflow_sms_flow.merging import common_rules, merge_files
        from airflow_sms_flow.operators._handing_on import hand_on
        from airflow_sms_flow.references import resolve_paths
        from airflow_sms_flow.settings import refuse_local_parts_on_other_machines
        from airflow_sms_flow.sources.number_files import read_lists

        refuse_local_parts_on_other_machines()
        paths = resolve_paths(_flat(self.audiences))
        rules = common_rules(paths)
        lists = read_lists(rules)
        merged = merge_files(paths, rules, lists, self.folder(context), shards=shards or 1)
        return hand_on(context, merged, rules, shards)


def _flat(audiences: Any) -> Any:
    """Of pieces with shards, all their shards."""
    if not is_several(audiences):
        return audiences
    return [one for piece in audiences for one in (piece if is_several(piece) else [piece])]
