"""A Marketo that has one finished export, for any size of file: the sandbox would hold it in memory.

    python -m tests.benchmarks.export_server FILE ROWS

Prints its address. Serves the file by Range, with size and sha256, as facts D.4 has it; at /file to curl.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.benchmarks.leads import BOOLEANS, COLUMNS


class OneExport(BaseHTTPRequestHandler):
    """Whatever list is asked for: it is the one that was exported to this file."""

    protocol_version = "HTTP/1.1"
    file: Path
    job: dict[str, Any]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith(("/file", "/file.json")):
            self._send_file()
        elif path.endswith("/oauth/token"):
            self._send({"access_token": "t", "token_type": "bearer", "expires_in": 3599})
        elif path.endswith("/describe.json"):
            self._result([_field(name) for name in COLUMNS])
        elif "/smartList/" in path:
            self._result([{"id": 1, "name": "everybody"}])
        else:
            self._result([self.job])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status = "Created" if self.path.endswith("/create.json") else "Queued"
        self._result([{"exportId": self.job["exportId"], "status": status}])

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def _send_file(self) -> None:
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first, size = int(asked[1]) if asked else 0, self.job["fileSize"]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(size - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.end_headers()
        with self.file.open("rb") as file:
            self.connection.sendfile(file, first)

    def _result(self, result: list[dict[str, Any]]) -> None:
        self._send({"requestId": "r", "success": True, "result": result})

    def _send(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _field(name: str) -> dict[str, Any]:
    data_type = "integer" if name == "id" else "boolean" if name in BOOLEANS else "string"
    return {"displayName": name, "dataType": data_type, "rest": {"name": name}}


def main() -> None:
    file, rows = Path(sys.argv[1]), int(sys.argv[2])
    with file.open("rb") as content:
        checksum = hashlib.file_digest(content, "sha256").hexdigest()
    OneExport.file = file
    OneExport.job = {
        "exportId": "e-1",
        "status": "Completed",
        "numberOfRecords": rows,
        "fileSize": file.stat().st_size,
        "fileChecksum": f"sha256:{checksum}",
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), OneExport) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
