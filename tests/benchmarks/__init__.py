"""The benchmark: this system and its peers on one machine, in turn. `./just bench`; no time makes it fail."""
