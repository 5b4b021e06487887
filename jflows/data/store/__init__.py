"""The store of known data sets: they come from archives of package registries, and are kept by tensorflow-datasets."""
