"""The coordinator: invites participants, runs rounds, verifies, aggregates, publishes."""
