"""One sending process, put together as the Send operator does it.

    python -m tests.benchmarks.sending URL LEDGER MEMBERSHIP FIRST COUNT

Says "ready" on a line, sends from the next line on its standard input until the one after that, then tells
in JSON what it used.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import closing, suppress

from airflow_sms_flow.clients.vibes import VibesClient, VibesRings
from airflow_sms_flow.core.delivery import Campaign, StepName
from airflow_sms_flow.core.errors import Stopped
from airflow_sms_flow.core.message import SmsMessage
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.rings import shared_rings
from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.numbers import us_number
from airflow_sms_flow.steps.event_campaign import OurCampaign
from airflow_sms_flow.steps.membership import LookUp, TrustCampaign
from airflow_sms_flow.steps.send import SendStep
from airflow_sms_flow.steps.step import Recipient
from tests.benchmarks.measuring import peak_mb

COMPANY = accounts.COMPANY_KEY
LIST_ID = accounts.LISTS[0].list_id
MESSAGE = SmsMessage("{{lead.First Name:default=there}}, 20 % off until Sunday. Reply STOP to leave.")


def main() -> None:
    url, address, membership, first, count = sys.argv[1:]
    everybody = range(int(first), int(first) + int(count))
    recipients = (Recipient(n, us_number(n), {"firstName": f"Person {n}"}) for n in everybody)
    stop, rings = threading.Event(), VibesRings()
    named = {"events": rings.events, "calls": rings.calls}
    with (
        closing(Ledger.open(address)) as ledger,
        closing(_client(url, rings, stop)) as client,
        shared_rings(ledger, f"vibes:{COMPANY}", named),
    ):
        ours = OurCampaign(client, ledger, COMPANY, LIST_ID, accounts.SOURCE_CODE)
        message = MESSAGE.bind(["firstName"])
        on_list = LookUp(client, LIST_ID) if membership == "lookup" else TrustCampaign()
        step = SendStep(client, on_list, ours.ensure(), message)
        plan = Plan(Campaign(COMPANY, f"bench {first}", StepName.SEND, LIST_ID), message.fingerprint)
        print("ready", flush=True)
        sys.stdin.readline()
        threading.Thread(target=_wait_for_the_end, args=(stop,), daemon=True).start()
        began = time.monotonic()
        with suppress(Stopped):
            Dispatcher(ledger, step, plan, stop).run(recipients, int(count))
        seconds = time.monotonic() - began
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}), flush=True)


def _client(url: str, rings: VibesRings, stop: threading.Event) -> VibesClient:
    return VibesClient(
        host=url,
        company_key=COMPANY,
        username=accounts.VIBES_LOGIN,
        password=accounts.VIBES_PASSWORD,
        rings=rings,
        pool_maxsize=32,
        stop=stop.is_set,
    )


def _wait_for_the_end(stop: threading.Event) -> None:
    sys.stdin.readline()
    stop.set()


if __name__ == "__main__":
    main()
