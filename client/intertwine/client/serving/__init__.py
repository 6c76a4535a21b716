"""Predictions over HTTP, for the programs of one participant."""
