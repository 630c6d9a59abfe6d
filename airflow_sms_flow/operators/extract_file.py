"""Extract File: an audience from a CSV or Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_sms_flow.core.errors import InvalidInput
from airflow_sms_flow.core.file_kinds import KINDS, kind_of_file
from airflow_sms_flow.core.values import read_choice
from airflow_sms_flow.operators._base import is_literal
from airflow_sms_flow.operators._extract_source import ExtractSourceOperator

if TYPE_CHECKING:
    from airflow_sms_flow.sources.source import Source


class ExtractFileOperator(ExtractSourceOperator):
    """Take the people of a CSV or Parquet file for `leads.parquet`; returns its audience reference.

    What comes out is what `ExtractSmartListOperator` gives: `id` as whole numbers, each once; true and false
    as booleans; everything else as text, as it came (moments as ISO 8601). Null and empty are missing, and so
    is a bare `null` in a CSV file; "N/A" and "none" are values.

    :param path: the file: a path, or any address that ObjectStoragePath understands, such as
        "s3://aws_default@bucket/customers.parquet". A name that ends in .gz is unpacked.
    :param columns: which columns to take, and what a preparation calls them: `{"id": "customer_id",
        "mobilePhone": "cell"}`. None takes all, as they are called.
    :param format: "csv" or "parquet", where the name of the file does not tell.
    :param delimiter: what separates the cells of a CSV file; a comma by itself, in a .tsv file a tab.

    An empty file with a header is a success. A missing or broken file, a missing column, a stray quotation
    mark in a CSV file, and an id that is missing, no whole number or not unique, fails the task without
    retries. A store that fails is left to them.
    """

    template_fields: Sequence[str] = ("path", "columns", "format", "delimiter")
    template_fields_renderers: ClassVar[dict[str, str]] = {"columns": "json"}

    def __init__(
        self,
        *,
        path: str,
        columns: Mapping[str, str] | str | None = None,
        format: str | None = None,
        delimiter: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.path = path
        self.format = format
        self.delimiter = delimiter
        super().__init__(columns=columns, **kwargs)

    def source(self) -> AbstractContextManager[Source]:
        """See `ExtractSourceOperator.source`."""
        from airflow_sms_flow.sources.files import open_file

        return open_file(str(self.path).strip(), self._format(), delimiter=self.delimiter or None)

    def _check(self, *, rendered: bool) -> None:
        super()._check(rendered=rendered)
        if rendered or is_literal(self.path):
            if not isinstance(self.path, str) or self.path.strip() in ("", "None"):
                raise InvalidInput("path", self.path, "give the path or address of a CSV or Parquet file")
            if rendered or is_literal(self.format):
                self._format()
        if self.delimiter and (rendered or is_literal(self.delimiter)) and not _is_delimiter(self.delimiter):
            raise InvalidInput("delimiter", self.delimiter, 'give one character of ASCII, such as ";"')

    def _format(self) -> str:
        if self.format is not None and self.format not in ("", "None"):
            return read_choice("format", self.format, KINDS)
        found = kind_of_file(self.path)
        if found is None:
            raise InvalidInput("format", None, 'the name of the file does not tell: give "csv" or "parquet"')
        return found


def _is_delimiter(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1 and value.isascii() and value not in '"\r\n'
