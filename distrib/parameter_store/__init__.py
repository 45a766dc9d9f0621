"""Where parameters live while several workers train them."""
