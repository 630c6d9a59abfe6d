"""One class per vendor API, each over one `requests.Session`. They speak the vendors' own words."""
