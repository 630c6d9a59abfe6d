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
- Texts are never split, cut or delayed by carriers, and bounce only where told to. There is one carrier.
- Numbers outside the US and Canada cannot be texted. Who has a landline follows from the seed.
- A text Y or N answers the newest open question of that person. STOP declines all open questions, blocks
  their campaigns like a No, and leaves all lists. Leaving by API texts nobody.
- Version 1 of the API knows no numbers here. Trailing slashes are optional everywhere.
- Calls turned away with 429 do not count towards the limit. There is no limit per app_id.

Callbacks go to whatever address registers for them; delivery starts with the first registration.

- Delay, time-out, retry interval, number of attempts, and when and for how long an address is downed are
  settings of ours. Nobody is e-mailed about failures; `callbacks/resend` of the panel sends them once more.
- At registration nobody asks whether an address is live. A company has at most 50 registrations. The very
  same one twice is two, and everything comes twice. One event has one `event_id` at all its destinations. The
  API version of the registering call stays, also after PUT.
- ack_participant_added is sent for pending opt-ins only. person_* and subscription_list_* can be registered
  and tested, but never happen. There is no push and no wallet.
- What `event_processed` says is ours, but for the routing success. Stages: `routing` / `failed` with
  no_route_rules, person_not_in_subscription_list, person_not_found or carrier_not_supported; `processing` /
  `success` / queued, or `failed` / unexpected_error; `carrier_dlr` and `handset_dlr`, `success` or `failed`.
  Hard bounces are number_disconnected (which leaves all lists, reason disconnect) and unknown_subscriber,
  soft ones carrier_temporarily_unavailable and handset_unreachable. A bounced text reaches no phone.
- opt_out_date and opt_out_reason stand beside opt_in_date. unmatched_message_received has the envelope of
  the others around its published members; it is valid JSON unless `callback_broken_json`.
- No metadata in HTTP headers, no client certificate; the source address is this machine's.

Extract files (`/_sandbox/extracts`): of any moment, not of midnight. Dates in names are YYYY-MM-DD, the
extension is txt. The Message Extract has every text since the start, a message column last, our event_id as
client_message_id for a settable share, and failure phrases of our own but for Route Not Found.

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
