"""Where people come from besides Marketo: files, queries, lists of numbers."""
