"""A stand-in for the Vibes Platform API: `models` keeps state, `events` turns events into texts,
`answers` formats, `routes` parses."""
