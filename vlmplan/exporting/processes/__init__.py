"""What runs in a process of its own: other programs on exports, and another exporter. A module each."""
