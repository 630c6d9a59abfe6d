"""What a killed or broken try of an extraction leaves for the next one: its job at Marketo, part of its file.

An export costs some of the day's quota and up to hours of waiting, so that a retry goes on with it. But it
tells who was on the list *then*: a task that somebody cleared, and a retry of the next day, make a new one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_sms_flow.core.errors import Unavailable

if TYPE_CHECKING:
    from airflow_sms_flow.clients.marketo import EarlierTry, SmartListFilter, StaticListFilter

_LONGEST_AGE = timedelta(hours=12)


class Workplace:
    """The private folder of this try, and what earlier tries of the same task left."""

    def __init__(self, folder: Path, left: Sequence[Path], note: str, retries: object) -> None:
        self.folder = folder
        self._left, self._note, self._retries = left, note, retries

    def earlier(self, fields: Sequence[str], list_filter: SmartListFilter | StaticListFilter) -> EarlierTry:
        """The job that an earlier try made for the same question, and where its file may lie."""
        from airflow_sms_flow.clients.marketo import EarlierTry
        from airflow_sms_flow.storage import read_note, write_note

        asked = {"fields": list(fields), "filter": list_filter.body(), "retries": self._retries}

        def remember(export_id: str) -> None:
            made_at = datetime.now(UTC).isoformat()
            write_note(self._note, json.dumps({**asked, "export_id": export_id, "made_at": made_at}))

        found = _parsed(read_note(self._note))
        same = all(found.get(name) == value for name, value in asked.items())
        export_id = str(found["export_id"]) if same and _is_young(found) else None
        return EarlierTry(export_id, self._left, remember)


@contextmanager
def workplace(folder: str, retries: object) -> Iterator[Workplace]:
    """A private folder in `folder`. A job is left for the next try by a killed process and by an outage, part
    of its file by a killed process and a broken download.

    `retries` is Airflow's `max_tries`, which grows when somebody clears the task, but not from try to try.
    """
    from airflow_sms_flow.clients.marketo import DownloadBroken, WrongFile
    from airflow_sms_flow.storage import delete_note, left_folders, private_folder

    note = f"{folder}/export.json"
    left = left_folders(folder)
    with private_folder(folder, keep_on=(DownloadBroken,)) as work:
        try:
            yield Workplace(work, left, note, retries)
        except WrongFile:
            delete_note(note)
            raise
        except Unavailable:
            raise
        except BaseException:
            delete_note(note)
            raise
        delete_note(note)
    _remove(left)


def _parsed(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_young(found: Mapping[str, Any]) -> bool:
    try:
        return datetime.now(UTC) - datetime.fromisoformat(found["made_at"]) < _LONGEST_AGE
    except (KeyError, TypeError, ValueError):
        return False


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
