"""Commits of the git repository around the working folder. Nothing here fails: without git or a repository there is none."""

from __future__ import annotations

import os
import re
import subprocess

VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT", "BUILD_SOURCEVERSION", "CIRCLE_SHA1")
"""Variables in which GitHub, GitLab, Jenkins, Azure and CircleCI name the commit of a job."""

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
TIMEOUT_S = 20


def current_commit() -> str | None:
    """Commit of the CI job, else of the repository around the working folder; None without one."""
    named = (os.environ.get(name, "") for name in VARIABLES)
    commits = [commit for commit in named if COMMIT.fullmatch(commit)]
    return commits[0] if commits else next(iter(_git("rev-parse", "HEAD")), None)


def all_commits() -> list[str]:
    """Commits of the repository around the working folder, each after its parents; empty without a repository."""
    return _git("rev-list", "--all", "HEAD", "--topo-order", "--reverse")


def _git(*arguments: str) -> list[str]:
    """Commits that git prints, one a line."""
    # fsmonitor names a program of the repository, which may be a stranger's
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return COMMIT.findall(done.stdout) if done.returncode == 0 else []
