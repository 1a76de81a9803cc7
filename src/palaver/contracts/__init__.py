"""Pure data that services say to each other. No I/O, no business rule."""
