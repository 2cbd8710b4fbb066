"""Runs on the nodes of a cluster: one ordinary run on each, which is written here while it is made."""
