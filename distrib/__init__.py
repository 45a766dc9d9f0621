"""How it is trained: engines behind one interface, results, and everything that uses Ray."""
