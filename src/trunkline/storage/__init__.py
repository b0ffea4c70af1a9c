"""Where rows are kept: the contract (store) and its engines."""
