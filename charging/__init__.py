"""Charging: prices, balances, sessions' meters and the ledger. This floor knows no RADIUS."""
