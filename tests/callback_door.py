"""The plugin's receiver on a real port, in a server of its own: what an API server is to Vibes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from airflow_sms_flow.hooks.callbacks import CALLBACK_PATH
from airflow_sms_flow.plugin.app import CallbackApp


@contextmanager
def open_door() -> Iterator[str]:
    """Its address, for `callback_url`. Reads the settings of this process, and writes to its ledger."""
    ours = CallbackApp()
    outer = FastAPI(lifespan=lambda _: ours.router.lifespan_context(ours))
    outer.mount(CALLBACK_PATH, ours)
    server = uvicorn.Server(uvicorn.Config(outer, log_level="warning"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the receiver did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
