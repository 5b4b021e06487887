"""The one place that holds the version; the build reads this file as text, `jflows` re-exports the name."""

__version__ = "0.1.0"
