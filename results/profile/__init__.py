"""Profiles: kernels mapped to the nodes of a graph, side by side over runtimes, and what they show. Pure."""
