"""What a file's name says about it. Light: a DAG file may import it."""

from __future__ import annotations

#: The kinds of files that hold people or numbers in columns.
KINDS = ("csv", "parquet")

_ENDINGS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def kind_of_file(path: str) -> str | None:
    """One of `KINDS`, or None where the name tells nothing."""
    name = without_query(path).strip().lower()
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)


def is_tab_separated(path: str) -> bool:
    """Whether tabs stand between the cells."""
    return without_query(path).strip().lower().endswith((".tsv", ".tsv.gz"))


def without_query(path: str) -> str:
    """A path as an error may show it: what stands behind a question mark may be a secret."""
    return path.partition("?")[0]
