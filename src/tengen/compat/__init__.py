"""The names that other packages have for what tengen has."""
