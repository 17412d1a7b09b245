"""A real chain's LevelDB folder, damaged in thousands of ways: each read after it is right or refused, and the node heals."""
