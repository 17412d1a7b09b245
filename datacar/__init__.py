"""The wallet SDK."""
