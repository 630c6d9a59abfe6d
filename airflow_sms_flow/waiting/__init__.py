"""The wait for opt-ins, as sensors and triggers keep it: who is open, whom to look up, when to look again."""
