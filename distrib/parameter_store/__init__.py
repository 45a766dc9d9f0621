"""Where parameters are while several workers train them."""
