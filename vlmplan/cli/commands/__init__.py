"""A module a command: what is typed, one call of the API, and what is shown of its answer."""
