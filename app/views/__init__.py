"""One page each: controls → cache → figures."""
