"""A few tiles solved before the long run, beside what could be had instead."""
