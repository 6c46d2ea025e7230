"""The modules of OSDHuman: base, adapters, HFIE, the one-step generator."""
