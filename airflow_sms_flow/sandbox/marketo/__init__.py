"""A stand-in for Marketo's REST API: `models` keeps state, `exports` runs bulk jobs, `routes` speaks HTTP."""
