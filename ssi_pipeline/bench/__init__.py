"""How fast a machine solves a tile, by phases, beside what it could do at best."""
