"""Records grouped into cells and judged: per cell, across cells, pair by pair, and an activation against itself."""
