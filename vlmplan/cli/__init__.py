"""The command line: a module a command, which parses, calls one function of a room, and shows."""

