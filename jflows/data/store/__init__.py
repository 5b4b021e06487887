"""Where known data sets come from (archives of package registries) and how they are kept (tensorflow-datasets)."""
