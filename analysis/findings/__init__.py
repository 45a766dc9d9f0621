"""What the shipped experiments on the paper's conditions found: one file for each."""
