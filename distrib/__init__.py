"""How it is trained: engines behind one interface, results, and everything that uses Ray."""

import gc

# Loading PyTorch and TorchRec makes a million objects that stay. With Python's 700 a process
# that trains spends a sixth of its start, of about 3 s, on looking through them for garbage.
gc.set_threshold(10_000)
