"""Earlier systems, each small enough to read, trained and tested on the same hands (PAPER.md 6)."""
