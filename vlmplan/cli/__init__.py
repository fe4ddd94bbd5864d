"""The command line: words read, one function of the API called, its answer shown; ``commands`` has a module a command."""
