"""The first version of a package that is slower: which version to try next, the decision on each, and their table."""
