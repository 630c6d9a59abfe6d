"""`python -m airflow_sms_flow.sandbox`: both vendors on one port, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields

from airflow_sms_flow.sandbox import accounts
from airflow_sms_flow.sandbox.server import Sandbox
from airflow_sms_flow.sandbox.settings import Settings

#: Shorter names for the settings that people change most.
_SHORT = {"opt_in_window_seconds": "opt-in-window", "answer_seconds": "answer-seconds"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_sms_flow.sandbox",
        description="A stateful stand-in for Vibes and Marketo. Nothing leaves this machine, "
        "but callbacks to an address that was registered for them.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8049, help="port to listen on; 0 takes a free one")
    for field in fields(Settings):
        flag = "--" + _SHORT.get(field.name, field.name.replace("_", "-"))
        if isinstance(field.default, bool):
            action = argparse.BooleanOptionalAction
            parser.add_argument(flag, dest=field.name, action=action, default=field.default, help="on or off")
        else:
            kind = type(field.default)
            parser.add_argument(flag, dest=field.name, type=kind, default=field.default, help=kind.__name__)
    return parser


def _greeting(sandbox: Sandbox) -> str:
    state = sandbox.state
    lists = "\n".join(
        f"    {one.list_id} {one.name}, acquisition campaign {one.acquisition_id}"
        + ("" if one.confirmation else ", without confirmation")
        for one in accounts.LISTS
    )
    smart_lists = "\n".join(
        f"    {one.list_id} {one.name} ({len(one.lead_ids)} leads)"
        for one in state.instance.smart_lists.values()
    )
    return f"""\
The sandbox answers at {sandbox.url}
  phones and control panel: {sandbox.url}/_sandbox/
  Vibes:   login {accounts.VIBES_LOGIN}, password {accounts.VIBES_PASSWORD},
           company_key {accounts.COMPANY_KEY}, source_code {accounts.SOURCE_CODE}
{lists}
  Marketo: client id {accounts.MARKETO_CLIENT_ID}, client secret {accounts.MARKETO_CLIENT_SECRET}
{smart_lists}
Ctrl-C ends it, and everything in it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    host, port = options.pop("host"), options.pop("port")
    try:
        sandbox = Sandbox(Settings(**options), host=host, port=port)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot listen on {host}:{port}: {error.strerror}; give another --port")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with sandbox:
        print(_greeting(sandbox), flush=True)
        stopped.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
