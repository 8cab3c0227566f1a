"""Other packages' names for what tengen has."""
