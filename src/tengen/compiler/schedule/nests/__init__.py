"""Maps and reductions: from a group to a loop nest."""
