"""Protocols, by which known data sets are split: one class each, with the interface of `KnownData`."""
