"""A bare process that runs one try of a dispatch, for tests that kill and suspend it.

    python -m tests.sending_process LEDGER_ADDRESS PORT PEOPLE

Each request is a POST to the path of its number. Prints what became of the try.
"""

from __future__ import annotations

import http.client
import sys

from airflow_sms_flow.clients.throttle import Ring, Slot
from airflow_sms_flow.core.answers import Answer, AnswerClass
from airflow_sms_flow.core.delivery import Campaign, DeliveryState, StepName
from airflow_sms_flow.courier import Plan
from airflow_sms_flow.dispatch import Dispatcher
from airflow_sms_flow.ledger import Lease, Ledger
from airflow_sms_flow.steps.step import Go, Recipient
from tests.scripted_step import people

CAMPAIGN = Campaign("acme", "killed", StepName.SEND, "1201")
CONCURRENCY = 6
LEASE = Lease(seconds=1.0, answer_seconds=0.5)


class PostingStep:
    """Holds what is in doubt, as Send does."""

    repeats_in_doubt = False
    doubt_matters = True

    def __init__(self, port: int) -> None:
        self.effects = Ring(10_000)
        self._port = port

    def decide(self, recipient: Recipient, seen: DeliveryState | None) -> Go | Answer:
        """Everybody is on the list."""
        return Go()

    def act(self, recipient: Recipient, go: Go, slot: Slot, event_id: str) -> Answer:
        """One POST; anything but an answer is a doubt."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            with slot:
                connection.request("POST", f"/{recipient.phone}", headers={"event-id": event_id})
                status = connection.getresponse().status
        except OSError:
            return Answer(AnswerClass.IN_DOUBT, "no_answer")
        finally:
            connection.close()
        return Answer(AnswerClass.OK if status == 202 else AnswerClass.RETRY, f"answered_{status}")

    def blames_request(self, answer: Answer) -> bool:
        """Never."""
        return False


def main(address: str, port: str, count: str) -> None:
    """One try."""
    ledger = Ledger.open(address)
    plan = Plan(CAMPAIGN, "f" * 64, concurrency=CONCURRENCY, lease=LEASE)
    result = Dispatcher(ledger, PostingStep(int(port)), plan).run(people(int(count)), int(count))
    sys.stdout.write(f"attempted {result.attempted}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
