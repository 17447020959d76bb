"""What the commands do: each binds rooms together and talks to a terminal."""
