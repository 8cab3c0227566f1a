"""Where the values of a Plan lie in memory."""
