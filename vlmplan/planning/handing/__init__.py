"""What is handed over for a plan: commands of one engine, and what stacks of several replicas take."""
