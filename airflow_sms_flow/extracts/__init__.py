"""The files that Vibes delivers every day: which one, from when, and what stands in it."""
