"""The gateway as real processes under load, and everything that can go wrong around it, one thing after the other."""
