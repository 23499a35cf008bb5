"""The benchmark: this server, charging, beside FreeRADIUS with rlm_sql, on one PostgreSQL. Start it with `python -m bench`."""
