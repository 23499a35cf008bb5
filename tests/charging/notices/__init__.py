"""Notices: what is told, to whom, in which words, and how it gets there."""
