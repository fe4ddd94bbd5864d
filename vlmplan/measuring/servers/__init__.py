"""What does a server do? Its interface over a socket, and what is asked of it: alone, again, and many at once."""
