"""What Airflow reads about this provider at every start: connection types and configuration.

It imports nothing, so that a component that never sends a message pays nothing for us. Airflow 3.2 and later
build the connection forms from `conn-fields` and `ui-field-behaviour`; on 3.1 the hooks hand the same
declarations over (`hooks/forms.py`), so that they are written once.
"""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_sms_flow"
_INTEGRATION = "SMS flow"


def get_provider_info() -> dict[str, Any]:
    """The entry point `apache_airflow_provider`; keys as in Airflow's provider_info.schema.json."""
    return {
        "package-name": "airflow-sms-flow",
        "name": "SMS flow",
        "description": "SMS campaigns as DAGs: Marketo says who, Vibes carries the text.",
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["service"]}],
        "connection-types": [_vibes(), _marketo()],
        "operators": [_modules("operators")],
        "sensors": [_modules("sensors")],
        "hooks": [_modules("hooks")],
        "triggers": [_modules("triggers")],
        "asset-uris": [{"schemes": ["vibes"], "handler": f"{_PACKAGE}.assets.sanitize_uri"}],
        "config": {"sms_flow": {"description": "Settings of airflow-sms-flow.", "options": _options()}},
    }


def _modules(folder: str) -> dict[str, Any]:
    return {"integration-name": _INTEGRATION, "python-modules": [f"{_PACKAGE}.{folder}"]}


def _vibes() -> dict[str, Any]:
    return {
        "connection-type": "vibes",
        "hook-class-name": f"{_PACKAGE}.hooks.vibes.VibesHook",
        "hook-name": "Vibes",
        "conn-fields": {
            "company_key": {
                "label": "Company key",
                "description": "The key of your company, as it stands in the address of every Vibes call.",
                "schema": {"type": "string", "minLength": 1},
            },
            "region": {
                "label": "Region",
                "description": "Where the account lives. Not needed when the host is filled in.",
                "schema": {"type": ["string", "null"], "enum": ["us", "eu"]},
            },
            "source_code": {
                "label": "Source code",
                "description": "The short code that texts come from; wanted by Send SMS Message.",
                "schema": {"type": ["string", "null"]},
            },
            "events_per_second": {
                "label": "Events a second",
                "description": "Fewer than Vibes' 300, where others use the account, too.",
                "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 300},
            },
            "calls_per_second": {
                "label": "Other calls a second",
                "description": "Fewer than Vibes' 100, where others use the account, too.",
                "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
            },
            "callback_secrets": {
                "label": "Callback secrets",
                "description": "What opens the address that Vibes calls back: long random texts of letters, "
                "digits, - and _, several while one replaces another, the newest first.",
                "schema": {"type": ["string", "null"], "format": "password"},
            },
        },
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "API user", "password": "API password"},
            "placeholders": {
                "host": "Empty: the host of the region. Else any http(s) address",
                "port": "443",
            },
        },
    }


def _marketo() -> dict[str, Any]:
    return {
        "connection-type": "marketo",
        "hook-class-name": f"{_PACKAGE}.hooks.marketo.MarketoHook",
        "hook-name": "Marketo",
        "conn-fields": {},
        "ui-field-behaviour": {
            "hidden-fields": ["schema"],
            "relabeling": {"login": "Client id", "password": "Client secret"},
            "placeholders": {
                "host": "123-ABC-456, https://123-ABC-456.mktorest.com, or any http(s) address",
                "port": "443",
            },
        },
    }


def _options() -> dict[str, Any]:
    return {
        "storage": _option(
            "Where audience files and results are kept: a folder, or an address that ObjectStoragePath "
            "understands. Empty: the folder sms_flow/files in AIRFLOW_HOME. Tasks on several machines need a "
            "place that all of them see.",
            example="s3://aws_default@campaigns/sms-flow",
        ),
        "ledger_conn_id": _option(
            "Id of a postgres (or sqlite) connection whose database holds the ledger of who was texted. "
            "Empty: the SQLite file sms_flow/ledger.db in AIRFLOW_HOME. Never point this at an empty "
            "database while campaigns run: the ledger is what keeps people from being texted twice.",
            example="sms_flow_ledger",
        ),
        "allow_local": _option(
            "Allow a SQLite ledger and a plain folder although tasks may run on other machines. True only if "
            "every machine sees the same folder and the same ledger. A network folder will do for the files; "
            "SQLite is not safe on one.",
            kind="boolean",
            default="False",
        ),
        "keep_files_days": _option(
            "How many days audience files and results are kept before the clean-up command deletes them. "
            "The ledger is not touched by this.",
            kind="integer",
            default="30",
        ),
        "marketo_poll_seconds": _option(
            "Seconds between two looks at a Marketo export. Marketo itself updates its state once a minute.",
            kind="float",
            default="60",
        ),
        "opt_in_poll_seconds": _option(
            "Seconds between two looks of the opt-in sensor at the ledger, and until it first asks Vibes.",
            kind="float",
            default="60",
        ),
        "opt_in_calls_per_minute": _option(
            "How many calls to Vibes all opt-in sensors of one campaign make in a minute, while people may "
            "still answer.",
            kind="integer",
            default="100",
        ),
        "callback_conn_ids": _option(
            "Ids of the Vibes connections whose callback_secrets open the address that Vibes calls back, "
            "separated by commas. Empty: vibes_default.",
            example="vibes_us,vibes_eu",
        ),
        "callback_url": _option(
            "The address at which Vibes reaches the API server; callbacks go to /sms-flow/callbacks/ below "
            "it. Empty: [api] base_url.",
            example="https://callbacks.example.com",
        ),
        "callback_sources": _option(
            "Where callbacks may come from: addresses or networks, separated by commas; the word vibes means "
            "those that the vendor publishes. Empty: anywhere, the secret alone decides.",
            example="vibes,10.20.0.0/16",
        ),
        "callback_trusted_proxies": _option(
            "Addresses or networks of the reverse proxies before the API server, separated by commas. Only "
            "their X-Forwarded-For is believed. Empty: none, the caller is whoever opened the connection.",
            example="10.0.0.0/8",
        ),
        "callback_max_bytes": _option(
            "How many bytes the body of a callback may have; a larger one is answered 413 and lost.",
            kind="integer",
            default="262144",
        ),
        "pool": _option(
            "The Airflow pool in which the example DAGs' sending tasks run. Create it first (airflow pools "
            "set sms 4 sending): tasks of a pool that does not exist wait for ever. Empty: default_pool.",
            example="sms",
        ),
        "lists": _option(
            "The Vibes lists offered in the example DAGs' trigger forms: JSON, from list id to a name.",
            example='{"1201": "Store news", "1202": "Order updates"}',
        ),
    }


def _option(
    description: str, *, kind: str = "string", default: str = "", example: str | None = None
) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }
