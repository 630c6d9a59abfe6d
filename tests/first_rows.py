"""First lines of CSV files that have no line of names: somebody's number or address stands there."""

FIRST_ROWS = [
    "2025550132",
    "+1 202 555 0132,Ann",
    "tel:+12025550132",
    '="2025550132"',
    "'+12025550132",
    "+1 202 555 0132 ext 7",
    "202–555–0132",
    "7,Bob Miller,+1 202 555 0132 x5,US",
    "7,bob@example.com",
]
