"""The leaderboard's web side: the page, its API, and copies of both that open from disk."""
