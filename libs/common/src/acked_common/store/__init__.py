"""The storage ports and their records; the store on MongoDB is in `mongo`."""
