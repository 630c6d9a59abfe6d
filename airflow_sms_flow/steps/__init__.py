"""What the three flow steps ask of Vibes, and how they read the answers. `dispatch` runs them."""
