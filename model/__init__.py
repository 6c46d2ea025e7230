"""OSDHuman: the network, its losses, training and restoration."""
