"""AWS Security Token Service: who am I, every tool's first question."""
