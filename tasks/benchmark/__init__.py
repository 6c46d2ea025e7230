"""PERSONA-Val and PERSONA-Test."""
