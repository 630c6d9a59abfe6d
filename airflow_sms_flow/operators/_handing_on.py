"""How a made audience is handed on: alone, or in shards for the next task to be mapped over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_sms_flow.references import AudienceRef, reference

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_sms_flow.core.rules import AudienceRules
    from airflow_sms_flow.preparation import PreparedFiles


log = logging.getLogger(__name__)


def hand_on(
    context: Context, prepared: PreparedFiles, rules: AudienceRules, shards: int | None
) -> AudienceRef | list[AudienceRef]:
    """Say what became of everybody, push the rejected, and give what the task returns.

    Airflow maps over nothing but what a task returns, and over all of it. So shards are a list of references,
    and their funnel is pushed beside it.
    """
    for line in str(prepared.funnel).splitlines():
        log.info(line)
    if not prepared.funnel.kept:
        log.warning("The audience is empty: nobody will be texted")
    if not rules.suppress:
        log.warning("suppress is empty: nobody was held back for being blocklisted or suspended")
    context["ti"].xcom_push(key="rejected", value=reference(*prepared.rejected))
    funnel = prepared.funnel.to_dict()
    if shards is None:
        (audience,) = prepared.audiences
        return reference(*audience, funnel)
    context["ti"].xcom_push(key="funnel", value=funnel)
    return [reference(*audience) for audience in prepared.audiences]
