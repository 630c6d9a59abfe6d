"""A stateful stand-in for Vibes and Marketo on one real port: `python -m airflow_sms_flow.sandbox`.

It shares no code with the clients of this package, so that it does not share their misunderstandings.
In a test: `with Sandbox(Settings(leads=100)) as sandbox: ...` and point both connections at `sandbox.url`.

What it does not do, and where it lies
--------------------------------------
Vendors publish only a part of how they behave. Where they are silent, the sandbox does what is harshest for
a client, or what is simplest, and either may differ from the real thing.

Vibes:

- Numeric error codes, texts of errors, and where the named tokens of a 422 stand, are invented. So are 401,
  403, 404 and 413 in the usual envelope, and 422 for malformed events and campaigns.
- Two events with one event_id are both delivered (setting `reused_event_id`), so that a double send shows;
  two campaigns for one event_type both send. A campaign stays `scheduled` for a moment after its 202.
- Templates know `{{ ev.x }}` and `{{ ev.x | default: 'y' }}`. Other tags print nothing, `{% %}` as it stands.
- Campaign filters other than `subscription` are refused. No MMS, push, wallet, broadcasts, incentives, RCS.
- No callbacks and no extract files: what happened is seen in the control panel only.
- Texts are never split, cut, delayed by carriers or lost, and there is one carrier for everybody.
- Numbers outside the US and Canada cannot be texted. Who has a landline follows from the seed.
- A text Y or N answers the newest open question of that person. STOP declines all open questions, blocks
  their campaigns like a No, and leaves all lists. Leaving by API texts nobody.
- Version 1 of the API knows no numbers here. Trailing slashes are optional everywhere.
- Calls turned away with 429 do not count towards the limit. There is no limit per app_id.

Marketo:

- Each API user has one token. Roles, permissions, IP allow-lists, workspaces, partitions do not exist.
- Smart lists are fixed sets of leads, not rules; browsing by folder or date returns everything.
- Export jobs take seconds, and their status is always fresh (Marketo's: once a minute). Files never expire.
- A quota day starts at 06:00 UTC throughout the year.
- No activities, campaigns, programs, imports, or writing of leads. Answers are never compressed.

Both: an unknown route names its neighbours. There is no TLS, no proxy, no load balancer, and no latency
unless set. One process holds everything in memory, and forgets it when it ends.
"""

from airflow_sms_flow.sandbox.server import Sandbox
from airflow_sms_flow.sandbox.settings import Settings

__all__ = ["Sandbox", "Settings"]
