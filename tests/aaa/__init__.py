"""The tests mirror the source; `stories` and `house` stand beside it."""
