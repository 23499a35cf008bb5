"""Stories told from outside: real processes, real sockets, both databases."""
