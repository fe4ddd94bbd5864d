"""Do other programs run an export, and say what the checkpoint does? A module a client."""
