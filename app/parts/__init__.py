"""The parts of the explorer: each draws one thing of a page it is given."""
