"""How known data sets come to their splits: one class a protocol, with one interface, `KnownData`."""
