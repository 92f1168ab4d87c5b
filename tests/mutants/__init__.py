"""Small wrong changes to the code, and which test notices each: `./just mutants`."""
