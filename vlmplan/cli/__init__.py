"""The command line: words read, one function of the API called, its answer shown; in ``commands`` a module for each."""
