"""The pumps: asyncio on one side, cores on the other."""
