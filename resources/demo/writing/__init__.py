"""The written material of the demo and the grammar that turns it into prose."""
