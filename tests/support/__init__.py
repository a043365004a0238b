"""What the tests share: both sides of a comparison, and the stand-ins for a GPU."""
